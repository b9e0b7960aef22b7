"""Asking a recorded sweep's samplers again: the same settings must come, in the same order.

`events.jsonl` is followed line by line on a storage of its own: what was asked is asked again,
with what had been reported and told by then. What a killed driver did without living to write its
event is done where the next driver starts.
"""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import TrialRecord
from mcl_bench.spec import Experiment
from mcl_bench.sweep.history import Event, History
from mcl_bench.sweep.looks import read_object
from mcl_bench.sweep.plan import CellPlan, Standing
from mcl_bench.sweep.studies import Studies

Progress = Callable[[int, int], None]
"""Told (events followed, events in all)."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where something else is said now: of which trial, what was recorded, and what comes now."""

    trial: str
    of: str
    recorded: Any
    now: Any


@dataclass(kw_only=True)
class CellReplay:
    """What was checked of one cell, which is followed as far as its first difference.

    `asks` counts compared settings, `prunings` compared decisions to go on or to prune.
    """

    cell: str
    asks: int = 0
    prunings: int = 0
    difference: Difference | None = None


def replay(
    experiment: Experiment,
    folder: Path,
    *,
    sweep_id: str,
    records: Iterable[TrialRecord],
    progress: Progress = lambda _done, _total: None,
) -> list[CellReplay]:
    """Every cell of the sweep in this folder, with what was checked of it.

    Raises:
        DataError: a line of its events is damaged.
    """
    path = folder / "events.jsonl"
    events = [
        read_object(path, number, line) for number, line in enumerate(files.read_lines(path), 1)
    ]
    with tempfile.TemporaryDirectory(prefix="mcl-bench-replay-") as scratch:
        follower = _Follower(
            experiment,
            url=f"sqlite:///{Path(scratch) / 'study.db'}",
            sweep_id=sweep_id,
            history=History(events, records),
        )
        for place in range(len(events)):
            follower.follow(place, events[place])
            progress(place + 1, len(events))
    return list(follower.cells.values())


class _Follower:
    """Does again what the events say was done, and compares."""

    def __init__(
        self, experiment: Experiment, *, url: str, sweep_id: str, history: History
    ) -> None:
        self._experiment = experiment
        self._url = url
        self._sweep_id = sweep_id
        self._history = history
        self._spaces = {cell.id: tuple(cell.space) for cell in experiment.cells}
        minimise = experiment.spec.search.metric == "val/loss"
        self._plans = {
            cell.id: CellPlan(id=cell.id, trials=0, seeds=0, minimise=minimise)
            for cell in experiment.cells
        }
        self._aside: set[tuple[str, int]] = set()
        self._studies = self._opened({})
        self.cells = {cell.id: CellReplay(cell=cell.id) for cell in experiment.cells}

    def follow(self, place: int, event: Event) -> None:
        """Take in one event; a cell that has gone another way is not followed any further."""
        if event["event"] == "start":
            self._start(place, event)
            return
        if event["event"] == "pieces":
            self._run_again(event["cells"])
            return
        cell = event.get("cell")
        if cell is None or self.cells[cell].difference is not None:
            return
        if event["event"] == "ask":
            if event["stage"] == "search":
                self._ask(cell, event["trial"], event["params"], again=event.get("retry_of"))
            else:
                self._confirm(cell, event)
        elif event["event"] == "report" and event["stage"] == "search":
            self._report(place, event)
        elif event["event"] == "tell" and event["stage"] == "search":
            self._tell(cell, event["trial"], event["state"], event["value"])

    def _opened(self, start: Event) -> Studies:
        """The studies as the driver that started so had them, with the totals it wrote then."""
        search = self._experiment.spec.search
        first: Mapping[str, int] = start.get("enqueue", {})
        studies = Studies(
            self._url,
            sweep=self._experiment.name,
            sweep_id=self._sweep_id,
            cells={
                cell.id: dataclasses.replace(cell, enqueue=cell.enqueue[: first.get(cell.id)])
                for cell in self._experiment.cells
            },
            search=search.model_copy(update={"trials": start.get("trials", search.trials)}),
            seed=self._experiment.spec.train.seed,
        )
        return studies

    def _start(self, place: int, event: Event) -> None:
        """Do what the driver before did last, then start as this one did."""
        for record in self._history.unwritten_ends(place):
            if self.cells[record.cell].difference is None:
                self._tell(record.cell, record.trial, record.state, record.value)
        for cell, trial in self._history.unwritten_asks(place):
            if self.cells[cell].difference is None:
                recorded = self._history.params(cell, trial, self._spaces[cell])
                self._ask(cell, trial, recorded, again=self._history.retry_of(cell, trial))
        self._studies = self._opened(event)
        self._studies.open()
        for name in self._aside:
            self._studies.set_aside(*name)
        for cell in self.cells:
            for left in list(self._studies.trials(cell, "search")):
                if left.state == "RUNNING":
                    self._studies.adopt(cell, "search", left.number)

    def _ask(
        self,
        cell: str,
        number: int,
        recorded: Mapping[str, Any] | None,
        *,
        again: int | None = None,
    ) -> None:
        """Ask for a search trial and compare; `recorded` is None for one that has not ended.

        `again` is the failed trial that it runs once more, if it does.
        """
        asked = self._studies.ask(cell) if again is None else self._studies.ask_again(cell, again)
        if asked.number != number:
            self._differ(cell, number, "number", number, asked.number)
            return
        if recorded is None:
            return
        self.cells[cell].asks += 1
        for name in sorted({*recorded, *asked.params}):
            if recorded.get(name) != asked.params.get(name):
                self._differ(cell, number, name, recorded.get(name), asked.params.get(name))
                return

    def _confirm(self, cell: str, event: Event) -> None:
        """Compare which search trial is confirmed: the best one that had been told by then."""
        best = self._plans[cell].best()
        self.cells[cell].asks += 1
        if event["of"] != best:
            self._differ(cell, event["trial"], "of", event["of"], best, stage="confirm")

    def _report(self, place: int, event: Event) -> None:
        """Report again; where the driver decided on it, compare whether it pruned."""
        value, cell = event["value"], event["cell"]
        if value is None or not math.isfinite(value):
            return
        prune = self._studies.report(cell, event["trial"], epoch=event["epoch"], value=value)
        pruned = self._history.pruned_after(place)
        if pruned is None or self._experiment.spec.search.pruner.name == "none":
            return
        self.cells[cell].prunings += 1
        if prune != pruned:
            what = f"pruned after epoch {event['epoch']}"
            self._differ(cell, event["trial"], what, pruned, prune)

    def _tell(self, cell: str, number: int, state: Any, value: float | None) -> None:
        self._studies.tell(cell, "search", number, outcome=state, value=value)
        standing = Standing(
            outcome=state, value=value if state in {"complete", "duplicate"} else None
        )
        self._plans[cell].search[number] = standing
        if state == "retried":
            self._set_aside(cell, number)

    def _run_again(self, cells: Iterable[str]) -> None:
        """All that has ended in these cells is to run again in smaller pieces."""
        for cell in cells:
            self._plans[cell].renew()
            if self.cells[cell].difference is None:
                for number in self._plans[cell].search:
                    self._set_aside(cell, number)

    def _set_aside(self, cell: str, number: int) -> None:
        self._aside.add((cell, number))
        self._studies.set_aside(cell, number)

    def _differ(
        self, cell: str, number: int, of: str, recorded: Any, now: Any, *, stage: str = "search"
    ) -> None:
        self.cells[cell].difference = Difference(
            trial=f"{cell}/{stage}-{number}", of=of, recorded=recorded, now=now
        )
