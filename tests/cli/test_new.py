"""Starting afresh under a name that is taken: by this folder's own sweep, or by a stranger's."""

import json
import shutil
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from running import mcl_bench, read_lines

SHORT = ("search.trials=1", "confirm.seeds=1", "train.epochs=1", "search.pruner=none")


def experiments(home: Path) -> dict[str, Any]:
    """The sweep id of each MLflow experiment, by its name."""
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    found = {}
    for experiment in client.search_experiments():
        runs = client.search_runs([experiment.experiment_id], "tags.`mcl.kind` = 'sweep'")
        if runs:
            found[experiment.name] = runs[0].data.tags["mcl.sweep_id"]
    return found


def sweep_id(folder: Path) -> str:
    return str(json.loads((folder / "sweep.json").read_text())["id"])


def test_new_keeps_the_old_sweep_and_its_looks(tmp_path: Path, tiny_experiment: str) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    mcl_bench("sweep", str(file), *SHORT, home=home, ray=False)
    old = sweep_id(home / "sweeps/tiny")
    records = (home / "sweeps/tiny/records.jsonl").read_text()
    changed = (str(file), *SHORT, "train.batch_size=10")
    refused = mcl_bench("sweep", *changed, home=home, code=2, ray=False)
    assert "train.batch_size: 8 -> 10" in refused.stderr
    told = json.loads(mcl_bench("sweep", *changed, "--new", "--json", home=home, ray=False).stdout)
    assert sweep_id(home / "sweeps/tiny.1") == old
    assert (home / "sweeps/tiny.1/records.jsonl").read_text() == records
    new = sweep_id(home / "sweeps/tiny")
    assert experiments(home) == {"tiny": new, "tiny.1": old}
    assert {row["test_looks"] for row in told["rows"]} == {2}
    assert len(read_lines(home / "sweeps/tiny/looks.jsonl")) == 4

    rows = json.loads(mcl_bench("leaderboard", "--format", "json", home=home).stdout)["rows"]
    assert sorted({row["sweep"] for row in rows}) == ["tiny", "tiny.1"]
    looks = [(home / f"sweeps/{name}/looks.jsonl").read_text() for name in ("tiny", "tiny.1")]
    mcl_bench("train", "tiny.1/parts-convnet-mc/confirm-0", home=home)
    assert looks == [(home / f"sweeps/{n}/looks.jsonl").read_text() for n in ("tiny", "tiny.1")]

    shutil.rmtree(home / "sweeps/tiny.1")
    mcl_bench("sweep", *changed, "--new", "--quiet", home=home, ray=False)
    assert experiments(home)[f"tiny.1@{new}"] == new
    assert len(read_lines(home / "sweeps/tiny/looks.jsonl")) == 4  # the settings are the same ones


def test_new_is_refused_before_anything_is_renamed(tmp_path: Path, tiny_experiment: str) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    mcl_bench("train", str(file), *SHORT, "--arm=ce", "--confirm", home=home)
    looks = (home / "sweeps/tiny/looks.jsonl").read_text()
    away = [f"data={{name: folder, root: {tmp_path / 'away'}, options: null}}"]
    refused = mcl_bench("sweep", str(file), *SHORT, *away, "--new", home=home, code=3, ray=False)
    assert "does not exist" in refused.stderr
    refused = mcl_bench(
        "sweep", str(file), *SHORT, "resources.cpus=512", home=home, code=2, ray=False
    )
    assert "512 CPU" in refused.stderr
    assert sorted(path.name for path in (home / "sweeps").iterdir()) == ["tiny"]
    assert (home / "sweeps/tiny/looks.jsonl").read_text() == looks


def test_a_strangers_experiment_is_named_and_new_goes_on_beside_it(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    mcl_bench("sweep", str(file), *SHORT, home=home, ray=False)
    stranger = sweep_id(home / "sweeps/tiny")
    shutil.rmtree(home / "sweeps/tiny")
    refused = mcl_bench("sweep", str(file), *SHORT, home=home, code=2, ray=False)
    assert stranger in refused.stderr
    assert "--new" in refused.stderr
    mcl_bench("sweep", str(file), *SHORT, "--new", home=home, ray=False)
    own = sweep_id(home / "sweeps/tiny")
    assert experiments(home)["tiny"] == stranger
    assert experiments(home)[f"tiny@{own}"] == own
    again = mcl_bench("sweep", str(file), *SHORT, "--json", home=home, ray=False)
    assert json.loads(again.stdout)["state"] == "complete"
