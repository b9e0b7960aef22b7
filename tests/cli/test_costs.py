"""Where a real sweep's time goes, what another saves by it, and how a budget ends one."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
from running import mcl_bench, read_lines
from safetensors.torch import load_file

ONE_ARM = (
    "arms.mc=null",
    "search.space.arms.mc.loss.mu=null",
    "search.space.arms.mc.loss.lambda=null",
)
SMALL = (*ONE_ARM, "search.space.arms.mc.loss.mask_ratio=null", "confirm.seeds=2", "train.epochs=2")


def table(home: Path, name: str, stage: str) -> list[dict[str, Any]]:
    rows = pq.read_table(home / f"sweeps/{name}/results.parquet").to_pylist()
    return sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["trial"])


def status(home: Path, name: str) -> dict[str, Any]:
    (found,) = json.loads(mcl_bench("status", name, "--json", home=home).stdout)["sweeps"]
    return dict(found)


def test_the_owners_add_up_and_another_sweep_takes_what_is_known(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    small = (*SMALL, "search.pruner=none", "search.trials=3")
    done = mcl_bench("sweep", str(file), *small, home=home, ray=False)
    assert "Costs: " in done.stdout
    costs = json.loads((home / "sweeps/tiny/costs.json").read_text())
    owned = costs["slot_seconds"]
    assert sum(owned.values()) == pytest.approx(costs["driven_seconds"])
    assert min(owned.values()) > -1e-6
    for owner in ("training", "startup", "data_wait", "evaluation", "idle"):
        assert owned[owner] > 0, owner
    assert owned["open"] == owned["preemption"] == owned["failure"] == owned["pruned"] == 0
    told = status(home, "tiny")["costs"]["slot_seconds"]
    assert told == pytest.approx(owned)
    events = read_lines(home / "sweeps/tiny/events.jsonl")
    (drive,) = [event for event in events if event["event"] == "drive"]
    wall = events[-1]["clock"] - drive["clock"]
    assert costs["driven_seconds"] == pytest.approx(drive["slots"] * wall)
    held = sum(costs["device_seconds"].values())
    rows = [row for stage in ("search", "confirm") for row in table(home, "tiny", stage)]
    assert sum(row["device_seconds"] for row in rows) <= held * 1.01
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`mcl.kind` = 'sweep'")
    assert run.data.metrics["costs/slot_s/training"] == pytest.approx(owned["training"], rel=1e-3)

    weights = list((home / "sweeps/tiny/trials").rglob("weights.safetensors"))
    assert len(weights) == 1, "confirm seed 0 of the only cell"
    assert sum(tensor.numel() for tensor in load_file(weights[0]).values()) >= rows[0]["parameters"]
    assert not list((home / "sweeps/tiny/trials").rglob("checkpoint.pt"))

    again = (*small, "name=again", "search.reuse=true", "search.trials=4", "confirm.seeds=1")
    again_done = mcl_bench("sweep", str(file), *again, home=home, ray=False)
    first, second = table(home, "tiny", "search"), table(home, "again", "search")
    assert [row["state"] for row in second] == ["duplicate"] * 3 + ["complete"]
    for known, row in zip(first, second, strict=False):
        assert row["duplicate_of"] == f"tiny/parts-convnet-ce/search-{known['trial']}"
        assert (row["value"], row["device_seconds"]) == (known["value"], 0)
    assert [row["state"] for row in table(home, "again", "confirm")] == ["complete"]
    saved = status(home, "again")["costs"]
    assert saved["duplicates"] == 3
    assert saved["saved_seconds"] == pytest.approx(sum(row["device_seconds"] for row in first))
    assert "3 duplicates saved" in " ".join(again_done.stdout.split())


def test_a_budget_ends_a_sweep_confirmed_and_a_raised_one_goes_on(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    more = ("search.trials=500", "search.pruner=none", "resources.max_concurrent=1")
    words = ("sweep", str(file), *SMALL, *more)
    seconds = 15
    done = mcl_bench(*words, f"budget.device_hours={seconds / 3600}", home=home, ray=False)
    assert "raise budget.device_hours" in done.stderr
    searched = len(table(home, "tiny", "search"))
    assert 1 <= searched < 500
    assert [row["state"] for row in table(home, "tiny", "confirm")] == ["complete"] * 2
    assert f"budget: {searched} of 500 trials" in " ".join(done.stdout.split())
    told = status(home, "tiny")
    assert told["state"] == "budget"
    assert told["cells"][0]["state"] == "complete"
    assert sum(told["costs"]["device_seconds"].values()) < 1.5 * seconds
    before = (home / "sweeps/tiny/events.jsonl").read_text()
    mcl_bench(*words, f"budget.device_hours={seconds / 3600}", home=home, ray=False)
    assert (home / "sweeps/tiny/events.jsonl").read_text() == before
    mcl_bench(
        *words,
        "budget.device_hours=null",
        "search.trials=" + str(searched + 1),
        home=home,
        ray=False,
    )
    assert status(home, "tiny")["state"] == "complete"
    assert len(table(home, "tiny", "search")) == searched + 1


@pytest.mark.soak
def test_a_budget_that_runs_out_in_a_long_epoch_lets_its_trial_leave_with_a_checkpoint(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    images = ("data.options.train_per_class=1000", "train.batch_size=2", "train.epochs=200")
    words = ("sweep", str(file), *SMALL, *images, "search.trials=1", "search.pruner=none")
    mcl_bench(*words, f"budget.hours={25 / 3600}", home=home)
    told = status(home, "tiny")
    assert told["state"] == "budget"
    assert told["trials"] == {"waiting": 1}
    assert told["costs"]["wall_seconds"] < 40
    assert list((home / "sweeps/tiny/trials").rglob("checkpoint.pt"))
