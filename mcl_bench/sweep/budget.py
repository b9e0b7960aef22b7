"""What a budget allows: a search that still leaves room for every confirmation, and when to leave.

A sweep has so many hours of its drives' time (`budget.hours`) and so many device-hours of its
ledger (`budget.device_hours`), whichever is spent first. The search of all cells closes together,
when one more trial would leave less than confirming every cell will take; what that is, is
estimated from the trials that are complete. Where nothing is left, running trials leave.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcl_bench.records import TrialRecord
from mcl_bench.spec import BudgetSpec, Cell
from mcl_bench.sweep.ledger import Ledger
from mcl_bench.sweep.plan import Plan
from mcl_bench.sweep.trials import Running

SPARE = 1.1
"""So many times what confirming is estimated to take is kept for it."""

HOUR = 3600.0


@dataclass(kw_only=True)
class _Mean:
    """A mean that grows."""

    sum: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.sum += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.sum / self.count if self.count else 0.0


class Budget:
    """What is left of a sweep's budget, and what is to be done with it."""

    def __init__(
        self,
        spec: BudgetSpec,
        *,
        cells: Iterable[Cell],
        ledger: Ledger,
        records: Iterable[TrialRecord],
    ) -> None:
        self.limits = limits(spec)
        self._ledger = ledger
        self._growth = {cell.id: confirm_growth(cell) for cell in cells}
        self._means: dict[tuple[str, str], _Mean] = {}
        for record in records:
            self.learn(record)

    @property
    def closed(self) -> bool:
        """Whether this budget has closed the search before, and has not been raised since."""
        before = self._ledger.limits
        return before is not None and not is_raised(before, self.limits)

    def learn(self, record: TrialRecord) -> None:
        """Take in how long a trial took that has ended."""
        if record.state == "complete":
            mean = self._means.setdefault((record.cell, record.stage), _Mean())
            mean.add(record.device_seconds)

    def over(self, clock: float | None = None) -> bool:
        """Whether nothing is left of it at this moment, or at the last event."""
        return min(self._left(clock).values(), default=1.0) <= 0

    def closes(
        self,
        plan: Plan,
        live: Iterable[Running],
        *,
        weights: Mapping[str, float],
        clock: float,
    ) -> bool:
        """Whether one more search trial would leave too little to confirm all cells.

        `live` are the running trials, `weights` the devices that a trial of each cell holds.
        """
        if not self.limits:
            return False
        running = [
            (self._remaining(trial, weights[trial.cell], clock), weights[trial.cell])
            for trial in live
        ]
        owed = [
            (self._length(cell.id, "confirm") / weights[cell.id], weights[cell.id])
            for cell in plan.cells.values()
            for _ in range(cell.unconfirmed() if not cell.asks else cell.seeds)
        ]
        asking = [cell.id for cell in plan.cells.values() if cell.asks]
        longest = max(asking, key=lambda cell: self._length(cell, "search"))
        owed.append((self._length(longest, "search") / weights[longest], weights[longest]))
        need = {
            "device_hours": sum(seconds * weight for seconds, weight in [*running, *owed]),
            "hours": makespan(
                (seconds for seconds, _ in running),
                (seconds for seconds, _ in owed),
                slots=self._ledger.slots,
            ),
        }
        return any(seconds < SPARE * need[name] for name, seconds in self._left(clock).items())

    def _left(self, clock: float | None) -> dict[str, float]:
        """Seconds that are left, by the limit; only of those that are set."""
        costs = self._ledger.costs(clock=clock, live=True)
        used = {"hours": costs.wall_seconds, "device_hours": sum(costs.device_seconds.values())}
        return {name: HOUR * limit - used[name] for name, limit in self.limits.items()}

    def _length(self, cell: str, stage: str) -> float:
        """The device-seconds that a trial takes; 0 while none is known.

        A confirm trial takes what a search trial does, and more where it trains on more images.
        """
        own = self._means.get((cell, stage), _Mean())
        if own.count or stage == "search":
            return own.value
        return self._growth[cell] * self._length(cell, "search")

    def _remaining(self, trial: Running, weight: float, clock: float) -> float:
        spent = trial.seconds + self._ledger.pending(trial.name, clock)
        return max(0.0, self._length(trial.cell, trial.stage) / weight - spent)


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


def makespan(running: Iterable[float], owed: Iterable[float], *, slots: int) -> float:
    """The seconds until all is done: what runs, then what is owed, the longest first.

    `running` are the seconds that running trials still take, each in a slot of its own.
    """
    loads = sorted(running, reverse=True)
    loads += [0.0] * (max(1, slots) - len(loads))
    heapq.heapify(loads)
    for seconds in sorted(owed, reverse=True):
        heapq.heapreplace(loads, loads[0] + seconds)
    return max(loads)


def shortfalls(spec: BudgetSpec, *, wall_seconds: float, device_seconds: float) -> list[str]:
    """A line for each limit of the budget that a predicted need exceeds."""
    need = {"hours": wall_seconds / HOUR, "device_hours": device_seconds / HOUR}
    return [
        f"budget.{name}: the sweep is predicted to need {need[name]:.3g} h, the budget is "
        f"{hours:.3g} h: the search will be closed early, or trials left unfinished"
        for name, hours in limits(spec).items()
        if need[name] > hours
    ]
