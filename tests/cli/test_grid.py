"""A grid on the command line: every number that is told is the cell's own."""

import json
from pathlib import Path

from running import mcl_bench

FILE = """\
version: 1
name: gridded
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc, mu: 0.5, lambda: 5}}
train: {epochs: 2, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: 40
  sampler: grid
  pruner: none
  space:
    train.optimizer.lr: {log: [0.001, 0.05], points: 2}
    arms.mc.loss.mu: {choice: [0.1, 1]}
confirm: {seeds: 1}
resources: {gpus: 0}
"""


def test_a_grid_is_planned_run_and_counted_by_its_points(tmp_path: Path) -> None:
    file, home = tmp_path / "gridded.yaml", tmp_path / "runs"
    file.write_text(FILE)
    planned = json.loads(mcl_bench("plan", str(file), "--json", home=home).stdout)
    assert [cell["trials"] for cell in planned["cells"]] == [2, 4]
    assert planned["trials"] == 2 + 4 + 2
    assert any("search.trials (40) is not read" in warning for warning in planned["warnings"])

    done = mcl_bench("sweep", str(file), home=home, ray=False)
    assert "[8/8]" in done.stdout
    assert "/40" not in done.stdout
    (told,) = json.loads(mcl_bench("status", "--json", home=home).stdout)["sweeps"]
    assert {cell["state"] for cell in told["cells"]} == {"complete"}
    assert told["trials"] == {"complete": 8}
    rows = json.loads(mcl_bench("leaderboard", "--format", "json", home=home).stdout)["rows"]
    assert sorted((row["arm"], row["trials"], row["state"]) for row in rows) == [
        ("ce", 2, "complete"),
        ("mc", 4, "complete"),
    ]
