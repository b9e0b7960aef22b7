"""Writes experiment files for the tests of the spec room."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from mcl_bench.records import UserError
from mcl_bench.spec import Experiment, load

BASE = """\
version: 1
name: small
data: {name: parts}
model: {backbone: convnet}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc}}
"""
"""The seven lines that every test builds on."""

ROOT = Path(__file__).parents[2]
ADAPTER = BASE.replace("convnet}", "convnet, channels: adapter}")

FULL = """\
version: 1
name: full
baseline: mc
data: {name: parts, root: here, options: {classes: 3}, per_class: 5, validation: official}
model: {backbone: convnet, channels: adapter}
arms:
  ce: {loss: {name: ce}, train: {optimizer: {momentum: null}}}
  mc: {loss: {name: mc, mu: 0.0005, lambda: 10}, model: {head: linear}, train: {epochs: 6}}
train: {schedule: {name: step, milestones: [3, 5]}, optimizer: {lr: 1e-5, momentum: 0.1}}
search:
  pruner: median
  space:
    train.optimizer.lr: {log: [1.0e-4, 1.0e-1]}
    model: {xi: {int: [1, 5]}}
    arms.mc.loss.lambda: {log: [0.1, 50]}
  enqueue: [{arms.mc.loss.lambda: 10, model.xi: 3}]
matrix:
  data:
    - {name: parts, resize: null}
    - {name: digits, label: Di-gits, root: null, resize: {short: 40}, arms: {mc: {loss: {mu: 3}}}}
  model:
    - {backbone: convnet, resources: {cpus: 2}}
    - backbone: convnet
      channels: native
      label: "on"
      train: {schedule: {name: cosine}}
      space: {train.optimizer.lr: null, train: {batch_size: {choice: [2, 4]}}}
resources: {gpus: 0.5}
files: some/where
tracking: {uri: "sqlite:///x.db", experiment: other}
"""
"""A file that uses most of the format."""


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    """Write a file in a folder, dedented."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def read(folder: Path, text: str, overrides: Sequence[str] = ()) -> Experiment:
    """Load the text as an experiment file."""
    return load(write(folder, text), overrides)


def refusal(folder: Path, text: str, overrides: Sequence[str] = ()) -> UserError:
    """The error that loading the text raises; its place begins without the folder."""
    with pytest.raises(UserError) as caught:
        read(folder, text, overrides)
    error = caught.value
    assert error.exit_code == 2
    assert error.place
    error.place = error.place.replace(f"{folder}/", "")
    return error
