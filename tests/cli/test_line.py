"""The whole line, run as people run it: one small sweep, and everything it must leave behind."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from running import mcl_bench, read_lines

CELLS = ("parts-convnet-ce", "parts-convnet-mc")
TRIALS, SEEDS, EPOCHS = 4, 2, 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    folder = tmp_path_factory.mktemp("line")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    mcl_bench("sweep", str(folder / "tiny.yaml"), home=folder / "runs")
    return folder / "runs"


@pytest.fixture(scope="module")
def table(home: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist()
    return rows


def studies(home: Path) -> dict[str, optuna.Study]:
    url = f"sqlite:///{home / 'sweeps/tiny/study.db'}"
    names = optuna.get_all_study_names(url)
    return {
        name.split("/", 1)[1]: optuna.load_study(study_name=name, storage=url) for name in names
    }


def test_optuna_the_table_and_the_file_agree_on_every_trial(
    home: Path, table: list[dict[str, Any]]
) -> None:
    known = {
        (study.split("/")[0], study.split("/")[1], trial.number)
        for study, content in studies(home).items()
        for trial in content.trials
    }
    assert known == {(row["cell"], row["stage"], row["trial"]) for row in table}
    assert known == {
        (cell, stage, number)
        for cell in CELLS
        for stage, count in (("search", TRIALS), ("confirm", SEEDS))
        for number in range(count)
    }


def test_pruned_trials_are_pruned_in_optuna_with_their_intermediate_values(
    home: Path, table: list[dict[str, Any]]
) -> None:
    pruned = [row for row in table if row["state"] == "pruned"]
    assert pruned, "with this pruner and these settings some trial is pruned"
    for row in pruned:
        trial = studies(home)[f"{row['cell']}/search"].trials[row["trial"]]
        assert trial.state.name == "PRUNED"
        assert trial.intermediate_values == {
            epoch["epoch"]: dict(epoch["metrics"])["val/top1"] for epoch in row["epochs"]
        }
        assert len(row["epochs"]) < EPOCHS


def test_confirm_trials_name_the_best_search_trial_and_share_their_seeds(
    table: list[dict[str, Any]],
) -> None:
    seeds = {}
    for cell in CELLS:
        rows = [row for row in table if row["cell"] == cell]
        complete = [row for row in rows if row["stage"] == "search" and row["state"] == "complete"]
        best = max(complete, key=lambda row: (row["value"], -row["trial"]))
        confirm = [row for row in rows if row["stage"] == "confirm"]
        assert {row["of"] for row in confirm} == {best["trial"]}
        assert all(row["value"] == row["test_top1"] for row in confirm)
        assert all(row["val_top1"] is None for row in confirm)
        seeds[cell] = {row["seed"] for row in confirm}
    assert seeds[CELLS[0]] == seeds[CELLS[1]]
    assert len(seeds[CELLS[0]]) == SEEDS


def test_every_confirm_trial_is_one_look_written_before_its_launch(
    home: Path, table: list[dict[str, Any]]
) -> None:
    looks = read_lines(home / "sweeps/tiny/looks.jsonl")
    confirm = [row for row in table if row["stage"] == "confirm"]
    assert sorted((look["cell"], look["key"], look["seed"]) for look in looks) == sorted(
        (row["cell"], row["key"], row["seed"]) for row in confirm
    )
    launches = [
        event
        for event in read_lines(home / "sweeps/tiny/events.jsonl")
        if event["event"] == "launch" and event["stage"] == "confirm"
    ]
    for launch in launches:
        written = [look["time"] for look in looks if look["cell"] == launch["cell"]]
        assert min(written) <= launch["time"]


def test_mlflow_holds_one_sweep_its_cells_and_all_trials_nested(
    home: Path, table: list[dict[str, Any]]
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    by_kind: dict[str, list[Any]] = {"sweep": [], "cell": [], "trial": []}
    for run in runs:
        by_kind[run.data.tags["mcl.kind"]].append(run)
    assert len(by_kind["sweep"]) == 1
    sweep = by_kind["sweep"][0].info.run_id
    assert {run.data.tags["mcl.cell"] for run in by_kind["cell"]} == set(CELLS)
    cells = {run.info.run_id: run.data.tags["mcl.cell"] for run in by_kind["cell"]}
    assert {run.data.tags["mlflow.parentRunId"] for run in by_kind["cell"]} == {sweep}
    assert {run.info.run_id for run in by_kind["trial"]} == {row["run_id"] for row in table}
    for run in by_kind["trial"]:
        tags = run.data.tags
        assert cells[tags["mlflow.parentRunId"]] == tags["mcl.cell"]
        row = next(row for row in table if row["run_id"] == run.info.run_id)
        assert tags["mcl.state"] == row["state"]
        assert tags["mcl.key"] == row["key"]
        assert (tags["mcl.stage"], int(tags["mcl.trial"])) == (row["stage"], row["trial"])
        assert run.data.params["train.epochs"] == str(EPOCHS)


def test_every_epoch_of_every_run_is_in_mlflows_tables_once(
    home: Path, table: list[dict[str, Any]]
) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        for row in table:
            steps = database.execute(
                "select step from metrics where run_uuid = ? and key = 'train/loss' order by step",
                (row["run_id"],),
            ).fetchall()
            assert [step for (step,) in steps] == [epoch["epoch"] for epoch in row["epochs"]]


def test_the_leaderboard_has_a_row_for_each_cell_with_its_searched_settings(home: Path) -> None:
    rows = json.loads(mcl_bench("leaderboard", "--format", "json", home=home).stdout)["rows"]
    assert [row["cell"] for row in rows] == list(CELLS) or len(rows) == 2
    for row in rows:
        assert row["n"] == SEEDS
        assert row["state"] == "complete"
        assert row["test_looks"] == SEEDS
        assert row["trials"] == TRIALS
        assert row["tier"] is None
        assert row["config"]["model"]["xi"] in range(2, 5)
        assert ("mu" in row["config"]["loss"]) == (row["arm"] == "mc")
    (mc,) = [row for row in rows if row["arm"] == "mc"]
    assert mc["difference"] is not None
    assert mc["p_adjusted"] is None


def test_the_same_command_does_nothing_on_a_finished_sweep(home: Path) -> None:
    events = (home / "sweeps/tiny/events.jsonl").read_text()
    done = mcl_bench("sweep", str(home.parent / "tiny.yaml"), "--json", home=home)
    assert json.loads(done.stdout)["state"] == "complete"
    assert (home / "sweeps/tiny/events.jsonl").read_text() == events


def test_more_trials_and_seeds_run_only_the_difference(home: Path, tmp_path: Path) -> None:
    grown = tmp_path / "runs"
    shutil.copytree(home, grown)
    before = {
        (row["cell"], row["stage"], row["trial"]): row["run_id"]
        for row in pq.read_table(grown / "sweeps/tiny/results.parquet").to_pylist()
    }
    file = str(home.parent / "tiny.yaml")
    mcl_bench("sweep", file, f"search.trials={TRIALS + 1}", "confirm.seeds=3", home=grown)
    rows = pq.read_table(grown / "sweeps/tiny/results.parquet").to_pylist()
    after = {(row["cell"], row["stage"], row["trial"]): row["run_id"] for row in rows}
    assert before.items() <= after.items()
    searched = [name for name in after if name[1] == "search"]
    assert len(searched) == len(CELLS) * (TRIALS + 1)


def test_a_changed_loss_is_refused_with_a_diff_and_nothing_is_touched(home: Path) -> None:
    records = (home / "sweeps/tiny/records.jsonl").read_bytes()
    file = str(home.parent / "tiny.yaml")
    done = mcl_bench("sweep", file, "train.epochs=4", home=home, code=2)
    assert "train.epochs: 3 -> 4" in done.stderr
    assert (home / "sweeps/tiny/records.jsonl").read_bytes() == records


def test_status_counts_trials_by_state(home: Path, table: list[dict[str, Any]]) -> None:
    told = json.loads(mcl_bench("status", "--json", home=home).stdout)
    (sweep,) = told["sweeps"]
    assert (sweep["sweep"], sweep["state"]) == ("tiny", "complete")
    states = {row["state"] for row in table}
    counted = {state: sum(row["state"] == state for row in table) for state in states}
    assert {state: count for state, count in sweep["trials"].items() if count} == counted


def test_trials_were_built_in_no_more_processes_than_there_are_slots(home: Path) -> None:
    reports = [
        event
        for event in read_lines(home / "sweeps/tiny/events.jsonl")
        if event["event"] == "report"
    ]
    assert 1 <= len({event["pid"] for event in reports}) <= (os.cpu_count() or 1)
