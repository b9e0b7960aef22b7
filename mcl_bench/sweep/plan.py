"""What a sweep does next: search, then confirm, in every cell. Pure: no Ray, no Optuna, no clock.

The plan is told what was asked and how it ended, and answers with one step at a time. Cells take
turns by the share of their work that has been given out, so that no cell starves and slots are
busy while another cell waits for its last search trials.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcl_bench.records import TrialState

Outcome = TrialState | Literal["running"]
"""Where one trial stands in the plan; all but `running` are final."""

COMPLETE: frozenset[str] = frozenset({"complete", "duplicate"})
"""The outcomes that carry a value."""

OPEN: frozenset[str] = frozenset({"running", "retried"})
"""The outcomes of a seed that is still owed: `retried` is a failed trial that is to run again."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Ask the sampler of this cell for its next search trial."""

    cell: str


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """Train the configuration of search trial `of` again, with confirm seed number `k`."""

    cell: str
    of: int
    k: int


@dataclass(frozen=True)
class Wait:
    """Nothing can start before a running trial ends."""


@dataclass(frozen=True)
class Finished:
    """Every trial that the experiment asks for has ended."""


Step = Ask | Confirm | Wait | Finished


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One trial as the plan knows it; `value` only where the outcome carries one."""

    outcome: Outcome
    value: float | None = None


@dataclass(kw_only=True)
class CellPlan:
    """One cell: how many trials and seeds it owes, and what it has.

    `trials` and `seeds` are totals. `confirm` is keyed by (search trial, number of the seed).
    """

    id: str
    trials: int
    seeds: int
    minimise: bool
    search: dict[int, Standing] = field(default_factory=dict)
    confirm: dict[tuple[int, int], Standing] = field(default_factory=dict)
    running: int = 0

    def next_step(self) -> Ask | Confirm | None:
        """What this cell can start now, or None."""
        if self._count_asked() < self.trials:
            return Ask(cell=self.id)
        best = self.best()
        if best is None or self._searching():
            return None
        for k in range(self.seeds):
            if (best, k) not in self.confirm or self.confirm[best, k].outcome == "retried":
                return Confirm(cell=self.id, of=best, k=k)
        return None

    def best(self) -> int | None:
        """The complete search trial with the best value, ties to the lower number."""
        values = {
            number: standing.value
            for number, standing in self.search.items()
            if standing.outcome in COMPLETE
            and standing.value is not None
            and not math.isnan(standing.value)
        }
        if not values:
            return None
        sign = 1 if self.minimise else -1
        return min(values, key=lambda number: (sign * values[number], number))

    def share(self) -> float:
        """The share of this cell's work that has been given out."""
        return (self._count_asked() + len(self.confirm)) / (self.trials + self.seeds)

    def state(self) -> Literal["search", "confirm", "complete", "failed"]:
        """Where the cell stands."""
        if self._count_asked() < self.trials or self._searching():
            return "search"
        best = self.best()
        if best is None:
            return "failed"
        confirmed = [self.confirm.get((best, k)) for k in range(self.seeds)]
        if any(standing is None or standing.outcome in OPEN for standing in confirmed):
            return "confirm"
        whole = all(standing and standing.outcome in COMPLETE for standing in confirmed)
        return "complete" if whole else "failed"

    def shortfall(self) -> str:
        """Why a failed cell has no whole result, in words."""
        best = self.best()
        if best is None:
            ended = Counter(standing.outcome for standing in self.search.values())
            del ended["retried"]
            return f"no search trial is complete ({_counted(ended)})"
        confirmed = [self.confirm[best, k] for k in range(self.seeds)]
        whole = sum(standing.outcome in COMPLETE for standing in confirmed)
        ended = Counter(standing.outcome for standing in confirmed)
        return f"{whole} of {self.seeds} confirm trials are complete ({_counted(ended)})"

    def _count_asked(self) -> int:
        """The search trials that have been asked; one that was retried counts with its second."""
        return sum(standing.outcome != "retried" for standing in self.search.values())

    def _searching(self) -> bool:
        return self.running > 0 and any(s.outcome == "running" for s in self.search.values())


def _counted(outcomes: Mapping[Outcome, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


class Plan:
    """All cells of a sweep, and whose turn it is."""

    def __init__(self, cells: Iterable[CellPlan]) -> None:
        self.cells = {cell.id: cell for cell in cells}

    def next_step(self) -> Step:
        """The next thing to start; `Wait` while only running trials are left."""
        for cell in sorted(self.cells.values(), key=CellPlan.share):
            step = cell.next_step()
            if step is not None:
                return step
        return Wait() if any(cell.running for cell in self.cells.values()) else Finished()

    def asked(self, cell: str, number: int) -> None:
        """A search trial has been asked and is running from now on."""
        self.cells[cell].search[number] = Standing(outcome="running")
        self.cells[cell].running += 1

    def confirming(self, cell: str, of: int, k: int) -> None:
        """A confirm trial has been enqueued and is running from now on."""
        self.cells[cell].confirm[(of, k)] = Standing(outcome="running")
        self.cells[cell].running += 1

    def searched(self, cell: str, number: int, standing: Standing) -> None:
        """A search trial has ended."""
        self.cells[cell].search[number] = standing
        self.cells[cell].running -= 1

    def confirmed(self, cell: str, of: int, k: int, standing: Standing) -> None:
        """A confirm trial has ended."""
        self.cells[cell].confirm[(of, k)] = standing
        self.cells[cell].running -= 1
