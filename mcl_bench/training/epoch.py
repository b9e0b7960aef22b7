"""The training half of an epoch as it adds up, and what happens when a loss is not finite."""

import math
from typing import Any, Self

import torch
from torch import Tensor

from mcl_bench.losses import ObjectiveTerms

STEPS_BETWEEN_READS = 32
"""On a GPU the losses are read this often, since each read waits for the GPU."""


class Diverged(Exception):
    """A loss was not finite: `term` at `step` of `epoch` (both from 1)."""

    def __init__(self, term: str, *, epoch: int, step: int) -> None:
        super().__init__(f"{term} is not finite at step {step} of epoch {epoch}")
        self.term = term
        self.epoch = epoch
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_diverged, (self.term, self.epoch, self.step))


def _rebuild_diverged(term: str, epoch: int, step: int) -> Diverged:
    return Diverged(term, epoch=epoch, step=step)


class EpochSums:
    """Sums over one epoch's training images, in float64, and the time they took.

    Adding is cheap; the values are read from the device at each step on a CPU and every
    `STEPS_BETWEEN_READS` on a GPU. The sums do not depend on when they are read.
    """

    def __init__(self, *, epoch: int, device_type: str) -> None:
        self.epoch = epoch
        self.steps = 0
        self.images = 0
        self.seconds = 0.0
        self.wait_seconds = 0.0
        self._sums: dict[str, float] = {}
        self._unread: list[tuple[int, tuple[str, ...], Tensor]] = []
        self._read_every = 1 if device_type == "cpu" else STEPS_BETWEEN_READS

    def add(self, terms: ObjectiveTerms, *, correct: Tensor, images: int) -> None:
        """Count one step; `correct` is a scalar tensor. Raises Diverged where a term is not finite.

        On a GPU that may be some steps later.
        """
        named = {f"train/loss_{name}": part.detach() for name, part in terms.parts.items()}
        named["train/loss"] = terms.total.detach()
        named["train/top1"] = correct / images
        values = torch.stack([value.double() for value in named.values()])
        self.steps += 1
        self._unread.append((images, tuple(named), values))
        if len(self._unread) >= self._read_every:
            self.read()

    def read(self) -> None:
        """Bring the sums up to date. Raises Diverged where a term is not finite."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        rows = torch.stack([values for _, _, values in unread]).tolist()
        for offset, ((images, names, _), row) in enumerate(zip(unread, rows, strict=True)):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    step = self.steps - len(unread) + offset + 1
                    raise Diverged(name, epoch=self.epoch, step=step)
                self._sums[name] = self._sums.get(name, 0.0) + value * images
            self.images += images

    def metrics(self) -> dict[str, float]:
        """The means over the images, and the times. Raises Diverged as `read` does."""
        self.read()
        means = {name: value / self.images for name, value in self._sums.items()}
        return means | {"time/epoch_s": self.seconds, "time/data_wait_s": self.wait_seconds}

    def to_dict(self) -> dict[str, Any]:
        """These sums as plain values, brought up to date. Raises Diverged as `read` does."""
        self.read()
        return {
            "epoch": self.epoch,
            "steps": self.steps,
            "images": self.images,
            "seconds": self.seconds,
            "wait_seconds": self.wait_seconds,
            "sums": dict(self._sums),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any], *, device_type: str) -> Self:
        """The sums that `to_dict` wrote."""
        sums = cls(epoch=plain["epoch"], device_type=device_type)
        sums.steps, sums.images = plain["steps"], plain["images"]
        sums.seconds, sums.wait_seconds = plain["seconds"], plain["wait_seconds"]
        sums._sums = dict(plain["sums"])
        return sums
