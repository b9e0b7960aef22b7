"""The public sets of lists, on drawn trees in their official layouts: one epoch of each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aircraft_tree import write_aircraft
from mat_trees import write_cars_devkit, write_flowers102
from running import mcl_bench

FILE = """\
version: 1
name: public
data: {{name: {name}, root: "{root}", resize: 32, crop: 32, validation: {validation}}}
model: {{backbone: convnet, weights: none, channels: adapter, head: avgmax}}
arms: {{mc: {{loss: {{name: mc, mu: 0.5, lambda: 5}}}}}}
train: {{epochs: 1, batch_size: 8, optimizer: {{name: adamw, lr: 0.01}}}}
"""


@pytest.mark.parametrize(
    ("name", "write", "validation"),
    [
        ("aircraft", write_aircraft, "null"),
        ("cars", write_cars_devkit, "0.25"),
        ("flowers102", write_flowers102, "null"),
    ],
)
def test_an_epoch_is_trained_by_the_command_line(
    tmp_path: Path, name: str, write: Callable[[Path], Any], validation: str
) -> None:
    write(tmp_path / "tree")
    file = tmp_path / "public.yaml"
    file.write_text(FILE.format(name=name, root=tmp_path / "tree", validation=validation))
    done = mcl_bench("train", str(file), "--confirm", "--json", home=tmp_path / "runs")
    epochs = json.loads(done.stdout)["epochs"]
    assert len(epochs) == 1
    assert 0 <= epochs[-1]["metrics"]["test/top1"] <= 1
