"""Optuna's studies on a real SQLite file: names, repeatable asks, adoption, pruning, telling."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from mcl_bench.spec import Choice, FloatRange, IntRange, SearchSpec
from mcl_bench.sweep.studies import Studies

SPACE = {
    "model.xi": IntRange(low=2, high=9),
    "train.optimizer.lr": FloatRange(low=1e-4, high=1e-1, log=True),
    "loss.mask_ratio": Choice(values=(0.2, 0.4, 0.6)),
}


def make_studies(folder: Path, **search: Any) -> Studies:
    spec = SearchSpec.model_validate({"trials": 12, "pruner": {"name": "none"}, **search})
    cell: Any = SimpleNamespace(id="c", space=SPACE, enqueue=({"model.xi": 7},))
    studies = Studies(
        f"sqlite:///{folder / 'study.db'}",
        sweep="s",
        sweep_id="deadbeef",
        cells={"c": cell},
        search=spec,
        seed=0,
    )
    studies.open()
    return studies


def ask_and_tell(studies: Studies, count: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(count):
        trial = studies.ask("c")
        asked.append(dict(trial.params))
        value = trial.params["train.optimizer.lr"]
        studies.report("c", trial.number, epoch=1, value=value)
        studies.tell("c", "search", trial.number, outcome="complete", value=value)
    return asked


def test_each_cell_has_two_studies_named_by_sweep_id_cell_and_stage(tmp_path: Path) -> None:
    make_studies(tmp_path)
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study.db'}")
    assert sorted(names) == ["s@deadbeef/c/confirm", "s@deadbeef/c/search"]


def test_enqueued_settings_are_tried_first_and_enqueued_once(tmp_path: Path) -> None:
    make_studies(tmp_path)
    studies = make_studies(tmp_path)
    first, second = ask_and_tell(studies, 2)
    assert first["model.xi"] == 7
    assert set(first) == set(SPACE)
    assert len(list(studies.trials("c", "search"))) == 2
    assert second != first


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_an_interrupted_search_asks_what_an_undisturbed_one_asks(
    tmp_path: Path, sampler: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed = ask_and_tell(make_studies(tmp_path / "a", sampler=sampler), 10)
    interrupted = ask_and_tell(make_studies(tmp_path / "b", sampler=sampler), 6)
    interrupted += ask_and_tell(make_studies(tmp_path / "b", sampler=sampler), 4)
    assert interrupted == undisturbed


def test_a_running_trial_is_adopted_with_its_number_parameters_and_reports(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    ask_and_tell(studies, 1)
    trial = studies.ask("c")
    studies.note("c", "search", trial.number, run_id="r1")
    studies.report("c", trial.number, epoch=1, value=0.5)
    again = make_studies(tmp_path)
    left = [found for found in again.trials("c", "search") if found.state == "RUNNING"]
    assert [found.number for found in left] == [1]
    adopted = again.adopt("c", "search", 1)
    assert adopted.params == trial.params
    assert adopted.attributes["run_id"] == "r1"
    again.tell("c", "search", 1, outcome="complete", value=0.75)
    assert next(t for t in again.trials("c", "search") if t.number == 1).value == 0.75


def test_a_trial_killed_inside_its_ask_gets_the_rest_that_it_would_have_got(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = ask_and_tell(make_studies(tmp_path / "a", sampler="random"), 2)[1]
    studies = make_studies(tmp_path / "b", sampler="random")
    ask_and_tell(studies, 1)
    study = optuna.load_study(
        study_name="s@deadbeef/c/search", storage=f"sqlite:///{tmp_path / 'b' / 'study.db'}"
    )
    study.sampler = studies._sampler("c", 1)
    study.ask(fixed_distributions={"model.xi": optuna.distributions.IntDistribution(2, 9)})
    adopted = make_studies(tmp_path / "b", sampler="random").adopt("c", "search", 1)
    assert set(adopted.params) == set(SPACE)
    assert adopted.params == whole


def test_a_pruned_trial_is_told_pruned_with_its_intermediate_values(tmp_path: Path) -> None:
    studies = make_studies(tmp_path, pruner={"name": "asha", "grace": 1, "reduction": 2})
    for value in (0.9, 0.8):
        trial = studies.ask("c")
        studies.report("c", trial.number, epoch=1, value=value)
        studies.tell("c", "search", trial.number, outcome="complete", value=value)
    trial = studies.ask("c")
    assert studies.report("c", trial.number, epoch=1, value=0.1)
    studies.tell("c", "search", trial.number, outcome="pruned", value=0.1)
    study = optuna.load_study(
        study_name="s@deadbeef/c/search", storage=f"sqlite:///{tmp_path / 'study.db'}"
    )
    assert study.trials[2].state == optuna.trial.TrialState.PRUNED
    assert study.trials[2].intermediate_values == {1: 0.1}
    assert [t.value for t in studies.trials("c", "search")] == [0.9, 0.8, None]


def test_telling_a_finished_trial_again_changes_nothing(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    trial = studies.ask("c")
    studies.tell("c", "search", trial.number, outcome="complete", value=0.5)
    studies.tell("c", "search", trial.number, outcome="failed", value=None)
    assert [(t.state, t.value) for t in studies.trials("c", "search")] == [("COMPLETE", 0.5)]


def test_a_confirm_trial_has_the_parameters_of_the_trial_it_confirms(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    asked = ask_and_tell(studies, 3)
    confirm = studies.ask_confirm("c", of=2, seed=99, key="k")
    assert confirm.params == asked[2]
    assert confirm.attributes == {"of": 2, "seed": 99, "key": "k"}
    (stored,) = make_studies(tmp_path).trials("c", "confirm")
    assert (stored.state, stored.params, stored.attributes["of"]) == ("RUNNING", asked[2], 2)
