"""The count of a sweep as it runs: made of its records and its events, read by what shows it."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from mcl_bench.records import Stage, TrialName, TrialRecord

VALUED = frozenset({"complete", "duplicate"})
"""The states of trials whose values count."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What one cell is asked for: search trials, confirm seeds, and the epochs of a trial."""

    cell: str
    trials: int
    seeds: int
    epochs: int


@dataclass(kw_only=True)
class Open:
    """A trial that has been launched and has not ended; `epoch` is the last one reported."""

    cell: str
    stage: Stage
    number: int
    epochs: int
    launched: float
    epoch: int = 0
    value: float | None = None
    state: str = "running"


@dataclass(frozen=True, kw_only=True)
class CellCount:
    """One cell: its trials that have ended, of how many, by state, and its best search trial."""

    cell: str
    done: int
    total: int
    running: int
    states: Mapping[str, int]
    best_value: float | None
    best_trial: int | None


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A data set that is being packed: its name, its images done, and all of them."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Count:
    """The whole sweep at one moment. `seconds_left` is None before a trial has ended."""

    state: str
    cells: tuple[CellCount, ...]
    open: tuple[Open, ...]
    packing: Packing | None
    seconds: float
    seconds_left: float | None

    @property
    def done(self) -> int:
        """How many trials have ended, in all cells."""
        return sum(cell.done for cell in self.cells)

    @property
    def total(self) -> int:
        """How many trials there are in all cells, as far as is known."""
        return sum(cell.total for cell in self.cells)

    @property
    def states(self) -> Counter[str]:
        """The trials that have ended, by state."""
        return sum((Counter(cell.states) for cell in self.cells), Counter())


@dataclass(kw_only=True)
class _Cell:
    """What has been heard of one cell; `of` says which search trial a confirm trial speaks for."""

    goal: Goal
    states: dict[tuple[Stage, int], str] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    of: dict[int, int] = field(default_factory=dict)

    def best(self, *, sign: int) -> int | None:
        return min(
            self.values, key=lambda number: (sign * self.values[number], number), default=None
        )

    def left(self, *, sign: int) -> dict[Stage, int]:
        """The trials that have not ended, by stage; none to confirm where no search trial holds."""
        best = self.best(sign=sign)
        searched = sum(
            s == "search" and state != "retried" for (s, _), state in self.states.items()
        )
        confirmed = sum(
            stage == "confirm" and state != "retried" and self.of.get(number, best) == best
            for (stage, number), state in self.states.items()
        )
        search = max(0, self.goal.trials - searched)
        barren = search == 0 and best is None
        return {"search": search, "confirm": 0 if barren else max(0, self.goal.seeds - confirmed)}


