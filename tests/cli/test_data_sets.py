"""Every data set trains by the command line: one epoch, on a small tree where it needs one."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aircraft_tree import write_aircraft
from cub_tree import draw_cub
from dogs_tree import write_dogs
from drawn_animals import write_folder
from mat_trees import write_cars_annos, write_cars_devkit, write_flowers102
from pets_tree import write_pets
from running import mcl_bench

from mcl_bench.data.catalog import DATASETS

FILE = """\
version: 1
name: every
data: {{name: {name}, root: {root}, resize: 32, crop: 32, {more}}}
model: {{backbone: convnet, weights: none, channels: adapter, head: avgmax}}
arms: {{mc: {{loss: {{name: mc, mu: 0.5, lambda: 5}}}}}}
train: {{epochs: 1, batch_size: 8, optimizer: {{name: adamw, lr: 0.01}}}}
"""
SMALL = {"classes": 4, "train": 5, "test": 3}


TREES: dict[str, tuple[Callable[[Path], Any] | None, str]] = {
    "aircraft": (write_aircraft, "validation: null"),
    "cars": (write_cars_devkit, "validation: 0.25"),
    "cars annos": (write_cars_annos, "validation: 0.25"),
    "cub200": (lambda root: draw_cub(root, **SMALL), "validation: 0.2"),
    "digits": (None, "per_class: 8"),
    "dogs": (lambda root: write_dogs(root, **SMALL), "validation: 0.2"),
    "elpv": (None, "per_class: 8, options: {types: mono}"),
    "flowers102": (write_flowers102, "validation: null"),
    "folder": (write_folder, "validation: 0.2"),
    "parts": (None, "options: {classes: 3, train_per_class: 8, test_per_class: 4, size: 32}"),
    "pets": (lambda root: write_pets(root, **SMALL), "validation: 0.2"),
}
"""By the set's name (and a word more): what draws a tree in its layout, and its settings."""


@pytest.mark.parametrize("words", TREES)
def test_an_epoch_is_trained_and_judged_on_test(tmp_path: Path, words: str) -> None:
    name, (write, more) = words.split(maxsplit=1)[0], TREES[words]
    if name == "elpv" and importlib.util.find_spec("elpv_dataset") is None:
        pytest.skip("needs the extra elpv")
    root = tmp_path / "tree"
    if write is not None:
        write(root)
    file = tmp_path / "every.yaml"
    place = "null" if write is None else f'"{root}"'
    file.write_text(FILE.format(name=name, root=place, more=more))
    done = mcl_bench("train", str(file), "--confirm", "--json", home=tmp_path / "runs")
    (epoch,) = json.loads(done.stdout)["epochs"]
    assert 0 <= epoch["metrics"]["test/top1"] <= 1
    assert epoch["metrics"]["train/loss"] > 0


def test_none_is_left_out() -> None:
    assert {words.split()[0] for words in TREES} == set(DATASETS)
