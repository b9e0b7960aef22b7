"""Budgets without trials: whole sweeps in the test's own time, over plan, ledger and budget."""

import heapq
import random
from types import SimpleNamespace
from typing import Any

import pytest

from mcl_bench.spec import BudgetSpec, Experiment, load
from mcl_bench.sweep.budget import (
    SPARE,
    SPARE_SECONDS,
    Budget,
    Job,
    confirm_growth,
    is_raised,
    makespan,
    shortfalls,
)
from mcl_bench.sweep.ledger import Ledger
from mcl_bench.sweep.plan import Ask, CellPlan, Plan, Standing

HOUR = 3600.0


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Experiment:
    file = tmp_path_factory.mktemp("budget") / "tiny.yaml"
    file.write_text(tiny_experiment)
    return load(file)


class Sweep:
    """A sweep whose trials only take time: `length` seconds, a confirm trial `longer` times that.

    `hours` is what a budget asks of; the clock is the test's.
    """

    def __init__(self, experiment: Experiment, *, slots: int, trials: int, seeds: int) -> None:
        self.experiment = experiment
        self.slots = slots
        self.plan = Plan(
            CellPlan(id=cell.id, trials=trials, seeds=seeds, minimise=False)
            for cell in experiment.cells
        )
        self.ledger = Ledger()
        self.clock = 0.0

    def say(self, event: str, name: tuple[str, str, int] | None = None, **details: Any) -> None:
        words = {} if name is None else dict(zip(("cell", "stage", "trial"), name, strict=True))
        self.ledger.hear({"time": 0, "clock": self.clock, "event": event, **words, **details})

    def drive(self, spec: BudgetSpec, *, length: float, spread: float = 0.0, seed: int = 0) -> bool:
        """Run until nothing is left, or the budget; whether trials had to leave."""
        chance = random.Random(seed)
        cells = self.experiment.cells
        budget = Budget(spec, cells=cells, ledger=self.ledger)
        weights = {cell.id: 1.0 for cell in cells}
        for cell in self.plan.cells.values():
            cell.closed = budget.closed
        self.say("drive", slots=self.slots, devices=weights, closed=budget.closed)
        live: list[tuple[float, int, Any, float]] = []
        number = 0
        while True:
            if budget.over(self.clock):
                break
            running = [one[2] for one in live]
            if self.plan.asks and budget.closes(
                self.plan, running, weights=weights, clock=self.clock
            ):
                self.plan.close()
                self.say("close", limits=budget.limits)
            step = self.plan.next_step() if len(live) < self.slots else None
            if isinstance(step, Ask) or hasattr(step, "of"):
                number += 1
                trial = self.begin(step, number)
                grown = confirm_growth(cells[0]) if trial.stage == "confirm" else 1.0
                took = length * grown * (1 + spread * chance.uniform(-1, 1))
                heapq.heappush(live, (self.clock + took, number, trial, took))
                continue
            if not live:
                break
            ends, _, trial, took = heapq.heappop(live)
            self.clock = ends
            self.end(trial, took, chance.random())
        left = bool(live)
        self.say("end", state="budget")
        for _, _, trial, _ in live:  # they are taken up by the next drive
            self.say("interrupt", trial.name, cause="preempted: told to leave")
        self.live = live
        return left

    def begin(self, step: Any, number: int) -> Any:
        stage = "search" if isinstance(step, Ask) else "confirm"
        trial = SimpleNamespace(
            name=(step.cell, stage, number), cell=step.cell, stage=stage, step=step
        )
        if stage == "search":
            self.plan.asked(step.cell, number)
        else:
            self.plan.confirming(step.cell, step.of, step.k)
        self.say("launch", trial.name)
        return trial

    def end(self, trial: Any, took: float, value: float) -> None:
        self.say("report", trial.name, epoch=1, seconds=took, spent={})
        self.say("tell", trial.name, state="complete")
        standing = Standing(outcome="complete", value=value)
        if trial.stage == "search":
            self.plan.searched(trial.cell, trial.name[2], standing)
        else:
            self.plan.confirmed(trial.cell, trial.step.of, trial.step.k, standing)

    @property
    def states(self) -> set[str]:
        return {cell.state() for cell in self.plan.cells.values()}

    @property
    def searched(self) -> list[int]:
        return [len(cell.search) for cell in self.plan.cells.values()]