class Tally:
    """Hears a sweep's events and counts; may be heard and counted from different threads.

    What is told twice counts once, and what has ended stays ended, so counts only rise.
    """

    def __init__(
        self,
        sweep: str,
        goals: Iterable[Goal],
        *,
        metric: str,
        records: Iterable[TrialRecord] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweep = sweep
        self.metric = metric
        self._sign = 1 if metric == "val/loss" else -1
        self._clock = clock
        self._began = clock()
        self._cells = {goal.cell: _Cell(goal=goal) for goal in goals}
        self._open: dict[TrialName, Open] = {}
        self._seconds: dict[tuple[str, Stage], list[float]] = {}
        self._slots = 1
        self._state = "starting"
        self._packing: Packing | None = None
        self._lock = threading.Lock()
        for record in records:
            if record.cell in self._cells:
                name: TrialName = (record.cell, record.stage, record.trial)
                self._end(name, record.state, record.value, of=record.of)
                if record.device_seconds > 0:
                    self._seconds.setdefault(name[:2], []).append(record.device_seconds)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in one event of the sweep."""
        kind = event["event"]
        with self._lock:
            if "trial" in event:
                self._state = "stopping" if kind == "interrupt" else self._state
                self._hear_trial(kind, event)
            elif kind == "start":
                self._state = "running"
                self._packing = None
            elif kind == "close" or (kind == "drive" and event["closed"]):
                self._close_search()
            elif kind == "pieces":
                self._run_again(event["cells"])
            elif kind == "end":
                self._state = event["state"]

    def pack(self, name: str, done: int, total: int) -> None:
        """Take in how far the packing of a data set is."""
        with self._lock:
            self._packing = None if done == total else Packing(name=name, done=done, total=total)

    def count(self) -> Count:
        """The sweep as it stands now."""
        with self._lock:
            cells = tuple(self._count_cell(cell) for cell in self._cells.values())
            return Count(
                state=self._state,
                cells=cells,
                open=tuple(replace(trial) for trial in self._open.values()),
                packing=self._packing,
                seconds=self._clock() - self._began,
                seconds_left=self._seconds_left(),
            )

    def _hear_trial(self, kind: str, event: Mapping[str, Any]) -> None:
        name: TrialName = (event["cell"], event["stage"], event["trial"])
        trial = self._open.get(name)
        if kind == "ask" and event.get("of") is not None:
            self._cells[name[0]].of[name[2]] = event["of"]
        elif kind == "launch":
            self._launch(name, trial)
        elif kind == "tell":
            if trial is not None:
                seconds = self._clock() - trial.launched
                self._seconds.setdefault(name[:2], []).append(seconds)
            self._end(name, event["state"], event["value"])
        elif trial is not None and kind == "report":
            trial.epoch, trial.value = event["epoch"], event["value"]
        elif trial is not None and kind in {"relaunch", "interrupt"}:
            trial.state = "interrupted" if kind == "interrupt" else "waiting"

    def _close_search(self) -> None:
        """A budget has closed the search: no more trials are owed than have been asked."""
        for name, cell in self._cells.items():
            ended = [key for key, state in cell.states.items() if state != "retried"]
            asked = [*ended, *((t.stage, t.number) for t in self._open.values() if t.cell == name)]
            searched = sum(stage == "search" for stage, _ in asked)
            cell.goal = replace(cell.goal, trials=min(cell.goal.trials, searched))

    def _run_again(self, cells: Iterable[str]) -> None:
        """All that has ended in these cells is to run again."""
        for cell in [self._cells[name] for name in cells if name in self._cells]:
            cell.states = dict.fromkeys(cell.states, "retried")
            cell.values.clear()

    def _launch(self, name: TrialName, trial: Open | None) -> None:
        if trial is None:
            cell, stage, number = name
            self._open[name] = Open(
                cell=cell,
                stage=stage,
                number=number,
                epochs=self._cells[cell].goal.epochs,
                launched=self._clock(),
            )
        else:
            trial.state = "running"
        self._slots = max(self._slots, sum(t.state == "running" for t in self._open.values()))

    def _end(
        self, name: TrialName, state: str, value: float | None, *, of: int | None = None
    ) -> None:
        cell_id, stage, number = name
        self._open.pop(name, None)
        cell = self._cells[cell_id]
        cell.states[stage, number] = state
        if of is not None:
            cell.of[number] = of
        counts = stage == "search" and state in VALUED
        if counts and value is not None and not math.isnan(value):
            cell.values[number] = value

    def _count_cell(self, cell: _Cell) -> CellCount:
        best = cell.best(sign=self._sign)
        done = len(cell.states)
        return CellCount(
            cell=cell.goal.cell,
            done=done,
            total=done + sum(cell.left(sign=self._sign).values()),
            running=sum(
                trial.cell == cell.goal.cell and trial.state == "running"
                for trial in self._open.values()
            ),
            states=dict(Counter(cell.states.values())),
            best_value=None if best is None else cell.values[best],
            best_trial=best,
        )

    def _seconds_left(self) -> float | None:
        """The mean length of a trial, times those that are left, by how many run at once.

        The mean is that of the cell and stage, of the cell, or of all, whatever there is first;
        a running trial has what it has run already taken off.
        """
        if not self._seconds:
            return None
        now = self._clock()
        work, num_left = 0.0, 0
        for name, cell in self._cells.items():
            for stage, count in cell.left(sign=self._sign).items():
                mean = self._mean(name, stage)
                ran = [
                    min(mean, now - trial.launched)
                    for trial in self._open.values()
                    if (trial.cell, trial.stage) == (name, stage)
                ]
                work += max(0.0, count * mean - sum(ran))
                num_left += count
        return work / max(1, min(self._slots, num_left))

    def _mean(self, cell: str, stage: Stage) -> float:
        own = self._seconds.get((cell, stage))
        if own:
            return fmean(own)
        of_cell = [s for (c, _), lengths in self._seconds.items() if c == cell for s in lengths]
        every = [s for lengths in self._seconds.values() for s in lengths]
        return fmean(of_cell or every)
