"""What a sweep does next: search, then confirm, in every cell. Pure: no Ray, no Optuna, no clock.

The plan is told what was asked and how it ended, and answers with one step at a time. Cells take
turns by the share of their work that has been given out, so that no cell starves and slots are
busy while another cell waits for its last search trials. A trial ends once: what is told of it
after its end, or of one that was never asked, changes nothing.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

from mcl_bench.records import TrialState

Outcome = TrialState | Literal["running"]
"""Where one trial stands in the plan; all but `running` are final."""

COMPLETE: frozenset[str] = frozenset({"complete", "duplicate"})
"""The outcomes that carry a value."""

PATIENCE = 0.1
"""The share of its work by which a cell may fall behind whoever takes its turns."""

PATIENCE_TRIALS = 2
"""The trials by which it may fall behind where that is more."""

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
    Where a budget has `closed` the search no further trial is asked, and the best is confirmed.
    """

    id: str
    trials: int
    seeds: int
    minimise: bool
    closed: bool = False
    search: dict[int, Standing] = field(default_factory=dict)
    confirm: dict[tuple[int, int], Standing] = field(default_factory=dict)
    _searching: set[int] = field(default_factory=set)
    _confirming: set[tuple[int, int]] = field(default_factory=set)

    @property
    def running(self) -> int:
        """How many of its trials have been asked and have not ended."""
        return len(self._searching) + len(self._confirming)

    @property
    def short(self) -> bool:
        """Whether fewer search trials have been asked than the cell owes."""
        return self._count_asked() < self.trials

    @property
    def asks(self) -> bool:
        """Whether a search trial is still to be asked."""
        return self.short and not self.closed

    def unconfirmed(self) -> int:
        """How many seeds have not been given out for the search trial that is the best so far."""
        best = self.best()
        return sum(self._lacks(best, k) for k in range(self.seeds))

    def next_step(self) -> Ask | Confirm | None:
        """What this cell can start now, or None."""
        if self.asks:
            return Ask(cell=self.id)
        best = self.best()
        if best is None or self._searching:
            return None
        for k in range(self.seeds):
            if self._lacks(best, k):
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

    def patience(self) -> float:
        """How far its share may fall behind before room is made for it."""
        return max(PATIENCE, PATIENCE_TRIALS / (self.trials + self.seeds))

    def state(self) -> Literal["search", "confirm", "complete", "failed"]:
        """Where the cell stands."""
        if self.asks or self._searching:
            return "search"
        best = self.best()
        if best is None:
            return "search" if self.short else "failed"
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

    def asked(self, number: int) -> None:
        """A search trial has been asked and is running from now on."""
        if number not in self.search:
            self.search[number] = Standing(outcome="running")
            self._searching.add(number)

    def confirming(self, of: int, k: int) -> None:
        """A confirm trial has been enqueued and is running from now on."""
        if self._lacks(of, k):
            self.confirm[of, k] = Standing(outcome="running")
            self._confirming.add((of, k))

    def searched(self, number: int, standing: Standing) -> None:
        """A search trial has ended."""
        if number in self._searching:
            self._searching.remove(number)
            self.search[number] = standing

    def confirmed(self, of: int, k: int, standing: Standing) -> None:
        """A confirm trial has ended."""
        if (of, k) in self._confirming:
            self._confirming.remove((of, k))
            self.confirm[of, k] = standing

    def renew(self) -> None:
        """Owe all of it once more: what was asked so far is to run again."""
        self.search = dict.fromkeys(self.search, Standing(outcome="retried"))
        self.confirm = {}
        self._searching.clear()
        self._confirming.clear()

    def _lacks(self, of: int | None, k: int) -> bool:
        """Whether this seed has not been given out, or is to be given out again."""
        standing = None if of is None else self.confirm.get((of, k))
        return standing is None or standing.outcome == "retried"

    def _count_asked(self) -> int:
        """The search trials that have been asked; one that was retried counts with its second."""
        return sum(standing.outcome != "retried" for standing in self.search.values())


def _counted(outcomes: Mapping[Outcome, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


class Plan:
    """All cells of a sweep, and whose turn it is."""

    def __init__(self, cells: Iterable[CellPlan]) -> None:
        self.cells = {cell.id: cell for cell in cells}
        self.barred: Set[str] = frozenset()
        """The cells that there is no room for now; others take their turns."""

    def next_step(self) -> Step:
        """The next thing to start; `Wait` while only running trials, or barred cells, are left."""
        waiting = False
        for cell in self._in_turn():
            step = cell.next_step()
            if step is not None and cell.id not in self.barred:
                return step
            waiting = waiting or step is not None or cell.running > 0
        return Wait() if waiting else Finished()

    def overdue(self) -> str | None:
        """The barred cell that others have overtaken by too much, if there is one."""
        late: CellPlan | None = None
        for cell in self._in_turn():
            if cell.next_step() is None:
                continue
            if cell.id not in self.barred:
                if late is None or cell.share() - late.share() <= late.patience():
                    return None
                return late.id
            late = late or cell
        return None

    def _in_turn(self) -> list[CellPlan]:
        return sorted(self.cells.values(), key=CellPlan.share)

    @property
    def asks(self) -> bool:
        """Whether a search trial is still to be asked in any cell."""
        return any(cell.asks for cell in self.cells.values())

    @property
    def short(self) -> bool:
        """Whether any cell has been asked fewer search trials than it owes."""
        return any(cell.short for cell in self.cells.values())

    def close(self) -> None:
        """Ask no further search trial in any cell: all are confirmed with what they have."""
        for cell in self.cells.values():
            cell.closed = True

    def asked(self, cell: str, number: int) -> None:
        """A search trial has been asked and is running from now on."""
        self.cells[cell].asked(number)

    def confirming(self, cell: str, of: int, k: int) -> None:
        """A confirm trial has been enqueued and is running from now on."""
        self.cells[cell].confirming(of, k)

    def searched(self, cell: str, number: int, standing: Standing) -> None:
        """A search trial has ended."""
        self.cells[cell].searched(number, standing)

    def confirmed(self, cell: str, of: int, k: int, standing: Standing) -> None:
        """A confirm trial has ended."""
        self.cells[cell].confirmed(of, k, standing)
