"""A file that grows: what is there stays as it is, and only the difference is run."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from running import mcl_bench, read_lines

BASE = """\
version: 1
name: grow
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
train: {epochs: 3, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
"""
SMALL = (
    BASE
    + """\
arms: {ce: {loss: {name: ce}}}
search:
  trials: 1
  metric: val/loss
  sampler: random
  pruner: none
  space: {train.optimizer.lr: {log: [1.0e-5, 0.05]}}
  enqueue: [{train.optimizer.lr: 0.01}]
confirm: {seeds: 1}
"""
)
GROWN = (
    BASE
    + """\
arms: {ce: {loss: {name: ce}}, mc: {loss: {name: mc, mu: 0.5, lambda: 5}}}
search:
  trials: 2
  metric: val/loss
  sampler: random
  pruner: none
  space: {train.optimizer.lr: {log: [1.0e-5, 0.05]}}
  enqueue: [{train.optimizer.lr: 0.01}, {train.optimizer.lr: 1.0e-5}]
matrix: {data: [{name: parts}, {name: parts, label: other, options: {seed: 1}}]}
confirm: {seeds: 2}
"""
)
OLD = "parts-convnet-ce"


def table(home: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    rows = pq.read_table(home / "sweeps/grow/results.parquet").to_pylist()
    return {(row["cell"], row["stage"], row["trial"]): row for row in rows}


def ended(home: Path) -> dict[str, int]:
    """When MLflow says that each run ended."""
    with sqlite3.connect(home / "mlflow.db") as database:
        return dict(database.execute("select run_uuid, end_time from runs").fetchall())


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("grow")
    home, file = folder / "runs", folder / "grow.yaml"
    file.write_text(SMALL)
    mcl_bench("sweep", str(file), home=home, ray=False)
    before = {"table": table(home), "ended": ended(home)}
    logs = {path: path.read_text() for path in (home / "sweeps/grow/trials").rglob("log.txt")}
    launched = len(read_lines(home / "sweeps/grow/events.jsonl"))
    file.write_text(GROWN)
    told = json.loads(mcl_bench("sweep", str(file), "--json", home=home, ray=False).stdout)
    return {"home": home, "before": before, "logs": logs, "launched": launched, "told": told}


def test_old_trials_keep_their_run_their_log_and_their_end(grown: dict[str, Any]) -> None:
    home = grown["home"]
    after, ends = table(home), ended(home)
    for name, row in grown["before"]["table"].items():
        assert after[name]["run_id"] == row["run_id"]
        assert after[name]["finished"] == row["finished"]
        assert ends[row["run_id"]] == grown["before"]["ended"][row["run_id"]]
    assert {path: path.read_text() for path in grown["logs"]} == grown["logs"]


def test_the_number_of_new_trainings_is_the_difference(grown: dict[str, Any]) -> None:
    events = read_lines(grown["home"] / "sweeps/grow/events.jsonl")[grown["launched"] :]
    launches = [
        (event["cell"], event["stage"], event["trial"])
        for event in events
        if event["event"] == "launch"
    ]
    new_cells = {"parts-convnet-mc", "other-convnet-ce", "other-convnet-mc"}
    expected = {(OLD, "search", 1), (OLD, "confirm", 1), (OLD, "confirm", 2)} | {
        (cell, stage, number)
        for cell in new_cells
        for stage in ("search", "confirm")
        for number in range(2)
    }
    assert sorted(launches) == sorted(expected)


def test_a_new_best_is_confirmed_on_the_same_seeds_and_supersedes(grown: dict[str, Any]) -> None:
    rows = table(grown["home"])
    confirm = {
        trial: row
        for (cell, stage, trial), row in rows.items()
        if cell == OLD and stage == "confirm"
    }
    assert [confirm[number]["of"] for number in range(3)] == [0, 1, 1]
    assert [confirm[number]["state"] for number in range(3)] == [
        "superseded",
        "complete",
        "complete",
    ]
    assert confirm[0]["seed"] == confirm[1]["seed"]
    (row,) = (row for row in grown["told"]["rows"] if row["cell"] == OLD)
    assert (row["n"], row["test_looks"], row["trials"]) == (2, 3, 2)
    assert row["config"]["train"]["optimizer"]["lr"] == 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("arms.mc.loss.mu=0.6", "loss.mu: 0.5 -> 0.6"),
        ("arms.mc=null", "cell parts-convnet-mc: taken away"),
        ("search.metric=val/top1", "search.metric: val/loss -> val/top1"),
        ("train.seed=1", "train.seed: 0 -> 1"),
    ],
)
def test_any_other_change_is_refused_with_a_diff(
    grown: dict[str, Any], change: str, said: str
) -> None:
    home = grown["home"]
    records = (home / "sweeps/grow/records.jsonl").read_bytes()
    refused = mcl_bench(
        "sweep", str(home.parent / "grow.yaml"), change, home=home, code=2, ray=False
    )
    assert said in refused.stderr
    assert (home / "sweeps/grow/records.jsonl").read_bytes() == records


def test_fewer_trials_and_other_resources_are_free(grown: dict[str, Any]) -> None:
    home = grown["home"]
    file = str(home.parent / "grow.yaml")
    told = json.loads(
        mcl_bench(
            "sweep", file, "resources.max_concurrent=1", "--json", home=home, ray=False
        ).stdout
    )
    assert told["state"] == "complete"
    assert told["trials"] == grown["told"]["trials"]


def test_what_a_grown_file_cannot_try_and_a_newer_library_are_told(grown: dict[str, Any]) -> None:
    home = grown["home"]
    records = home / "sweeps/grow/records.jsonl"
    whole = records.read_text()
    versions = json.loads(whole.splitlines()[0])["versions"]
    older = whole.replace(f'"torch": "{versions["torch"]}"', '"torch": "2.0.0"')
    file = home.parent / "more.yaml"
    queue = "enqueue: [{train.optimizer.lr: 0.01}, {train.optimizer.lr: 1.0e-5}"
    file.write_text(GROWN.replace(queue, f"{queue}, {{train.optimizer.lr: 0.02}}"))
    try:
        records.write_text(older)
        told = " ".join(mcl_bench("sweep", str(file), home=home, ray=False).stdout.split())
    finally:
        records.write_text(whole)
    assert f"{OLD}: 1 of search.enqueue will not be tried: search.trials (2) is a total" in told
    assert f"trained with torch 2.0.0, now {versions['torch']}: the numbers may differ" in told
