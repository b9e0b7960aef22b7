"""What Optuna says of which settings mattered, from the studies of a sweep's folder."""

import json
from pathlib import Path

import optuna
import pytest
from postgres import Postgres

from mcl_bench.records import Importance, TrialRecord
from mcl_bench.spec import Experiment, load
from mcl_bench.sweep import importance as room
from mcl_bench.sweep.importance import importances

CELL = "parts-convnet-mc"
OTHER = "parts-convnet-ce"


@pytest.fixture
def experiment(tmp_path: Path, tiny_experiment: str) -> Experiment:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    return load(file)


def searched(
    folder: Path, *, trials: int, constant: bool = False, storage_url: str | None = None
) -> None:
    """The studies of a sweep of which `mc` was searched: only μ counts."""
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"id": "0a1b2c3d"}))
    storage = optuna.storages.RDBStorage(storage_url or f"sqlite:///{folder / 'study.db'}")
    study = optuna.create_study(
        study_name=f"tiny@0a1b2c3d/{CELL}/search",
        storage=storage,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=1),
    )
    for _ in range(trials):
        trial = study.ask()
        mu = trial.suggest_float("loss.mu", 0.0, 1.0)
        trial.suggest_float("loss.lambda", 0.0, 1.0)
        study.tell(trial, 0.5 if constant else mu)
    storage.remove_session()
    storage.engine.dispose()


def of(cell: str, found: tuple[Importance, ...]) -> Importance:
    return next(entry for entry in found if entry.cell == cell)


@pytest.mark.parametrize(("trials", "method"), [(20, "fANOVA"), (40, "PED-ANOVA")])
def test_the_setting_that_counts_has_the_larger_share(
    tmp_path: Path,
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    trials: int,
    method: str,
) -> None:
    monkeypatch.setattr(room, "FANOVA_TRIALS", 30)
    searched(tmp_path / "tiny", trials=trials)
    found = of(CELL, importances(tmp_path / "tiny", experiment))
    assert (found.method, found.trials, found.absent) == (method, trials, None)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["loss.mu"] > 0.8


def test_what_was_run_again_does_not_count(tmp_path: Path, experiment: Experiment) -> None:
    searched(tmp_path / "tiny", trials=24)
    words = dict.fromkeys(("sweep", "dataset", "backbone", "weights", "arm", "xi", "key"), "x")
    numbers = dict.fromkeys(("maps", "parameters", "seed", "started", "finished"), 0)
    lines = [
        TrialRecord(
            **words,  # type: ignore[arg-type]
            **numbers,  # type: ignore[arg-type]
            cell=CELL,
            stage="search",
            trial=number,
            state=state,
            config={},
            run_id="",
        ).to_json()
        for number in range(4)
        for state in ("complete", "retried")
    ]
    (tmp_path / "tiny/records.jsonl").write_text("\n".join(lines) + "\n")
    found = of(CELL, importances(tmp_path / "tiny", experiment))
    assert found.trials == 20
    assert found.shares["loss.mu"] > 0.8


def test_importances_are_the_same_each_time(tmp_path: Path, experiment: Experiment) -> None:
    searched(tmp_path / "tiny", trials=12)
    assert importances(tmp_path / "tiny", experiment) == importances(tmp_path / "tiny", experiment)


def test_too_few_trials_and_cells_without_a_search_say_so(
    tmp_path: Path, experiment: Experiment
) -> None:
    searched(tmp_path / "tiny", trials=3)
    found = importances(tmp_path / "tiny", experiment)
    assert of(CELL, found).absent == "3 complete trials are too few (at least 10)"
    assert of(OTHER, found).absent == "nothing has been searched yet"


def test_values_that_are_all_equal_are_told_and_not_raised(
    tmp_path: Path, experiment: Experiment
) -> None:
    searched(tmp_path / "tiny", trials=12, constant=True)
    found = of(CELL, importances(tmp_path / "tiny", experiment))
    assert found.absent is not None or sum(found.shares.values()) == pytest.approx(1)


def test_a_folder_without_a_storage_is_left_as_it_is(
    tmp_path: Path, experiment: Experiment
) -> None:
    found = importances(tmp_path, experiment)
    assert {entry.absent for entry in found} == {"the sweep's Optuna storage is not there"}
    assert not (tmp_path / "study.db").exists()


def test_no_cell_is_begun_once_the_time_has_gone_by(tmp_path: Path, experiment: Experiment) -> None:
    searched(tmp_path / "tiny", trials=12)
    found = of(CELL, importances(tmp_path / "tiny", experiment, limit_seconds=-1))
    assert found.shares == {}
    assert "went on the cells before it" in str(found.absent)


def test_studies_in_a_shared_database_are_read_there(
    tmp_path: Path, tiny_experiment: str, postgres: Postgres
) -> None:
    url = postgres.database()
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    experiment = load(file, [f"search.storage={url}"])
    searched(
        tmp_path / "tiny",
        trials=12,
        storage_url=url.replace("postgresql://", "postgresql+psycopg://"),
    )
    assert of(CELL, importances(tmp_path / "tiny", experiment)).shares["loss.mu"] > 0.8
    assert not (tmp_path / "tiny/study.db").exists()


def test_a_storage_that_can_not_be_read_costs_the_importances_only(
    tmp_path: Path, experiment: Experiment
) -> None:
    searched(tmp_path / "tiny", trials=12)
    (tmp_path / "tiny/study.db").write_bytes(b"no database" * 100)
    found = of(CELL, importances(tmp_path / "tiny", experiment))
    assert "is damaged" in str(found.absent)
