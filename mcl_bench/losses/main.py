"""Main losses: what judges a network's head, with or without the Mutual-Channel Loss beside it."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from mcl_bench.losses.mc import cross_entropy, full_precision

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
    """A loss of the head's outputs; `logits` says how they are read where a class is wanted.

    What it learns itself is among its parameters, drawn from torch's global generator. It is
    called outside autocast, with outputs in float32 or float64.

    Args:
        spec: its settings.
        num_classes: K.
        embedding_size: D, the width of the head's embedding.
        class_weights: K weights of every cross-entropy in it, or None; they follow `.to(device)`.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        spec: Any,
        *,
        num_classes: int,  # noqa: ARG002 - for the losses with parameters of their own
        embedding_size: int,  # noqa: ARG002
        class_weights: Tensor | None,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.spec = spec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The loss of one batch, a scalar; `target` holds B class indices."""
        raise NotImplementedError

    def logits(self, output: Outputs) -> Tensor:
        """B×K, whose softmax is what the network believes; the head's own unless overridden."""
        return output.logits

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of B×K logits, a scalar; with class weights their weighted mean."""
        return cross_entropy(logits, target, self.class_weights)

    def weighted_mean(self, losses: Tensor, target: Tensor) -> Tensor:
        """The mean of B losses, a scalar, weighted by their targets' classes as cross-entropy is.

        With class weights w: Σ_b w[y_b]·l_b / Σ_b w[y_b].
        """
        if self.class_weights is None:
            return losses.mean()
        weights_B = self.class_weights.to(losses)[target]
        return (weights_B * losses).sum() / weights_B.sum()


class CrossEntropy(MainLoss):
    """The head's cross-entropy."""

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy."""
        return self.cross_entropy(output.logits, target)
