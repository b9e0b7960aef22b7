"""Which trials `tracking.log` gives a run: all, the confirmed and the best, or the confirmed."""

import bisect
import math
from collections.abc import Iterable
from typing import Literal

from mcl_bench.records import Stage, TrialName, TrialRecord
from mcl_bench.results.winners import VALUED

Log = Literal["all", "top", "confirmed"]

TOP = 10
"""With `top` a search trial has a run if at its end fewer than so many of its cell were better.

Of two equal ones the lower number is better, so that the best of a cell always has a run.
"""


class Chosen:
    """The choice of one sweep, which hears of every trial's end in the order of the records."""

    def __init__(self, log: Log, *, metric: str) -> None:
        self._log = log
        self._sign = 1.0 if metric == "val/loss" else -1.0
        self._scores: dict[str, list[tuple[float, int]]] = {}
        self._ended: dict[TrialName, bool] = {}

    def runs(self, stage: Stage) -> bool:
        """Whether a trial of this stage has a run while it goes on."""
        return stage == "confirm" or self._log == "all"

    def keeps(self, record: TrialRecord) -> bool:
        """Whether a trial that has ended has a run; the same whenever it is asked again."""
        if self.runs(record.stage):
            return True
        if self._log == "confirmed":
            return False
        name: TrialName = (record.cell, record.stage, record.trial)
        if name not in self._ended:
            self._ended[name] = self._is_top(record)
        return self._ended[name]

    def hear(self, records: Iterable[TrialRecord]) -> None:
        """Take in what has ended before."""
        for record in records:
            self.keeps(record)

    def _is_top(self, record: TrialRecord) -> bool:
        if record.state not in VALUED or record.value is None or not math.isfinite(record.value):
            return False
        score = (self._sign * record.value, record.trial)
        scores = self._scores.setdefault(record.cell, [])
        better = bisect.bisect_left(scores, score)
        bisect.insort(scores, score)
        return better < TOP