@pytest.mark.parametrize("kind", ["hours", "device_hours"])
@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_budget_all_cells_are_confirmed_within_it_once_they_have_been_measured(
    experiment: Experiment, kind: str, seed: int
) -> None:
    chance = random.Random(seed)
    slots, seeds = chance.randint(1, 4), chance.randint(1, 5)
    length, spread = chance.uniform(10, 600), chance.uniform(0, 0.05)
    # Enough for the first trials, whose length is not known while others start beside them, and
    # for confirming two cells, where a trial takes 1 / (1 - 0.3) times as long; and for more.
    confirm = length * SPARE / 0.7 * 1.1
    need = (2 * slots + 2) * length + 2 * seeds * confirm
    if kind == "hours":
        need = 3 * length + -(-2 * seeds // slots) * confirm
    seconds = need + 2 * SPARE_SECONDS + chance.randint(0, 30) * length
    sweep = Sweep(experiment, slots=slots, trials=1000, seeds=seeds)
    spec = BudgetSpec(**{kind: seconds / HOUR})
    left = sweep.drive(spec, length=length, spread=spread, seed=seed)
    costs = sweep.ledger.costs()
    used = costs.wall_seconds if kind == "hours" else sum(costs.device_seconds.values())
    assert not left
    assert sweep.states == {"complete"}
    assert costs.closed
    assert seconds / 3 <= used <= seconds
    assert max(sweep.searched) - min(sweep.searched) <= 1


def test_the_same_budget_does_nothing_more_and_a_raised_one_goes_on(
    experiment: Experiment,
) -> None:
    sweep = Sweep(experiment, slots=2, trials=30, seeds=2)
    sweep.drive(BudgetSpec(hours=1), length=300)
    searched, clock = sum(sweep.searched), sweep.clock
    assert 4 <= searched < 60
    assert not sweep.drive(BudgetSpec(hours=1), length=300)
    assert (sum(sweep.searched), sweep.clock) == (searched, clock)
    assert not sweep.drive(BudgetSpec(hours=2), length=300)
    assert sum(sweep.searched) > searched
    assert sweep.states == {"complete"}
    assert sweep.plan.short
    sweep.drive(BudgetSpec(), length=300)
    assert sweep.searched == [30, 30]
    assert sweep.states == {"complete"}
    assert not sweep.ledger.costs().closed


def test_where_not_even_confirming_fits_running_trials_leave_at_the_end(
    experiment: Experiment,
) -> None:
    sweep = Sweep(experiment, slots=2, trials=30, seeds=5)
    assert sweep.drive(BudgetSpec(device_hours=0.5), length=600)
    assert sweep.states & {"search", "confirm"}


def test_a_confirm_trial_takes_longer_by_the_images_that_it_trains_on(
    experiment: Experiment,
) -> None:
    assert confirm_growth(experiment.cells[0]) == pytest.approx(1 / 0.7)


def test_a_cell_is_confirmed_when_its_search_has_ended_in_the_slots_that_are_free() -> None:
    search = [Job("a", "search", 4.0), Job("b", "search", 1.0)]
    confirm = [Job("a", "confirm", 3.0), Job("b", "confirm", 2.0), Job("b", "confirm", 3.0)]
    assert makespan([], confirm, slots=1) == 8.0
    assert makespan([], confirm, slots=2) == 5.0
    assert makespan(search, confirm[:1], slots=2) == 7.0
    assert makespan(search, confirm, slots=2) == 7.0
    assert makespan(search, [confirm[0], *confirm], slots=2) == 9.0
    assert makespan([Job("a", "confirm", 9.0)] * 3, [], slots=3) == 9.0


@pytest.mark.parametrize(
    ("before", "now", "raised"),
    [
        ({"hours": 1.0}, {"hours": 1.0}, False),
        ({"hours": 1.0}, {"hours": 0.5}, False),
        ({"hours": 1.0}, {"hours": 1.0, "device_hours": 2.0}, False),
        ({"hours": 1.0}, {"hours": 1.5}, True),
        ({"hours": 1.0}, {}, True),
    ],
)
def test_a_budget_is_raised_by_a_higher_limit_or_none(
    before: dict[str, float], now: dict[str, float], raised: bool
) -> None:
    assert is_raised(before, now) is raised


def test_a_predicted_need_is_held_against_each_limit() -> None:
    spec = BudgetSpec(hours=2, device_hours=3)
    assert shortfalls(spec, wall_seconds=2 * HOUR, device_seconds=3 * HOUR) == []
    (line,) = shortfalls(spec, wall_seconds=1 * HOUR, device_seconds=4 * HOUR)
    assert line.startswith("budget.device_hours: the sweep is predicted to need 4 h")


def test_without_a_budget_of_time_nothing_is_closed(experiment: Experiment) -> None:
    sweep = Sweep(experiment, slots=3, trials=5, seeds=2)
    assert not sweep.drive(BudgetSpec(checkpoint_gb=1), length=1e6)
    assert sweep.searched == [5, 5]
    assert not sweep.plan.short
