"""The plan alone: what comes next, over chosen and random histories."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcl_bench.sweep.plan import Ask, CellPlan, Confirm, Finished, Plan, Standing, Wait


def make_plan(cells: int = 1, *, trials: int = 3, seeds: int = 2, minimise: bool = False) -> Plan:
    return Plan(
        CellPlan(id=f"c{index}", trials=trials, seeds=seeds, minimise=minimise)
        for index in range(cells)
    )


def complete(value: float) -> Standing:
    return Standing(outcome="complete", value=value)


def test_a_cell_searches_all_its_trials_before_it_confirms_the_best_on_every_seed() -> None:
    plan = make_plan()
    for number in range(3):
        assert plan.next_step() == Ask(cell="c0")
        plan.asked("c0", number)
        plan.searched("c0", number, complete([0.2, 0.9, 0.5][number]))
    for k in range(2):
        assert plan.next_step() == Confirm(cell="c0", of=1, k=k)
        plan.confirming("c0", 1, k)
        plan.confirmed("c0", 1, k, complete(0.8))
    assert plan.next_step() == Finished()
    assert plan.cells["c0"].state() == "complete"


def test_confirmation_waits_for_the_last_running_search_trial() -> None:
    plan = make_plan(trials=2)
    plan.asked("c0", 0)
    plan.asked("c0", 1)
    plan.searched("c0", 0, complete(0.9))
    assert plan.next_step() == Wait()


def test_another_cell_goes_on_while_one_waits() -> None:
    plan = make_plan(2, trials=1)
    plan.asked("c0", 0)
    assert plan.next_step() == Ask(cell="c1")


def test_ties_go_to_the_lower_number_and_the_direction_is_kept() -> None:
    up, down = make_plan(trials=3).cells["c0"], make_plan(trials=3, minimise=True).cells["c0"]
    for cell in (up, down):
        for number, value in enumerate([0.5, 0.7, 0.7]):
            cell.search[number] = complete(value)
    assert up.best() == 1
    assert down.best() == 0


@pytest.mark.parametrize("outcome", ["pruned", "diverged", "failed"])
def test_trials_without_a_value_count_and_are_never_best(outcome: str) -> None:
    plan = make_plan(trials=2)
    plan.asked("c0", 0)
    plan.searched("c0", 0, Standing(outcome=outcome, value=0.99))  # type: ignore[arg-type]
    plan.asked("c0", 1)
    plan.searched("c0", 1, complete(0.1))
    assert plan.cells["c0"].best() == 1


def test_a_cell_without_a_complete_trial_ends_failed() -> None:
    plan = make_plan(trials=1)
    plan.asked("c0", 0)
    plan.searched("c0", 0, Standing(outcome="failed"))
    assert plan.next_step() == Finished()
    assert plan.cells["c0"].state() == "failed"


def test_a_failed_confirm_trial_is_not_asked_again_and_the_cell_is_failed() -> None:
    plan = make_plan(trials=1, seeds=1)
    plan.asked("c0", 0)
    plan.searched("c0", 0, complete(0.5))
    plan.confirming("c0", 0, 0)
    plan.confirmed("c0", 0, 0, Standing(outcome="failed"))
    assert plan.next_step() == Finished()
    assert plan.cells["c0"].state() == "failed"


def test_a_new_best_after_growth_is_confirmed_on_the_same_seeds() -> None:
    cell = CellPlan(id="c0", trials=2, seeds=1, minimise=False)
    cell.search = {0: complete(0.5), 1: complete(0.6)}
    cell.confirm = {(0, 0): complete(0.5)}
    assert cell.next_step() == Confirm(cell="c0", of=1, k=0)


def test_a_renewed_cell_owes_all_of_it_again_and_hears_no_more_of_what_it_had_asked() -> None:
    plan = make_plan(trials=2, seeds=1)
    cell = plan.cells["c0"]
    plan.asked("c0", 0)
    plan.searched("c0", 0, complete(0.9))
    plan.asked("c0", 1)
    cell.confirm = {(0, 0): Standing(outcome="running")}
    cell.renew()
    assert (cell.running, cell.share(), cell.best(), cell.state()) == (0, 0.0, None, "search")
    plan.searched("c0", 1, complete(0.9))
    assert cell.best() is None
    for number in (2, 3):
        assert plan.next_step() == Ask(cell="c0")
        plan.asked("c0", number)
        plan.searched("c0", number, complete(0.1 * number))
    assert plan.next_step() == Confirm(cell="c0", of=3, k=0)


@settings(max_examples=300, deadline=None)
@given(
    cells=st.integers(1, 4),
    trials=st.integers(1, 6),
    seeds=st.integers(1, 4),
    slots=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_history_runs_each_trial_once_skips_no_seed_and_starves_no_cell(
    cells: int, trials: int, seeds: int, slots: int, seed: int
) -> None:
    chance = random.Random(seed)
    plan = make_plan(cells, trials=trials, seeds=seeds)
    live: list[Ask | Confirm] = []
    numbers = dict.fromkeys(plan.cells, 0)
    given_out: list[tuple[str, object]] = []
    searching: dict[int, int] = {}
    while True:
        step = plan.next_step() if len(live) < slots else Wait()
        if isinstance(step, Finished):
            break
        if isinstance(step, Wait):
            assert live, "the plan waits for nothing"
            ended = live.pop(chance.randrange(len(live)))
            outcome = chance.choice(["complete", "complete", "pruned", "failed"])
            standing = (
                complete(chance.random())
                if outcome == "complete"
                else Standing(
                    outcome=outcome  # type: ignore[arg-type]
                )
            )
            if isinstance(ended, Ask):
                plan.searched(ended.cell, searching.pop(id(ended)), standing)
            else:
                plan.confirmed(ended.cell, ended.of, ended.k, standing)
        elif isinstance(step, Ask):
            searching[id(step)] = numbers[step.cell]
            plan.asked(step.cell, numbers[step.cell])
            given_out.append((step.cell, numbers[step.cell]))
            numbers[step.cell] += 1
            live.append(step)
        else:
            assert step.of == plan.cells[step.cell].best()
            plan.confirming(step.cell, step.of, step.k)
            given_out.append((step.cell, (step.of, step.k)))
            live.append(step)
    assert not live
    assert len(given_out) == len(set(given_out))
    assert all(count == trials for count in numbers.values())
    for cell in plan.cells.values():
        expected = {(cell.best(), k) for k in range(seeds)} if cell.best() is not None else set()
        assert set(cell.confirm) == expected
