"""The one thread that sends a spool's entries to MLflow, in order, for as long as it takes."""

import threading
from collections.abc import Callable, Sequence

from mcl_bench.results.spool import Entry, Spool
from mcl_bench.spec import masked

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds between two tries while MLflow does not answer: the first pause, doubled up to this."""

GHOST_SECONDS = 1.0
"""So long after MLflow answers again it may still be carrying out what it was asked before."""

LEAVE_SECONDS = 2.0
"""How long `stop` waits for a call that is on its way."""

REASON_LENGTH = 200


class Writer:
    """Sends what `send` is given until MLflow has taken it; `tell` is given words for people.

    `send` and `probe` raise while MLflow does not answer; `forget` is called before what was not
    answered is sent again. `reach` is called before and after each sending.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        send: Callable[[Sequence[Entry]], None],
        probe: Callable[[], None],
        tell: Callable[[str], None],
        reach: Callable[[str], None],
    ) -> None:
        self._spool = spool
        self._send = send
        self._probe = probe
        self._tell = tell
        self._reach = reach
        self._thread: threading.Thread | None = None
        self._left = threading.Event()
        self._died: BaseException | None = None
        self.away: str | None = None

    def start(self) -> None:
        """Let the thread run, if it does not.

        Raises:
            BaseException: what it has died of.
        """
        if self._died is not None:
            raise self._died
        if self._thread is None or not self._thread.is_alive():
            self._left.clear()
            self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let the thread end; a call that hangs is left to itself."""
        self._left.set()
        with self._spool.changed:
            self._spool.changed.notify_all()
        if self._thread is not None:
            self._thread.join(LEAVE_SECONDS)

    def wait_for(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true that the thread brings about; whether it is."""
        with self._spool.changed:
            self._spool.changed.wait_for(lambda: true() or self._died is not None, seconds)
        if self._died is not None:
            raise self._died
        return true()

    def go_away(self, error: Exception) -> None:
        """Take MLflow for away, and say so once."""
        first, self.away = self.away is None, reason(error)
        if first:
            self._tell(
                f"MLflow does not take the record ({self.away}); the sweep goes on, and what "
                f"MLflow lacks is kept in {self._spool.path.name} until it does"
            )

    def _come_back(self, left: int) -> None:
        self.away = None
        self._tell(f"MLflow takes the record again: {left} of the entries are to come")

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as error:  # noqa: BLE001 - the driver's thread raises it
            with self._spool.changed:
                self._died = error
                self._spool.changed.notify_all()

    def _send_all(self) -> None:
        pause = FIRST_PAUSE
        while not self._left.is_set():
            batch = self._spool.take()
            if batch is None:
                with self._spool.changed:
                    self._spool.changed.wait_for(
                        lambda: self._left.is_set() or self._spool.unsent > 0
                    )
                continue
            try:
                if self.away:
                    self._probe()
                    self._left.wait(GHOST_SECONDS)
                self._reach("before-send")
                self._send(batch.entries)
                self._reach("after-send")
                if self.away:
                    self._come_back(self._spool.unsent - len(batch.entries))
                self._spool.sent(batch)
            except Exception as error:  # noqa: BLE001 - whatever MLflow's libraries raise
                self.go_away(error)
                self._left.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE


def reason(error: BaseException) -> str:
    """What the error that led to this one says, on one line, without passwords."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    lines = str(error).strip().splitlines()
    text = masked(lines[0] if lines else "")[:REASON_LENGTH]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
