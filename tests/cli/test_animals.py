"""Cats and dogs: drawn trees in the official layouts train by the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dogs_tree import write_dogs
from pets_tree import write_pets
from running import mcl_bench

FILE = """\
version: 1
name: animals
data: {name: NAME, root: ROOT, resize: 32, crop: 32, validation: 0.2}
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms: {mc: {loss: {name: mc}}}
train: {epochs: 1, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
"""


@pytest.mark.parametrize(("name", "write"), [("pets", write_pets), ("dogs", write_dogs)])
def test_an_epoch_is_trained_and_judged_on_the_official_test_images(
    tmp_path: Path, name: str, write: Callable[..., None]
) -> None:
    root = tmp_path / "tree"
    write(root, classes=4, train=5, test=3)
    file = tmp_path / "animals.yaml"
    file.write_text(FILE.replace("NAME", name).replace("ROOT", f'"{root}"'))
    done = mcl_bench("train", str(file), "--confirm", "--json", home=tmp_path / "runs")
    (epoch,) = json.loads(done.stdout)["epochs"]
    assert 0 <= epoch["metrics"]["test/top1"] <= 1
    assert epoch["metrics"]["train/loss"] > 0
