"""What one arm of an experiment minimises, built from the `loss` part of its settings."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcl_bench.losses.channels import channel_runs, draw_mask
from mcl_bench.losses.mc import cross_entropy, full_precision, mc_loss
from mcl_bench.spec.schema import CrossEntropySpec, LossSpec

# B batch, C channels of all classes, K classes


class ObjectiveTerms(NamedTuple):
    """A batch's objective and its unweighted terms: scalars, None for a term the arm lacks."""

    total: Tensor
    ce: Tensor
    discriminality: Tensor | None = None
    diversity: Tensor | None = None


class Objective(nn.Module):
    """Maps a network's outputs and a batch's targets to what is minimised.

    Holds no parameters and adds nothing to a state dict.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, maps: Tensor, target: Tensor) -> ObjectiveTerms:
        """The terms of one batch, in float32 (float64 for float64 inputs) under autocast too.

        `logits` B×K of the main head, `maps` B×C×H×W of the last layer, `target` B class indices.
        """
        raise NotImplementedError


class CrossEntropyObjective(Objective):
    """The main head's cross-entropy alone; the maps are not looked at."""

    def forward(self, logits: Tensor, maps: Tensor, target: Tensor) -> ObjectiveTerms:  # noqa: ARG002
        """The cross-entropy, which is the total."""
        ce = _head_cross_entropy(logits, target, self.class_weights)
        return ObjectiveTerms(total=ce, ce=ce)


class MutualChannelObjective(Objective):
    """Cross-entropy + μ·(L_dis + λ·(1 - diversity)); class weights apply to both entropies.

    In training mode a mask is drawn from `generator` at each call; in evaluation mode nothing is
    masked and nothing drawn.
    """

    def __init__(
        self,
        *,
        groups: Sequence[int],
        mu: float,
        lambda_: float,
        mask_ratio: float,
        class_weights: Tensor | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(class_weights)
        self.groups = tuple(groups)
        self.mu = mu
        self.lambda_ = lambda_
        self.mask_ratio = mask_ratio
        self.generator = generator

    def forward(self, logits: Tensor, maps: Tensor, target: Tensor) -> ObjectiveTerms:
        """The total and its three terms."""
        mask = None
        if self.training:
            mask = draw_mask(self.groups, self.mask_ratio, generator=self.generator)
        ce = _head_cross_entropy(logits, target, self.class_weights)
        terms = mc_loss(
            maps, target, groups=self.groups, mask=mask, class_weights=self.class_weights
        )
        return ObjectiveTerms(
            total=ce + terms.weighted(mu=self.mu, lambda_=self.lambda_),
            ce=ce,
            discriminality=terms.discriminality,
            diversity=terms.diversity,
        )


def build_objective(
    loss: LossSpec,
    *,
    groups: Sequence[int],
    class_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Objective:
    """The objective of one arm. With μ = 0 the Mutual-Channel Loss is plain cross-entropy.

    Args:
        loss: the arm's resolved `loss` settings.
        groups: channels per class, K positive integers, in the order of the channels.
        class_weights: K weights of every cross-entropy, or None; they follow `.to(device)`.
        generator: a CPU generator for the masks, torch's default one if None; whoever owns it
            saves and restores its state.

    Raises:
        ValueError: a group has no channel, or the weights are not one per class.
    """
    channel_runs(groups)
    if class_weights is not None and class_weights.shape != (len(groups),):
        raise ValueError(
            f"class_weights must have one entry for each of {len(groups)} classes, "
            f"got the shape {tuple(class_weights.shape)}"
        )
    if isinstance(loss, CrossEntropySpec) or loss.mu == 0:
        return CrossEntropyObjective(class_weights)
    return MutualChannelObjective(
        groups=groups,
        mu=loss.mu,
        lambda_=loss.lambda_,
        mask_ratio=loss.mask_ratio,
        class_weights=class_weights,
        generator=generator,
    )


def _head_cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    return cross_entropy(full_precision(logits), target, class_weights)
