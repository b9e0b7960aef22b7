"""The verbs best and train on recorded trials: the same numbers again."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from running import mcl_bench, read_lines


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    mcl_bench(
        "sweep", str(folder / "tiny.yaml"), "search.trials=3", home=folder / "runs", ray=False
    )
    return folder / "runs"


def row(home: Path, cell: str, stage: str, number: int) -> dict[str, Any]:
    table = pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist()
    (found,) = (
        row for row in table if (row["cell"], row["stage"], row["trial"]) == (cell, stage, number)
    )
    return dict(found)


@pytest.mark.parametrize(("stage", "number"), [("search", 1), ("confirm", 0)])
def test_a_recorded_trial_trained_again_gives_its_values(
    home: Path, stage: str, number: int
) -> None:
    looks = read_lines(home / "sweeps/tiny/looks.jsonl")
    name = f"tiny/parts-convnet-mc/{stage}-{number}"
    told = json.loads(mcl_bench("train", name, "--json", home=home).stdout)
    recorded = row(home, "parts-convnet-mc", stage, number)
    assert told["value"] == told["recorded"] == recorded["value"]
    for epoch, again in zip(recorded["epochs"], told["epochs"], strict=False):
        before = {key: v for key, v in epoch["metrics"] if not key.startswith(("time/", "system/"))}
        assert before == {
            k: v for k, v in again["metrics"].items() if not k.startswith(("time/", "system/"))
        }
    assert read_lines(home / "sweeps/tiny/looks.jsonl") == looks


def test_the_best_setting_is_a_file_that_sweep_and_train_run_to_the_same_numbers(
    home: Path, tmp_path: Path
) -> None:
    cell = "parts-convnet-mc"
    file = tmp_path / "best.yaml"
    mcl_bench("best", "tiny", "--cell", cell, "--out", str(file), home=home)
    number = row(home, cell, "confirm", 0)["of"]
    best = row(home, cell, "search", number)
    trained = json.loads(mcl_bench("train", str(file), "--json", home=home).stdout)
    assert trained["epochs"][-1]["metrics"]["val/top1"] == best["value"]
    swept = json.loads(mcl_bench("sweep", str(file), "--json", home=home, ray=False).stdout)
    (again,) = swept["rows"]
    before = json.loads(mcl_bench("leaderboard", "tiny", "--format", "json", home=home).stdout)
    (first,) = (found for found in before["rows"] if found["cell"] == cell)
    assert again["test_top1_mean"] == first["test_top1_mean"]
    assert again["test_top1_sd"] == first["test_top1_sd"]


def test_unknown_trials_sweeps_and_cells_are_told(home: Path) -> None:
    done = mcl_bench("train", "tiny/parts-convnet-mc/search-99", home=home, code=2)
    assert "no finished trial parts-convnet-mc/search-99" in done.stderr
    done = mcl_bench("best", "other", home=home, code=2)
    assert "there is no sweep other" in done.stderr
    done = mcl_bench("best", "tiny", home=home, code=2)
    assert "--cell parts-convnet-ce | parts-convnet-mc" in done.stderr
