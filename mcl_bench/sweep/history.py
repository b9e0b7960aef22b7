"""What a sweep's events and records together say of the order in which things were done."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mcl_bench.records import TrialRecord

Event = Mapping[str, Any]

Trial = tuple[str, int]
"""A search trial: its cell and its number."""


class History:
    """The events of a sweep in order, and the records of its search trials."""

    def __init__(self, events: Sequence[Event], records: Iterable[TrialRecord]) -> None:
        self._events = events
        self._records = {
            (record.cell, record.trial): record for record in records if record.stage == "search"
        }
        self._starts = [place for place, event in enumerate(events) if event["event"] == "start"]
        self._places: dict[Trial, list[int]] = {}
        for place, event in enumerate(events):
            if event.get("stage") == "search":
                self._places.setdefault((event["cell"], event["trial"]), []).append(place)
        self._next = {
            place: after for places in self._places.values() for place, after in pairwise(places)
        }

    def unwritten_asks(self, start: int) -> list[Trial]:
        """Trials that the driver before this start asked without living to write it."""
        return sorted(
            trial
            for trial, places in self._places.items()
            if self._kind(places[0]) != "ask" and self._start_before(places[0]) == start
        )

    def unwritten_ends(self, start: int) -> list[TrialRecord]:
        """Trials that the driver before this start ended without living to write it."""
        return [
            record
            for trial, record in self._records.items()
            if not any(self._kind(place) == "tell" for place in self._places.get(trial, ()))
            and self._start_after(self._places.get(trial, [-1])[-1]) == start
        ]

    def params(self, cell: str, trial: int, names: Iterable[str]) -> Mapping[str, Any] | None:
        """The settings that a trial was recorded with; None if it has not ended."""
        record = self._records.get((cell, trial))
        return None if record is None else {name: record.config[name] for name in names}

    def retry_of(self, cell: str, trial: int) -> int | None:
        """The trial that this one runs once more, if it does; None too if it has not ended."""
        record = self._records.get((cell, trial))
        return None if record is None else record.retry_of

    def pruned_after(self, place: int) -> bool | None:
        """Whether the driver pruned the trial on this report; None where that can't be told.

        An epoch that a checkpoint remembered is reported without a decision; and none can be read
        from a report that the trial's end or the driver's followed.
        """
        if not self._events[place]["seconds"] or place not in self._next:
            return None
        after = self._events[self._next[place]]
        if after["event"] == "tell":
            return True if after["state"] == "pruned" else None
        return False if after["event"] in {"report", "relaunch", "interrupt"} else None

    def _kind(self, place: int) -> str:
        return str(self._events[place]["event"])

    def _start_before(self, place: int) -> int | None:
        return max((start for start in self._starts if start < place), default=None)

    def _start_after(self, place: int) -> int | None:
        return min((start for start in self._starts if start > place), default=None)
