"""Ending a running sweep from outside: a file that its driver looks for, and the wait for it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from mcl_bench import files
from mcl_bench.records import RunError, UserError

LOOK_SECONDS = 0.5
"""How often a driver looks for the request, however often it is asked."""

STOP_SECONDS = 60.0
"""How long the one who asks waits for the driver, whose trials leave at their next batch's end."""

POLL_SECONDS = 0.1
"""How often the one who asks looks whether the driver has let go."""


class StopRequest:
    """What a driver asks whether somebody wants its sweep to end.

    Making it takes away a request that was meant for an earlier driver: the sweep's lock is held.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next_look = clock()
        self._asked = False
        path.unlink(missing_ok=True)

    def asked(self) -> bool:
        """Whether the sweep is to end; looks at the disk at most every `LOOK_SECONDS`."""
        if not self._asked and self._clock() >= self._next_look:
            self._next_look = self._clock() + LOOK_SECONDS
            self._asked = self._path.exists()
        return self._asked


def stop_sweep(
    folder: Path, *, progress: Callable[[float], None], seconds: float = STOP_SECONDS
) -> str | None:
    """Ask the driver of the sweep in this folder to end, and wait until it has.

    Returns the state that the sweep ended in; None if no driver ran. `progress` is told the seconds
    waited, again and again.

    Raises:
        UserError: there is no such sweep, or its folder can't be written.
        RunError: the driver has not let go within `seconds`; the request stands.
    """
    if not (folder / "sweep.json").exists():
        raise UserError(
            f"there is no sweep {folder.name} in {folder.parent}",
            remedy="mcl-bench status lists the sweeps; MCL_HOME says where they are looked for",
        )
    if not files.is_locked(folder / "lock"):
        return None
    request = folder / "stop-request"
    try:
        files.write_whole(request, f"{os.getpid()}\n")
    except OSError as error:
        raise UserError(f"{request} can't be written: {error.strerror}") from error
    began = time.monotonic()
    while files.is_locked(folder / "lock"):
        waited = time.monotonic() - began
        if waited > seconds:
            raise RunError(
                f"the driver of {folder.name} has been asked to end and still runs after "
                f"{seconds:g} s",
                remedy="it ends as soon as it looks; Ctrl-C where it runs ends it too",
            )
        progress(waited)
        time.sleep(POLL_SECONDS)
    request.unlink(missing_ok=True)
    return _last_state(folder)


def _last_state(folder: Path) -> str:
    """The state in which the sweep's last driver ended; `interrupted` if it did not say."""
    last = json.loads(list(files.read_lines(folder / "events.jsonl"))[-1])
    return str(last.get("state", "interrupted")) if last["event"] == "end" else "interrupted"
