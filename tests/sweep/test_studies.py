"""Optuna's studies on a real SQLite file: names, whole asks, adoption, pruning, telling."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from study_files import CELL, ask_and_tell, cell_of, make_studies, url_of

from mcl_bench.sweep.samplers import sampler_of


def stored(folder: Path, stage: str = "search") -> optuna.Study:
    """The study as anyone else reads it."""
    return optuna.load_study(study_name=f"s@deadbeef/{CELL}/{stage}", storage=url_of(folder))


def test_each_cell_has_two_studies_named_by_sweep_id_cell_and_stage(tmp_path: Path) -> None:
    make_studies(tmp_path)
    names = optuna.get_all_study_names(url_of(tmp_path))
    assert sorted(names) == [f"s@deadbeef/{CELL}/confirm", f"s@deadbeef/{CELL}/search"]


def test_what_is_held_is_what_is_stored(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    ask_and_tell(studies, 3)
    failed = studies.ask(CELL)
    studies.note(CELL, "search", failed.number, state="failed", cause="x")
    studies.tell(CELL, "search", failed.number, outcome="failed", value=None)
    pruned = studies.ask(CELL)
    studies.report(CELL, pruned.number, epoch=1, value=0.25)
    studies.report(CELL, pruned.number, epoch=2, value=0.5)
    studies.tell(CELL, "search", pruned.number, outcome="pruned", value=None)
    studies.ask(CELL)
    studies.ask_confirm(CELL, of=1, seed=9, key="k")
    again = make_studies(tmp_path)
    for stage in ("search", "confirm"):
        held = studies._known(CELL, stage)
        assert list(studies.trials(CELL, stage)) == list(again.trials(CELL, stage))
        for one, other in zip(held, stored(tmp_path, stage).trials, strict=True):
            for what in ("state", "params", "distributions", "values", "intermediate_values"):
                assert getattr(one, what) == getattr(other, what), what
            assert (one.user_attrs, one.number) == (other.user_attrs, other.number)


def test_enqueued_settings_are_asked_once(tmp_path: Path) -> None:
    make_studies(tmp_path)
    studies = make_studies(tmp_path)
    assert studies.count_unasked(CELL) == 1
    first, second = ask_and_tell(studies, 2)
    assert first["model.xi"] == 7
    assert set(first) == set(cell_of(studies).space)
    assert studies.count_unasked(CELL) == 0
    assert len(list(studies.trials(CELL, "search"))) == 2
    assert second != first


def test_a_trial_that_waits_in_the_study_is_asked_before_all_others(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    ask_and_tell(studies, 1)
    stored(tmp_path).enqueue_trial({"model.xi": 3}, user_attrs={"retry_of": 0})
    studies = make_studies(tmp_path)
    assert len(list(studies.trials(CELL, "search"))) == 1
    trial = studies.ask(CELL)
    assert (trial.number, trial.params["model.xi"], trial.state) == (1, 3, "RUNNING")
    assert trial.attributes == {"retry_of": 0}
    assert stored(tmp_path).trials[1].state == TrialState.RUNNING
    assert stored(tmp_path).trials[1].params == trial.params
    assert studies.ask(CELL).number == 2


def test_a_running_trial_is_adopted_with_its_number_parameters_and_reports(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    ask_and_tell(studies, 1)
    trial = studies.ask(CELL)
    studies.note(CELL, "search", trial.number, run_id="r1")
    studies.report(CELL, trial.number, epoch=1, value=0.5)
    again = make_studies(tmp_path)
    left = [found for found in again.trials(CELL, "search") if found.state == "RUNNING"]
    assert [found.number for found in left] == [1]
    adopted = again.adopt(CELL, "search", 1)
    assert adopted.params == trial.params
    assert adopted.attributes["run_id"] == "r1"
    again.report(CELL, 1, epoch=1, value=0.5)
    again.tell(CELL, "search", 1, outcome="complete", value=0.75)
    assert next(t for t in again.trials(CELL, "search") if t.number == 1).value == 0.75
    assert stored(tmp_path).trials[1].intermediate_values == {1: 0.5}


def test_a_trial_that_another_hand_began_gets_the_rest_that_its_sampler_would_have_given(
    tmp_path: Path,
) -> None:
    whole = ask_and_tell(make_studies(tmp_path / "a", "search.sampler=random"), 2)[1]
    studies = make_studies(tmp_path / "b", "search.sampler=random")
    ask_and_tell(studies, 1)
    study = stored(tmp_path / "b")
    study.sampler = sampler_of(studies._search, cell_of(studies), seed=0, number=1)
    study.ask(fixed_distributions={"model.xi": optuna.distributions.IntDistribution(2, 9)})
    adopted = make_studies(tmp_path / "b", "search.sampler=random").adopt(CELL, "search", 1)
    assert adopted.params == whole
    assert stored(tmp_path / "b").trials[1].params == whole


def test_a_pruned_trial_is_told_pruned_with_its_intermediate_values(tmp_path: Path) -> None:
    studies = make_studies(tmp_path, "search.pruner={name: asha, grace: 1, reduction: 2}")
    for value in (0.9, 0.8):
        trial = studies.ask(CELL)
        studies.report(CELL, trial.number, epoch=1, value=value)
        studies.tell(CELL, "search", trial.number, outcome="complete", value=value)
    trial = studies.ask(CELL)
    assert studies.report(CELL, trial.number, epoch=1, value=0.1)
    studies.tell(CELL, "search", trial.number, outcome="pruned", value=0.1)
    last = stored(tmp_path).trials[2]
    assert (last.state, last.intermediate_values) == (TrialState.PRUNED, {1: 0.1})
    assert [t.value for t in studies.trials(CELL, "search")] == [0.9, 0.8, None]


def test_telling_a_finished_trial_again_changes_nothing(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    trial = studies.ask(CELL)
    studies.tell(CELL, "search", trial.number, outcome="complete", value=0.5)
    studies.tell(CELL, "search", trial.number, outcome="failed", value=None)
    assert [(t.state, t.value) for t in studies.trials(CELL, "search")] == [("COMPLETE", 0.5)]


def test_a_confirm_trial_has_the_parameters_of_the_trial_it_confirms(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    asked = ask_and_tell(studies, 3)
    confirm = studies.ask_confirm(CELL, of=2, seed=99, key="k")
    assert confirm.params == asked[2]
    assert confirm.attributes == {"of": 2, "seed": 99, "key": "k"}
    (found,) = make_studies(tmp_path).trials(CELL, "confirm")
    assert (found.state, found.params, found.attributes["of"]) == ("RUNNING", asked[2], 2)


def test_a_write_that_the_storage_does_not_take_changes_nothing_in_memory(tmp_path: Path) -> None:
    studies = make_studies(tmp_path)
    trial = studies.ask(CELL)
    (tmp_path / "study.db").rename(tmp_path / "away.db")
    studies._storage._backend.engine.dispose()
    (tmp_path / "study.db").mkdir()
    with pytest.raises(optuna.exceptions.StorageInternalError):
        studies.report(CELL, trial.number, epoch=1, value=0.5)
    assert studies._known(CELL, "search")[trial.number].intermediate_values == {}
