"""What MLflow has not taken yet, kept in `spool.jsonl` of the sweep's folder until it has.

A line is an entry, or says how many bytes at the file's head have been sent. A file whose entries
have all been sent is deleted, and one that an earlier driver left is gone on with. Sending an entry
again must be harmless: what was sent last before a crash may not have been noted.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import DataError, TrialName

FILE = "spool.jsonl"

BATCH_CALLS = 10
"""So many entries that are no epochs are sent together at most, before what was sent is noted."""

BATCH_ENTRIES = 500
"""So many entries of whatever kind."""

MAX_SENT_BYTES = 1 << 20
"""A file with so many bytes sent, and none unsent, is begun anew."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call of the tracker: its name, when it was made (Unix seconds), of which trial."""

    call: str
    at: float
    trial: TrialName | None = None
    words: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """This entry as one line."""
        return json.dumps(vars(self), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Entries that are sent together, and where the last one ends, in bytes."""

    entries: Sequence[Entry]
    end: int


class Spool:
    """The entries in order: the driver appends, one thread takes and says what was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed = threading.Condition()
        self._sent = 0
        self._end = 0
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """How many entries have not been sent."""
        return self._unsent

    def open(self) -> None:
        """Go on with what is there; an unfinished last line is cut off.

        Raises:
            DataError: a line is damaged.
        """
        with self.changed:
            files.mend_tail(self.path)
            self._sent, self._end, self._unsent = read_state(self.path)
            self._clear()

    def append(self, entry: Entry, *, sync: bool) -> None:
        """Add an entry; with `sync` it outlives a loss of power.

        Raises:
            OSError: it can't be written, as on a full disk; nothing of it is.
        """
        line = entry.to_json()
        with self.changed:
            files.append_line(self.path, line, sync=sync)
            self._end += len(line.encode()) + 1
            self._unsent += 1
            self.changed.notify_all()

    def take(self) -> Batch | None:
        """The next entries to be sent, which stay until they have been; None if there are none."""
        with self.changed:
            if not self._unsent:
                return None
            start, stop = self._sent, self._end
        entries: list[Entry] = []
        calls = 0
        with self.path.open("rb") as file:
            file.seek(start)
            while file.tell() < stop and calls < BATCH_CALLS and len(entries) < BATCH_ENTRIES:
                entry = _read(file.readline().decode())
                if entry is not None:
                    entries.append(entry)
                    calls += entry.call != "epochs"
            return Batch(entries=entries, end=file.tell())

    def entries(self) -> list[Entry]:
        """All that have not been sent."""
        with self.changed:
            if not self._unsent:
                return []
            with self.path.open("rb") as file:
                file.seek(self._sent)
                read = [
                    _read(line.decode()) for line in file.read(self._end - self._sent).splitlines()
                ]
        return [entry for entry in read if entry is not None]

    def sent(self, batch: Batch) -> None:
        """Note that a batch has been sent."""
        with self.changed:
            self._sent = batch.end
            self._unsent -= len(batch.entries)
            if not self._unsent and self._end > MAX_SENT_BYTES:
                self._clear()
            else:
                line = json.dumps({"sent": batch.end})
                files.append_line(self.path, line, sync=False)
                self._end += len(line) + 1
            self.changed.notify_all()

    def clear(self) -> None:
        """Delete the file if all of it has been sent."""
        with self.changed:
            self._clear()

    def _clear(self) -> None:
        if not self._unsent:
            self.path.unlink(missing_ok=True)
            self._sent = self._end = 0


def read_state(path: Path) -> tuple[int, int, int]:
    """How many bytes of a spool have been sent and how many it has; the count of unsent entries.

    Raises:
        DataError: a line is damaged.
    """
    sent, end = 0, 0
    ends: list[int] = []
    for number, line in enumerate(files.read_lines(path), 1):
        end += len(line.encode()) + 1
        try:
            entry = _read(line)
            if entry is None:
                sent = int(json.loads(line)["sent"])
            else:
                ends.append(end)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"damaged: it is no entry for MLflow: {error}",
                place=f"{path}:{number}",
                remedy="move the file away; mcl-bench doctor NAME --fix then sends what MLflow "
                "lacks of the records",
            ) from error
    return sent, end, sum(one > sent for one in ends)


def _read(line: str) -> Entry | None:
    """The entry of a line; None if it only says what has been sent."""
    plain = json.loads(line)
    if "sent" in plain:
        return None
    trial = plain["trial"]
    return Entry(**{**plain, "trial": None if trial is None else tuple(trial)})
