"""`tracking.log`: a sweep whose search trials have no run in MLflow, or only the best."""

import sqlite3
from pathlib import Path

import pytest
from in_process import Sweep

from mcl_bench.cli.doctor import sides_of
from mcl_bench.doctor import examine
from mcl_bench.records import Finding
from mcl_bench.results import chosen
from mcl_bench.results.table import read_table
from mcl_bench.spec import load
from mcl_bench.sweep.folder import SweepFolder

OVERRIDES = (
    "arms.mc=null",
    *(f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio")),
    "search.pruner=none",
    "search.trials=4",
    "confirm.seeds=1",
    "train.epochs=2",
)

pytestmark = pytest.mark.usefixtures("own_temporary_folder")


def runs(home: Path) -> set[tuple[str, str]]:
    """Stage and number of every trial that has a run."""
    with sqlite3.connect(home / "mlflow.db") as database:
        text = (
            "select s.value, n.value from tags s join tags n using (run_uuid) "
            "join tags k using (run_uuid) where s.key = 'mcl.stage' and n.key = 'mcl.trial' "
            "and k.key = 'mcl.kind' and k.value = 'trial'"
        )
        return set(database.execute(text))


def found(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the doctor finds."""
    monkeypatch.setenv("MCL_HOME", str(sweep.home))
    folder = SweepFolder(sweep.home / "sweeps/tiny")
    folder.read()
    experiment = load(sweep.file, list(sweep.overrides))
    return examine([side.inventory() for side in sides_of(experiment, folder, running=False)])


@pytest.mark.parametrize("log", ["top", "confirmed"])
def test_only_the_chosen_trials_have_a_run_and_the_doctor_misses_no_other(
    tmp_path: Path, tiny_experiment: str, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "TOP", 1)
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    overrides = (*OVERRIDES, f"tracking.log={log}")
    sweep = Sweep(file=file, home=tmp_path / "runs", overrides=overrides, slots=1)
    sweep.drive()
    rows = read_table(sweep.home / "sweeps/tiny/results.parquet")
    best, wanted = -1.0, {("confirm", "0")}
    for row in rows:
        if log == "top" and row.stage == "search" and row.value is not None and row.value > best:
            best = row.value
            wanted.add(("search", str(row.trial)))
    assert 1 <= len(wanted) < 5
    assert runs(sweep.home) == wanted
    named = {(row.stage, str(row.trial)) for row in rows if row.run_id}
    assert named == wanted, "the table names the runs that there are"
    assert found(sweep, monkeypatch) == []

    with sqlite3.connect(sweep.home / "mlflow.db") as database:
        database.execute("update runs set lifecycle_stage = 'deleted' where name like '%confirm-0'")
    (missing,) = found(sweep, monkeypatch)
    assert (missing.kind, missing.where) == ("missing", "parts-convnet-ce/confirm-0")
