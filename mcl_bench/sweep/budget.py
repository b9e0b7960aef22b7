"""What a budget allows: a search that still leaves room for every confirmation, and when to leave.

A sweep has so many hours of its drives' time (`budget.hours`) and so many device-hours of its
ledger (`budget.device_hours`), whichever is spent first. The search of all cells closes together,
when one more trial would leave less than confirming every cell will take; what that is, is
estimated from the trials that are complete. Where nothing is left, running trials leave.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from mcl_bench.records import Stage
from mcl_bench.spec import BudgetSpec, Cell
from mcl_bench.sweep.ledger import Ledger
from mcl_bench.sweep.plan import Ask, Plan
from mcl_bench.sweep.trials import Running

SPARE = 1.1
"""So many times what confirming is estimated to take is kept for it."""

SPARE_SECONDS = 5.0
"""And so much more, in which a worker starts anew, or trials leave."""

HOUR = 3600.0


class Job(NamedTuple):
    """A trial that takes so many more seconds of a slot."""

    cell: str
    stage: Stage
    seconds: float


class Budget:
    """What is left of a sweep's budget, and what is to be done with it."""

    def __init__(
        self,
        spec: BudgetSpec,
        *,
        cells: Iterable[Cell],
        ledger: Ledger,
    ) -> None:
        self.limits = limits(spec)
        self._ledger = ledger
        self._growth = {cell.id: confirm_growth(cell) for cell in cells}

    @property
    def closed(self) -> bool:
        """Whether this budget has closed the search before, and has not been raised since."""
        before = self._ledger.limits
        return before is not None and not is_raised(before, self.limits)

    def over(self, clock: float | None = None) -> bool:
        """Whether nothing is left of it at this moment, or at the last event."""
        return min(self._left(clock).values(), default=1.0) <= 0

    def closes(
        self,
        plan: Plan,
        live: Collection[Running],
        *,
        weights: Mapping[str, float],
        clock: float,
    ) -> bool:
        """Whether the search trial that comes next would leave too little to confirm all cells.

        `live` are the running trials, `weights` the devices that a trial of each cell holds.
        """
        step = plan.next_step()
        if not self.limits or not isinstance(step, Ask):
            return False
        running = [
            Job(
                trial.cell,
                trial.stage,
                self._seconds(trial.cell, trial.stage) - self._ledger.held(trial.name, clock),
            )
            for trial in live
        ]
        running.append(Job(step.cell, "search", self._seconds(step.cell, "search")))
        owed = [
            Job(cell.id, "confirm", self._seconds(cell.id, "confirm"))
            for cell in plan.cells.values()
            for _ in range(cell.seeds if cell.asks else cell.unconfirmed())
        ]
        need = {
            "device_hours": sum(
                max(0.0, job.seconds) * weights[job.cell] for job in [*running, *owed]
            ),
            "hours": makespan(running, owed, slots=self._ledger.slots),
        }
        left = self._left(clock)
        return any(left[name] < SPARE * need[name] + SPARE_SECONDS for name in left)

    def _left(self, clock: float | None) -> dict[str, float]:
        """Seconds that are left, by the limit; only of those that are set."""
        costs = self._ledger.costs(clock=clock, live=True)
        used = {"hours": costs.wall_seconds, "device_hours": sum(costs.device_seconds.values())}
        return {name: HOUR * limit - used[name] for name, limit in self.limits.items()}

    def _seconds(self, cell: str, stage: Stage) -> float:
        """The slot-seconds that a trial takes; 0 while none is known.

        A confirm trial takes what a search trial does, and more where it trains on more images.
        """
        known = self._ledger.length(cell, stage)
        if known is not None or stage == "search":
            return known or 0.0
        return self._growth[cell] * self._seconds(cell, "search")


def limits(spec: BudgetSpec) -> dict[str, float]:
    """The hours of a budget that are set, by name."""
    named = {"hours": spec.hours, "device_hours": spec.device_hours}
    return {name: hours for name, hours in named.items() if hours is not None}


def is_raised(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether any limit of an earlier budget is higher now, or gone."""
    return any(name not in now or now[name] > hours for name, hours in before.items())


def confirm_growth(cell: Cell) -> float:
    """How many times the images of a search trial a confirm trial of this cell trains on."""
    share = cell.spec.data.validation
    refit = cell.spec.confirm.refit and isinstance(share, float)
    return 1 / (1 - share) if refit and isinstance(share, float) else 1.0


def makespan(running: Iterable[Job], owed: Iterable[Job], *, slots: int) -> float:
    """The seconds until all is done: what runs, each in a slot of its own, then what is owed.

    A cell's owed trials begin when its search has ended, the longest first.
    """
    free = [0.0] * max(1, slots)
    searched: dict[str, float] = {}
    for job in running:
        ends = _place(free, max(0.0, job.seconds))
        if job.stage == "search":
            searched[job.cell] = max(searched.get(job.cell, 0.0), ends)
    for begins, seconds in sorted((searched.get(job.cell, 0.0), -job.seconds) for job in owed):
        _place(free, -seconds, begins=begins)
    return max(free)


def _place(free: list[float], seconds: float, *, begins: float = 0.0) -> float:
    """When a trial ends that takes the slot which is free first, and begins no sooner than that.

    `free` is a heap of the moments at which slots are free.
    """
    ends = max(free[0], begins) + seconds
    heapq.heapreplace(free, ends)
    return ends


def shortfalls(spec: BudgetSpec, *, wall_seconds: float, device_seconds: float) -> list[str]:
    """A line for each limit of the budget that a predicted need exceeds."""
    need = {"hours": wall_seconds / HOUR, "device_hours": device_seconds / HOUR}
    return [
        f"budget.{name}: the sweep is predicted to need {need[name]:.3g} h, the budget is "
        f"{hours:.3g} h: the search will be closed early, or trials left unfinished"
        for name, hours in limits(spec).items()
        if need[name] > hours
    ]
