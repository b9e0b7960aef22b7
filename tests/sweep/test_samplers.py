"""Every sampler: it asks what Optuna would, the same after any interruption, `enqueue` first."""

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from study_files import (
    CELL,
    ask_and_tell,
    cell_of,
    make_studies,
    overrides_for,
    value_of,
)

from mcl_bench.spec import named_seed, num_grid_points
from mcl_bench.sweep import studies as studies_file
from mcl_bench.sweep.samplers import distribution, sampler_of, value_at
from mcl_bench.sweep.studies import Studies

SAMPLERS = ("tpe", "random", "grid", "qmc", "gp", "cmaes")
COUNTS = {"gp": 6, "cmaes": 20}
"""How many trials show a sampler at work: its model begins after the fourth, and is slow for gp."""

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


class Killed(BaseException):
    """Stands for SIGKILL, which leaves as little time to tidy up."""


def make(folder: Path, sampler: str) -> Studies:
    return make_studies(folder, *overrides_for(sampler))


@every_sampler
def test_an_interrupted_search_asks_what_an_undisturbed_one_asks(
    tmp_path: Path, sampler: str
) -> None:
    count = COUNTS.get(sampler, 12)
    undisturbed = ask_and_tell(make(tmp_path / "a", sampler), count)
    interrupted: list[dict[str, Any]] = []
    for part in (1, 2, count - 4, 1):
        interrupted += ask_and_tell(make(tmp_path / "b", sampler), part)
    assert interrupted == undisturbed
    assert len({tuple(params.items()) for params in undisturbed}) > count / 2


