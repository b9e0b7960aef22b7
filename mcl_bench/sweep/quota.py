"""The room that a sweep's checkpoints may take: `budget.checkpoint_gb`, in 10⁹ bytes.

A trial that has ended keeps no checkpoint; of each cell the weights of confirm seed 0 are kept. A
trial that has not ended keeps its newest. Where that is more than the quota, the checkpoints of the
trials that were launched last are deleted until it fits, and until there is room again no trial
writes its first one: it trains on, and would begin anew if its worker were lost. A trial that is
told to leave writes one all the same, or its work would be lost for sure.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mcl_bench.records import WEIGHTS
from mcl_bench.spec import OptimizerSpec
from mcl_bench.sweep.trials import CHECKPOINT

GB = 1e9

LOOK_SECONDS = 5.0
"""The files are looked at this often at most."""

BYTES_PER_NUMBER = 4

Note = Callable[[str], None]
"""Told what the quota has made necessary, in words."""


class Quota:
    """Keeps a sweep's checkpoints within its quota; `full_file` tells workers that it is full."""

    def __init__(self, gigabytes: float | None, *, files: Path, note: Note) -> None:
        self._bytes = None if gigabytes is None else gigabytes * GB
        self._files = files
        self._note = note
        self._said = False
        self._next_look = 0.0
        self.full_file = files / "full"

    def open(self) -> None:
        """Begin with room for checkpoints, until a look says otherwise."""
        self.full_file.unlink(missing_ok=True)

    def tend(self, trials: Iterable[Path], *, at_once: bool = False) -> None:
        """Look at the files if it is time, or `at_once`, and delete what is too much.

        `trials` are the folders of the trials that have not ended, the last launched one last.
        """
        if self._bytes is None or (time.monotonic() < self._next_look and not at_once):
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        newest = [path for trial in trials if (path := _keep_newest(trial)) is not None]
        sizes = {path: _size(path) for path in newest}
        weights = sum(map(_size, self._files.glob(f"trials/*/confirm-*/{WEIGHTS}")))
        over = weights + sum(sizes.values()) > self._bytes
        deleted = 0
        while weights + sum(sizes.values()) > self._bytes and newest:
            victim = newest.pop()
            victim.unlink(missing_ok=True)
            del sizes[victim]
            deleted += 1
        if over and not self._said:
            self._said = True
            self._note(
                f"budget.checkpoint_gb: checkpoints take more than {self._bytes / GB:g} GB: "
                f"{deleted} of running trials deleted; those train on without, until there is room"
            )
        if over:
            self.full_file.parent.mkdir(parents=True, exist_ok=True)
            self.full_file.touch()
        elif weights + sum(sizes.values()) + max(sizes.values(), default=0) <= self._bytes:
            self.full_file.unlink(missing_ok=True)


def keep_weights(cell: Path, trial: Path) -> None:
    """Of a cell's confirm trials only this one keeps its weights, if it has left any."""
    if not (trial / WEIGHTS).exists():
        return
    for path in cell.glob(f"confirm-*/{WEIGHTS}"):
        if path.parent != trial:
            path.unlink(missing_ok=True)


def weights_bytes(parameters: int) -> int:
    """The size of a network's weights, in bytes, but for what is not a parameter."""
    return BYTES_PER_NUMBER * parameters


def checkpoint_bytes(parameters: int, optimizer: OptimizerSpec) -> int:
    """The size of one checkpoint, about: the weights, and what the optimiser keeps of each."""
    kept = 2 if optimizer.name == "adamw" else int(optimizer.momentum > 0)
    return weights_bytes(parameters) * (1 + kept)


def _keep_newest(trial: Path) -> Path | None:
    """The newest checkpoint of a trial; older ones, of leases before this, are deleted."""
    found = sorted(trial.glob(f"*/{CHECKPOINT}"), key=_written)
    for older in found[:-1]:
        older.unlink(missing_ok=True)
    return found[-1] if found else None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its trial has just ended
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
