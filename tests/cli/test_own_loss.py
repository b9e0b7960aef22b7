"""A loss of the user's own, in a sweep by the real command: found by the driver and the workers."""

import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
from running import ROOT, command

TEXT = """\
version: 1
name: own
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  own:
    loss:
      name: my_losses:Sharpened
      plus: {name: mc, mu: 0.5, lambda: 5}
  arcface: {loss: {name: arcface, scale: 16}}
train: {epochs: 1, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: 2
  sampler: random
  pruner: none
  space:
    arms.own.loss.options.gamma: {float: [1, 2]}
    arms.arcface.loss.margin: {float: [10, 40]}
confirm: {seeds: 1}
"""


def sweep(folder: Path, *searched: Path, trials: int = 2, code: int = 0) -> str:
    """What `mcl-bench sweep` of the file says, with these folders on PYTHONPATH."""
    path = os.pathsep.join(map(str, [ROOT, *searched]))
    done = subprocess.run(
        command("sweep", str(folder / "own.yaml"), f"search.trials={trials}"),
        env={**os.environ, "MCL_HOME": str(folder / "home"), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr


def test_a_users_own_loss_is_searched_and_confirmed(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(TEXT)
    source = (ROOT / "tests" / "own_losses.py").read_text()
    code = tmp_path / "code"
    code.mkdir()
    (code / "my_losses.py").write_text(source)

    said = sweep(tmp_path, code=2)
    assert f"{tmp_path}/own.yaml:13: arms.own.loss: my_losses:Sharpened cannot be imported" in said
    assert "No module named 'my_losses'" in said
    assert "PYTHONPATH" in said
    assert "Traceback" not in said

    sweep(tmp_path, code)
    rows = pq.read_table(tmp_path / "home/sweeps/own/results.parquet").to_pylist()
    assert {row["state"] for row in rows} == {"complete"}
    assert len(rows) == 2 * (2 + 1)
    terms = {
        row["arm"]: {name for name, _ in row["epochs"][0]["metrics"] if "loss_" in name}
        for row in rows
    }
    assert terms == {
        "own": {"train/loss_main", "train/loss_dis", "train/loss_div"},
        "arcface": {"train/loss_arcface"},
    }

    (code / "my_losses.py").write_text(source + "# edited\n")
    refused = sweep(tmp_path, code, trials=3, code=2)
    assert "loss my_losses:Sharpened: digest" in refused
    assert "--new" in refused


def test_editing_the_file_of_a_users_own_loss_changes_the_key(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from mcl_bench.losses import source_sha256
from mcl_bench.spec.loss import CrossEntropySpec, CustomLossSpec

assert source_sha256(CrossEntropySpec(name="ce")) is None
print(source_sha256(CustomLossSpec(name="my_losses:Again")))
"""
    (tmp_path / "my_losses.py").write_text("from really_mine import Sharpened as Again\n")
    mine = tmp_path / "really_mine.py"
    found = []
    for line in ("", "# another\n", ""):
        mine.write_text((ROOT / "tests" / "own_losses.py").read_text() + line)
        done = subprocess.run(
            [*command()[:1], "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found.append(done.stdout.strip())
    assert len(found[0]) == 64
    assert found[0] == found[2] != found[1]
