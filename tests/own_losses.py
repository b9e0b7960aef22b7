"""Losses as a user might write them, some of them wrong; experiment files name them."""

import ctypes
import json
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcl_bench import data
from mcl_bench.losses import Outputs
from mcl_bench.spec.schema import DataSpec


class Sharpened(nn.Module):
    """Cross-entropy of gamma times the logits plus a learnt bias per class."""

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        num_classes: int,
        embedding_size: int,
        class_weights: Tensor | None,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        assert embedding_size > 0
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.gamma = gamma
        self.bias = nn.Parameter(torch.randn(num_classes))

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(output), target, weight=self.class_weights)

    def logits(self, output: Outputs) -> Tensor:
        return self.gamma * output.logits + self.bias


class Plain(nn.Module):
    """The least that a loss must have; takes any option."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = given

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)


class Failing(Plain):
    """Fails at its first step, each way of failing by its name; `config` before.

    It passes the check before a sweep, which is made on two images. With `once` it fails only
    until it has left this file, with `until` until somebody else has.
    """

    def __init__(self, *, what: str, once: str = "", until: str = "", **given: Any) -> None:
        super().__init__(**given)
        self.once = Path(once) if once else None
        self.mended = [Path(path) for path in (once, until) if path]
        if what == "config":
            raise ValueError("what is config, which this loss refuses")
        self.what = what

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        if len(target) == 2 or any(path.exists() for path in self.mended):
            return super().forward(output, target)
        if self.once:
            self.once.touch()
        match self.what:
            case "memory":
                torch.empty(2**50)
            case "full disk":
                Path("/dev/full").write_text("x")
            case "not finite":
                return super().forward(output, target) * torch.nan
            case "hang":
                threading.Event().wait()
            case "hang with the lock":
                ctypes.PyDLL(None).pause()  # in C, keeping the interpreter's lock
        raise KeyError(self.what)


class Picky(Plain):
    """Refuses a gamma above 1."""

    def __init__(
        self,
        *,
        num_classes: int,
        embedding_size: int,
        class_weights: Tensor | None,
        gamma: float,
    ) -> None:
        super().__init__(num_classes=num_classes, size=embedding_size, weights=class_weights)
        if gamma > 1:
            raise ValueError(f"gamma must be at most 1, got {gamma}")


class OfLogits(Plain):
    """Takes the logits where it gets the outputs."""

    def forward(self, output: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)


class Unreduced(Plain):
    """Returns a loss for each image."""

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target, reduction="none")


class Narrow(Plain):
    """Predicts too few classes."""

    def logits(self, output: Outputs) -> Tensor:
        return output.logits[:, :1]


def function(**_: Any) -> None:
    """No class."""


class Peeking(Plain):
    """Tries to learn from the test labels of the packed set that its options name."""

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        packed = data.prepare(
            DataSpec.model_validate(json.loads(self.given["data"])),
            store=Path(self.given["store"]),
            digest=self.given["digest"],
        )
        labels = data.open_test(packed, self.given.get("grant")).labels
        return super().forward(output, target) * len(labels)


class Hungry(Plain):
    """Has memory for so many `images` at once; the rest is as plain as can be."""

    def __init__(self, *, images: int, **given: Any) -> None:
        super().__init__(**given)
        self.images = images

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        if self.training and len(target) > self.images:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(target)} images")
        return super().forward(output, target)