@every_sampler
def test_a_kill_inside_an_ask_leaves_nothing_and_the_same_is_asked_again(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = COUNTS.get(sampler, 12)
    undisturbed = ask_and_tell(make(tmp_path / "a", sampler), count)

    def killed(point: str) -> None:
        raise Killed(point)

    interrupted: list[dict[str, Any]] = []
    for number in (0, 1, count - 2, count - 1):
        with monkeypatch.context() as patch:
            patch.setattr(studies_file, "reach", killed)
            with pytest.raises(Killed, match="in-ask"):
                make(tmp_path / "b", sampler).ask(CELL)
        studies = make(tmp_path / "b", sampler)
        assert [trial.state for trial in studies.trials(CELL, "search")] == ["COMPLETE"] * number
        interrupted += ask_and_tell(studies, count - 3 if number == 1 else 1)
    assert interrupted == undisturbed


@every_sampler
def test_what_is_enqueued_goes_first_and_its_rest_is_the_samplers(
    tmp_path: Path, sampler: str
) -> None:
    whole = "{model.xi: 2, train.optimizer.lr: 0.05, train.optimizer.momentum: 0.3}"
    queue = f"search.enqueue=[{whole}, {{model.xi: 7}}]"
    studies = make_studies(tmp_path, queue, *overrides_for(sampler))
    first, second, third = ask_and_tell(studies, 3)
    assert first == {
        "model.xi": 2,
        "train.optimizer.lr": 0.05,
        "train.optimizer.momentum": 0.3,
    }
    assert second["model.xi"] == 7
    assert second["train.optimizer.lr"] in cell_of(studies).space["train.optimizer.lr"]
    assert third not in (first, second)
    attributes = [trial.attributes for trial in studies.trials(CELL, "search")]
    assert attributes[:2] == [{"enqueue": 0}, {"enqueue": 1}]
    assert "enqueue" not in attributes[2]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes"])
def test_what_is_asked_is_what_optuna_itself_asks_with_that_sampler(
    tmp_path: Path, sampler: str
) -> None:
    count = COUNTS.get(sampler, 12)
    studies = make(tmp_path, sampler)
    ours = ask_and_tell(studies, count)
    cell = cell_of(studies)
    plain = optuna.create_study(direction="maximize")
    plain.enqueue_trial({"model.xi": 7})
    theirs = []
    for number in range(count):
        plain.sampler = sampler_of(studies._search, cell, seed=0, number=number)
        if sampler == "tpe":  # ours has a shortcut of its own; a third of 12, and what is enqueued
            seed = named_seed(0, CELL, number, bits=32)
            plain.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
        trial = plain.ask({name: distribution(values) for name, values in cell.space.items()})
        theirs.append(trial.params)
        trial.report(value_of(trial.params), 1)
        plain.tell(trial, value_of(trial.params))
    assert theirs == ours


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc"])
def test_the_order_in_which_trials_end_does_not_matter(tmp_path: Path, sampler: str) -> None:
    asked = []
    for seed in range(3):
        rng, studies = random.Random(seed), make(tmp_path / str(seed), sampler)
        running: dict[int, Any] = {}
        found = {}
        for _ in range(20):
            while len(running) < 2 and len(found) < 12:
                trial = studies.ask(CELL)
                running[trial.number] = found[trial.number] = trial.params
            if running:
                number = rng.choice(sorted(running))
                outcome = "failed" if number == 0 else "complete"
                value = value_of(running.pop(number))
                studies.tell(CELL, "search", number, outcome=outcome, value=value)
        assert len(found) == 12
        asked.append(found)
    assert asked[0] == asked[1] == asked[2]


def test_a_grid_asks_every_point_once_after_what_is_enqueued(tmp_path: Path) -> None:
    overrides = (*overrides_for("grid"), "search.space.train.optimizer.momentum=null")
    studies = make_studies(tmp_path, *overrides)
    cell = cell_of(studies)
    assert cell.trials == num_grid_points(cell.space) + 1 == 8 * 3 + 1
    asked = ask_and_tell(studies, 10) + ask_and_tell(make_studies(tmp_path, *overrides), 15)
    axes = {name: values.grid for name, values in sorted(cell.space.items())}
    expected = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    assert asked[1:] == expected
    assert asked[0]["train.optimizer.lr"] in axes["train.optimizer.lr"]


def test_a_sequence_fills_every_part_of_each_range_and_a_failure_is_not_asked_again(
    tmp_path: Path,
) -> None:
    studies = make_studies(tmp_path, "search.sampler=qmc", "search.enqueue=[]")
    asked = []
    for _ in range(16):
        trial = studies.ask(CELL)
        asked.append(trial.params)
        studies.tell(CELL, "search", trial.number, outcome="failed", value=None)
    assert len({tuple(params.items()) for params in asked}) == 16
    assert Counter(params["model.xi"] for params in asked) == dict.fromkeys(range(2, 10), 2)
    decades = Counter(int(params["train.optimizer.lr"] * 10**4).bit_length() for params in asked)
    assert sum(decades.values()) == 16
    thirds = Counter("low" if p["train.optimizer.lr"] < 10**-2.5 else "high" for p in asked)
    assert thirds == {"low": 8, "high": 8}


@pytest.mark.parametrize("sampler", ["qmc", "grid", "random", "tpe"])
def test_where_nothing_is_searched_trials_have_no_parameters(tmp_path: Path, sampler: str) -> None:
    nothing = ["search.space=null", "search.enqueue=[]", f"search.sampler={sampler}"]
    studies = make_studies(tmp_path, *nothing)
    assert studies.ask(CELL).params == {}
    assert (cell_of(studies).trials == 1) == (sampler == "grid")


@every_sampler
def test_one_value_and_one_key_can_be_searched(tmp_path: Path, sampler: str) -> None:
    studies = make_studies(
        tmp_path,
        "search.space.train.optimizer=null",
        "search.space.train.batch_size={int: [8, 8]}",
        "search.enqueue=[]",
        f"search.sampler={sampler}",
    )
    for _ in range(6):
        trial = studies.ask(CELL)
        assert trial.params["train.batch_size"] == 8
        value = float(trial.params["model.xi"])
        studies.tell(CELL, "search", trial.number, outcome="complete", value=value)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        (FloatDistribution(1.0, 3.0), 0.25, 1.5),
        (FloatDistribution(0.01, 100.0, log=True), 0.5, 1.0),
        (FloatDistribution(0.2, 0.8, step=0.2), 0.99, 0.8),
        (FloatDistribution(0.2, 0.8, step=0.2), 0.26, 0.4),
        (IntDistribution(2, 5), 0.0, 2),
        (IntDistribution(2, 5), 0.999, 5),
        (IntDistribution(2, 8, step=3), 0.4, 5),
        (IntDistribution(1, 100, log=True), 0.0, 1),
        (IntDistribution(1, 100, log=True), 0.9999, 100),
        (CategoricalDistribution(("a", "b", "c")), 0.34, "b"),
        (CategoricalDistribution(("a", "b", "c")), 0.9999, "c"),
    ],
)
def test_a_share_of_a_range_is_the_value_it_lies_below(
    values: Any, share: float, expected: Any
) -> None:
    assert value_at(values, share) == pytest.approx(expected)
