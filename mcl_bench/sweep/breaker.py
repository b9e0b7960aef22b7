"""Notices that trial after trial fails alike: then something is wrong with the sweep."""

from pathlib import Path

from mcl_bench.records import RunError, TrialRecord
from mcl_bench.sweep.failures import POLICIES, kind_of, signature

ALIKE = 5
"""So many trials in a row that fail alike stop a sweep."""


class Breaker:
    """Counts, over all cells, the trials in a row that have failed alike.

    A trial that came to its end breaks the row; what says nothing of the sweep (a lost worker, a
    lack of memory) neither breaks nor lengthens it.
    """

    def __init__(self) -> None:
        self._signature = ""
        self._count = 0

    def hear(self, record: TrialRecord, *, log: Path) -> RunError | None:
        """Hear how a trial ended; returns why the sweep should stop, if it should."""
        if record.state != "failed":
            self._count = 0
            return None
        if record.cause is None or not POLICIES[kind_of(record.cause)].repeats:
            return None
        found = signature(record.cause)
        self._count = self._count + 1 if found == self._signature else 1
        self._signature = found
        if self._count < ALIKE:
            return None
        return RunError(
            f"{self._count} trials in a row failed alike, so the sweep has stopped: {record.cause}",
            remedy=f"see {log}; once it is mended, `mcl-bench retry {record.sweep}` and then the "
            "same command go on with it",
        )
