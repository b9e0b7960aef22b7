"""Main losses: what judges a network's head, with or without the Mutual-Channel Loss beside it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from mcl_bench.losses.mc import cross_entropy, full_precision
from mcl_bench.spec.loss import CrossEntropySpec

# B batch, C channels of all classes, K classes, D embedding


class Outputs(NamedTuple):
    """What a network makes of a batch.

    `logits` B×K are the head's, `embedding` B×D is what the head's last layer sees, `maps`
    B×C×H×W are those of the last layer before the head.
    """

    logits: Tensor
    maps: Tensor
    embedding: Tensor

    def full(self) -> "Outputs":
        """The same in float32; float64 stays."""
        return Outputs(*(full_precision(value) for value in self))


class MainLoss(nn.Module):
    """A loss of the head's outputs; `logits` says how they are read where a class is wanted."""

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The loss of one batch, a scalar; `target` holds B class indices."""
        raise NotImplementedError

    def logits(self, output: Outputs) -> Tensor:
        """B×K, whose softmax is what the network believes; the head's own unless overridden."""
        return output.logits


class CrossEntropy(MainLoss):
    """The head's cross-entropy; with class weights their weighted mean."""

    class_weights: Tensor | None

    def __init__(
        self,
        spec: CrossEntropySpec,  # noqa: ARG002 - it has no settings
        *,
        num_classes: int,  # noqa: ARG002
        embedding_size: int,  # noqa: ARG002
        class_weights: Tensor | None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy."""
        return cross_entropy(full_precision(output.logits), target, self.class_weights)


class MakeMainLoss(Protocol):
    """Makes a main loss of its settings."""

    def __call__(
        self,
        spec: Any,
        /,
        *,
        num_classes: int,
        embedding_size: int,
        class_weights: Tensor | None,
    ) -> MainLoss:
        """The loss for K classes and embeddings of D numbers."""
        ...


MAIN_LOSSES: Mapping[str, MakeMainLoss] = MappingProxyType({"ce": CrossEntropy})
"""The main losses by name."""
