"""Sweeps on a folder of images that nobody prepared, and on one that is taken away."""

import json
import shutil
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from running import command, environment, mcl_bench, read_lines
from typer.testing import CliRunner

from mcl_bench.cli import app
from mcl_bench.sweep.folder import recorded_digests

TEN_LINES = """\
version: 1
name: mine
data: {name: folder, root: ROOT, resize: 32, crop: 32, validation: 0.3}
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms: {ce: {loss: {name: ce}}, mc: {loss: {name: mc}}}
train: {epochs: 2, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: 2
  space: {train.optimizer.lr: {log: [0.001, 0.1]}}
confirm: {seeds: 2}
"""


def draw(path: Path, *, hue: int, seed: int, mode: str = "RGB", **save: object) -> None:
    noise = np.random.default_rng(seed).integers(0, 80, (40, 48, 3), dtype=np.uint8)
    noise[..., hue % 3] += 120 + 10 * (hue // 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).convert(mode).save(path, **save)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Class folders of 3 to 60 images in every common form."""
    root = tmp_path / "my photos"
    for index, (name, count) in enumerate({"Blåmes": 3, "house sparrow": 20, "kauz": 60}.items()):
        for seed in range(count):
            draw(root / name / f"bild {seed}.png", hue=index, seed=100 * index + seed)
    draw(root / "Blåmes" / "ärlig.jpg", hue=0, seed=1)
    draw(root / "house sparrow" / "grey.jpg", hue=1, seed=2, mode="L")
    draw(root / "house sparrow" / "palette.png", hue=1, seed=3, mode="P")
    draw(root / "kauz" / "print.jpg", hue=2, seed=4, mode="CMYK")
    draw(root / "kauz" / "turned.jpg", hue=2, seed=5, exif=turned())
    (root / ".DS_Store").write_bytes(b"\0\1")
    (root / "kauz" / ".DS_Store").write_bytes(b"\0\1")
    return root


def test_a_ten_line_file_runs_a_folder_of_unprepared_images(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(TEN_LINES.splitlines()) == 10
    file = tmp_path / "mine.yaml"
    file.write_text(TEN_LINES.replace("ROOT", f'"{photographs}"'))
    home = tmp_path / "runs"
    done = mcl_bench("sweep", str(file), "--json", home=home, ray=False)
    told = json.loads(done.stdout)
    assert told["state"] == "complete"
    assert [row["n"] for row in told["rows"]] == [2, 2]
    assert {row["dataset"] for row in told["rows"]} == {"folder"}
    check_the_model(home, photographs, monkeypatch)


def check_the_model(home: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registered model is that of the best search, and says what it said on test."""
    import mlflow
    import pandas as pd
    from mlflow import MlflowClient

    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    name = "mcl_bench-folder"
    versions = client.search_model_versions(f"name = '{name}'")
    rows = pq.read_table(home / "sweeps/mine/results.parquet").to_pylist()
    assert sorted(version.tags["mcl.cell"] for version in versions) == sorted(
        {row["cell"] for row in rows}
    )
    best = client.get_model_version_by_alias(name, "best")
    tops = {version.version: float(version.tags["mcl.val_top1"]) for version in versions}
    assert tops[best.version] == max(tops.values())
    (row,) = (row for row in rows if row["run_id"] == best.run_id)
    search = max(
        row["val_top1"] for row in rows if row["stage"] == "search" and row["value"] is not None
    )
    assert max(tops.values()) == search

    (linked,) = client.get_run(best.run_id).inputs.dataset_inputs
    digest = recorded_digests(home / "sweeps/mine")["folder"]
    assert (linked.dataset.name, json.loads(linked.dataset.source)["digest"]) == ("folder", digest)
    assert digest.startswith(linked.dataset.digest)
    logged = client.get_logged_model(best.tags["mcl.model_id"])
    scores = {metric.key: metric.value for metric in logged.metrics}
    assert scores["test/top1"] == row["test_top1"]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's, of type hints of its own
        model = mlflow.pyfunc.load_model(f"models:/{name}@best")
    folder = home / "sweeps/mine/trials" / row["cell"] / f"{row['stage']}-{row['trial']}"
    answers = pq.read_table(folder / "predictions.parquet").to_pydict()
    files = [(photographs / image_id).read_bytes() for image_id in answers["image_id"]]
    said = model.predict(pd.DataFrame({"image": files}))
    classes = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    assert [one["label"] for one in said] == [classes[index] for index in answers["predicted"]]
    sure = [one["probability"] for one in said]
    assert sure == pytest.approx(answers["probability"], rel=1e-4)


def test_search_runs_without_source_and_test_and_confirm_fails_by_name(
    tmp_path: Path, photographs: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEN_LINES.replace("ROOT", f'"{photographs}"'))
    home = tmp_path / "runs"
    store = home / "store"
    with subprocess.Popen(
        command("sweep", str(file)),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sweep:
        deadline = time.monotonic() + 60
        while not (list(store.glob("*.test.arrow")) and len(list(store.glob("*.arrow"))) > 1):
            assert time.monotonic() < deadline
            assert sweep.poll() is None
            time.sleep(0.05)
        (test_file,) = store.glob("*.test.arrow")
        test_file.unlink()
        shutil.rmtree(photographs)
        _, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    rows = pq.read_table(home / "sweeps/mine/results.parquet").to_pylist()
    search = [row for row in rows if row["stage"] == "search"]
    confirm = [row for row in rows if row["stage"] == "confirm"]
    assert len(search) == 4
    assert {row["state"] for row in search} <= {"complete", "pruned"}
    assert {row["state"] for row in confirm} == {"failed"}
    assert all(test_file.name in row["cause"] for row in confirm)
    assert test_file.name in errors
    assert "Traceback" not in errors
    looks = read_lines(home / "sweeps/mine/looks.jsonl")
    assert len(looks) == len(confirm) == 4


def test_a_missing_folder_is_told_with_its_place_and_exit_3(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TEN_LINES.replace("ROOT", '"nowhere/at/all"'))
    done = mcl_bench("sweep", str(file), home=tmp_path / "runs", code=3, ray=False)
    assert f"{file}:3" in done.stderr
    assert "nowhere/at/all" in done.stderr


def test_a_plan_and_a_sweep_say_that_a_val_folder_is_not_validated_on(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for number, split in enumerate(("train", "val", "test")):
        for hue, name in enumerate("ab"):
            for seed in range(3):
                draw(root / split / name / f"{seed}.png", hue=hue, seed=100 * number + seed)
    file = tmp_path / "mine.yaml"
    file.write_text(TEN_LINES.replace("ROOT", f'"{root}"'))
    home = tmp_path / "runs"
    note = "are taken as training images like those of train/, and 0.3 of both is validated on"
    planned = CliRunner(env={"MCL_HOME": str(home)}).invoke(
        app, ["plan", str(file), "--json"], catch_exceptions=False
    )
    assert sum(note in line for line in json.loads(planned.stdout)["warnings"]) == 1
    no_cluster = ("--address", "127.0.0.1:1")  # the sweep ends once its notes are told
    said = mcl_bench("sweep", str(file), *no_cluster, home=home, code=2).stdout
    assert " ".join(said.split()).count(note) == 1
