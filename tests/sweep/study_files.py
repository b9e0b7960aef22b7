"""One cell's studies on a real SQLite file, and a search over it that trains nothing."""

import math
from pathlib import Path
from typing import Any

from mcl_bench.spec import Cell, load
from mcl_bench.sweep.studies import Studies

CELL = "parts-convnet-ce"
EXPERIMENT = """\
version: 1
name: s
data: {name: parts}
model: {backbone: convnet, channels: adapter}
arms: {ce: {loss: {name: ce}}}
train: {epochs: 9}
search:
  trials: 12
  pruner: none
  space:
    model.xi: {int: [2, 9]}
    train.optimizer.lr: {log: [1e-4, 1e-1]}
    train.optimizer.momentum: {float: [0.1, 0.9], step: 0.2}
  enqueue: [{model.xi: 7}]
"""
POINTS = "search.space.train.optimizer.lr={log: [1e-4, 1e-1], points: 3}"
"""What a grid needs to know beside the file."""


def overrides_for(sampler: str) -> list[str]:
    """The overrides that search with this sampler."""
    return [f"search.sampler={sampler}", *([POINTS] if sampler == "grid" else [])]


def make_studies(folder: Path, *overrides: str) -> Studies:
    """The studies in `study.db` of a folder, as a driver opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "s.yaml"
    file.write_text(EXPERIMENT)
    experiment = load(file, overrides)
    studies = Studies(
        url_of(folder),
        sweep="s",
        sweep_id="deadbeef",
        cells={cell.id: cell for cell in experiment.cells},
        search=experiment.spec.search,
        seed=0,
    )
    studies.open()
    return studies


def cell_of(studies: Studies) -> Cell:
    """The one cell."""
    return studies._cells[CELL]


def url_of(folder: Path) -> str:
    """The storage of a folder."""
    return f"sqlite:///{folder / 'study.db'}"


def value_of(params: dict[str, Any]) -> float:
    """What a trial with these parameters is worth: best at ξ = 5 and lr = 0.01."""
    return (
        1
        - abs(math.log10(params["train.optimizer.lr"]) + 2) / 4
        - abs(params["model.xi"] - 5) / 9
        - params.get("train.optimizer.momentum", 0.0) / 100
    )


def ask_and_tell(studies: Studies, count: int) -> list[dict[str, Any]]:
    """Run so many trials, one after another; their parameters."""
    asked = []
    for _ in range(count):
        trial = studies.ask(CELL)
        asked.append(dict(trial.params))
        value = value_of(asked[-1])
        studies.report(CELL, trial.number, epoch=1, value=value)
        studies.tell(CELL, "search", trial.number, outcome="complete", value=value)
    return asked
