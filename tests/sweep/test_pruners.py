"""The pruners: who ends early, never before the grace, on a horizon that is known beforehand."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from study_files import CELL, make_studies

from mcl_bench.spec import AshaSpec, HyperbandSpec, MedianSpec
from mcl_bench.sweep.pruners import HalvingPruner, pruner_of, rungs
from mcl_bench.sweep.studies import Studies

EPOCHS = 27


def history(
    pruner: optuna.pruners.BasePruner, *, seed: int, direction: str = "maximize"
) -> list[tuple[int, int]]:
    """Trials of random values, some at the same time; (number, epoch) of each that is pruned."""
    study = optuna.create_study(
        direction=direction, pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    rng = random.Random(seed)
    running: list[optuna.Trial] = []
    epochs: Counter[int] = Counter()
    pruned = []
    for _ in range(1500):
        if len(running) < 3:
            running.append(study.ask())
        trial = rng.choice(running)
        epochs[trial.number] += 1
        epoch = epochs[trial.number]
        trial.report(round(rng.random(), 1), epoch)
        if epoch == EPOCHS:
            study.tell(trial, rng.random())
            running.remove(trial)
        elif trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            running.remove(trial)
            pruned.append((trial.number, epoch))
    return pruned


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("grace", "reduction"), [(1, 2), (1, 3), (2, 4), (5, 3)])
def test_asha_prunes_whom_optunas_own_halving_prunes(
    direction: str, grace: int, reduction: int
) -> None:
    spec = AshaSpec(grace=grace, reduction=reduction)
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=reduction)
    ours = history(pruner_of(spec, epochs=EPOCHS), seed=1, direction=direction)
    assert ours == history(theirs, seed=1, direction=direction)
    assert len(ours) > 20


@pytest.mark.parametrize(
    "spec",
    [
        AshaSpec(grace=4, reduction=2),
        HyperbandSpec(name="hyperband", grace=4, reduction=2),
        MedianSpec(name="median", grace=4),
    ],
    ids=lambda spec: spec.name,
)
def test_nobody_is_pruned_before_the_grace_and_somebody_is_at_it(spec: Any) -> None:
    epochs = {epoch for _, epoch in history(pruner_of(spec, epochs=EPOCHS), seed=2)}
    assert min(epochs) == spec.grace


@pytest.mark.parametrize(
    ("grace", "reduction", "epochs", "expected"),
    [
        (10, 3, 100, (10, 30, 90)),
        (1, 3, 243, (1, 3, 9, 27, 81, 243)),
        (5, 2, 4, ()),
        (4, 2, 4, (4,)),
    ],
)
def test_the_rungs_go_from_the_grace_to_the_horizon(
    grace: int, reduction: int, epochs: int, expected: tuple[int, ...]
) -> None:
    assert rungs(AshaSpec(grace=grace, reduction=reduction), epochs=epochs) == expected


def test_hyperbands_brackets_have_the_shares_of_the_paper_and_follow_from_the_number() -> None:
    spec = HyperbandSpec(name="hyperband", grace=10, reduction=3)
    pruner = pruner_of(spec, epochs=100)
    assert isinstance(pruner, HalvingPruner)
    assert [pruner.bracket(number) for number in range(17)] == [0] * 9 + [1] * 5 + [2] * 3
    assert [pruner.bracket(number) for number in range(17, 34)] == [0] * 9 + [1] * 5 + [2] * 3
    theirs = optuna.pruners.HyperbandPruner(min_resource=10, max_resource=100, reduction_factor=3)
    theirs._try_initialization(optuna.create_study())
    counts = Counter(pruner.bracket(number) for number in range(17))
    assert [counts[bracket] for bracket in range(3)] == theirs._trial_allocation_budgets


def test_a_trial_of_a_later_bracket_is_let_be_at_the_grace_and_compared_in_its_own() -> None:
    spec = HyperbandSpec(name="hyperband", grace=1, reduction=3)
    pruner = pruner_of(spec, epochs=9)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for number in range(12):  # 0-8 are of bracket 0
        reports = {1: 0.9, 2: 0.9, 3: 0.9} if number < 9 else {1: 0.1, 2: 0.1, 3: 0.1 * number}
        state = TrialState.RUNNING
        study.add_trial(create_trial(state=state, intermediate_values=reports))
    trials = study.get_trials(deepcopy=False)
    assert pruner.bracket(9) == 1
    assert not pruner.prune(study, trials[11])
    assert pruner.prune(study, trials[10])
    trials[10].intermediate_values = {1: 0.1}
    assert not pruner.prune(study, trials[10])
    trials[0].intermediate_values = {1: 0.8}
    assert pruner.prune(study, trials[0])


def test_a_horizon_shorter_than_the_grace_prunes_nobody() -> None:
    for spec in (AshaSpec(grace=99), HyperbandSpec(name="hyperband", grace=99)):
        assert history(pruner_of(spec, epochs=EPOCHS), seed=3) == []


def run(studies: Studies, numbers: range) -> dict[int, int]:
    """Run these trials one after another; the last epoch of each."""
    lasts = {}
    for number in numbers:
        trial = studies.ask(CELL)
        assert trial.number == number
        value = random.Random(number).random()
        for epoch in range(1, 10):
            lasts[number] = epoch
            if studies.report(CELL, number, epoch=epoch, value=value + epoch / 100) and epoch < 9:
                studies.tell(CELL, "search", number, outcome="pruned", value=None)
                break
        else:
            studies.tell(CELL, "search", number, outcome="complete", value=value)
    return lasts


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_a_search_that_was_interrupted_prunes_whom_the_undisturbed_one_prunes(
    tmp_path: Path, pruner: str
) -> None:
    overrides = (f"search.pruner={{name: {pruner}, grace: 1}}", "search.sampler=random")
    undisturbed = run(make_studies(tmp_path / "a", *overrides), range(24))
    interrupted = run(make_studies(tmp_path / "b", *overrides), range(10))
    interrupted |= run(make_studies(tmp_path / "b", *overrides), range(10, 24))
    assert interrupted == undisturbed
    assert len(set(undisturbed.values())) > 1


def test_who_should_be_pruned_still_should_after_his_driver_died(tmp_path: Path) -> None:
    overrides = ("search.pruner={name: asha, grace: 1}", "search.sampler=random")
    studies = make_studies(tmp_path, *overrides)
    assert not studies.report(CELL, studies.ask(CELL).number, epoch=1, value=0.9)
    late, bad = studies.ask(CELL).number, studies.ask(CELL).number
    assert studies.report(CELL, bad, epoch=1, value=0.1)
    again = make_studies(tmp_path, *overrides)
    for number in (0, late, bad):
        again.adopt(CELL, "search", number)
    assert again.report(CELL, bad, epoch=1, value=0.1), "its last report is judged again"
    assert again.report(CELL, bad, epoch=2, value=0.99), "it stays so"
    again.report(CELL, late, epoch=1, value=0.2)  # a checkpoint remembers it, nobody heard of it
    assert again.report(CELL, late, epoch=2, value=0.99)
    assert not again.report(CELL, 0, epoch=2, value=0.9)


def test_cells_of_different_lengths_have_horizons_of_their_own(tmp_path: Path) -> None:
    for epochs, expected in ((9, (1, 3, 9)), (30, (1, 3, 9, 27))):
        studies = make_studies(
            tmp_path / str(epochs),
            "search.pruner={name: hyperband, grace: 1}",
            f"train.epochs={epochs}",
        )
        pruner = studies._studies[CELL, "search"].pruner
        assert isinstance(pruner, HalvingPruner)
        assert pruner._rungs == expected
        assert max(map(pruner.bracket, range(100))) == len(expected) - 1


def test_the_horizon_of_searched_epochs_is_the_longest(tmp_path: Path) -> None:
    studies = make_studies(
        tmp_path,
        "search.pruner={name: asha, grace: 1}",
        "search.space.train.epochs={int: [3, 81]}",
    )
    assert studies._studies[CELL, "search"].pruner._rungs == (1, 3, 9, 27, 81)
