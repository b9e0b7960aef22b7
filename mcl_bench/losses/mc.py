"""The Mutual-Channel Loss: function first, thin class after.

Each class owns a group of channels of the last feature map. The discriminality term asks that a
class's channels alone, any half of them, tell the class; the diversity term that they look at
different places. The canonical form: L = μ·(L_dis + λ·(1 - diversity)), with diversity the mean
over classes of h/ξ, so that λ multiplies a quantity in [0, 1 - 1/ξ] whatever ξ is.

Source: Chang et al., "The Devil is in the Channels: Mutual-Channel Loss for Fine-Grained Image
Classification", IEEE TIP 2020.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcl_bench.losses.channels import Run, channel_groups, channel_runs, check_ratio, draw_mask

# B batch, C channels of all classes, K classes, X channels per class (ξ), S pixels (H·W)


class MCLossTerms(NamedTuple):
    """The two terms of the Mutual-Channel Loss, unweighted: scalars, float32 or float64.

    `discriminality` is a cross-entropy (>= 0, lower is better); `diversity` lies in (0, 1]:
    1/ξ where all channels of a group agree, 1 where they share no place.
    """

    discriminality: Tensor
    diversity: Tensor

    def weighted(self, *, mu: float, lambda_: float) -> Tensor:
        """μ·(L_dis + λ·(1 - diversity)), a scalar."""
        return mu * (self.discriminality + lambda_ * (1 - self.diversity))


def mc_loss(
    features: Tensor,
    target: Tensor,
    *,
    groups: Sequence[int],
    mask: Tensor | None,
    class_weights: Tensor | None = None,
) -> MCLossTerms:
    """The discriminality and the diversity of a batch's feature maps.

    Discriminality is the cross-entropy of GAP(max over the class's masked channels), where
    masking multiplies by 0. Diversity is the mean over images and classes of h/ξ, where h sums
    over the places the maximum over the class's channels of their softmax over places; it is not
    masked. A class of one channel has h = 1 and sends no gradient.

    The terms are computed in float32 (float64 for float64 features) under autocast too. Where
    channels tie for a maximum, one of them gets the gradient.

    Args:
        features: B×C×H×W maps, any memory format.
        target: B class indices; their range is left to torch, which checks it on the device.
        groups: channels per class, K positive integers that sum to C.
        mask: C zeros (dropped) and ones (kept), on any device, or None for all kept.
        class_weights: K weights of the discriminality's cross-entropy, which is then the mean
            weighted by the targets' classes, as in `torch.nn.functional.cross_entropy`.

    Raises:
        ValueError: a shape or a group breaks these rules.
    """
    runs = channel_runs(groups)
    _check_maps(features, runs)
    _check_rest(features, target, len(groups), mask, class_weights)
    maps_BCS = full_precision(features).flatten(2)
    kept_BCS = maps_BCS
    if mask is not None:
        kept_BCS = maps_BCS * mask.to(maps_BCS, non_blocking=True)[:, None]
    return MCLossTerms(
        discriminality=cross_entropy(_class_logits(kept_BCS, runs), target, class_weights),
        diversity=_diversity(maps_BCS, runs),
    )


class MCLoss(nn.Module):
    """The Mutual-Channel Loss μ·(L_dis + λ·(1 - diversity)); add it to the cross-entropy.

    Channels are divided among the classes by `channel_groups`. In training mode ⌊ξ·mask_ratio⌋
    channels of each class, at most ξ - 1, are masked: one mask a batch, drawn anew at each call
    from `generator` (a CPU generator, torch's default one if None). In evaluation mode nothing is
    masked and nothing drawn.

    Args:
        num_classes: K.
        channels: C, the maps of all classes; at least K.
        mu: weight of the whole loss, >= 0.
        lambda_: weight of the diversity term within it, >= 0.
        mask_ratio: share of each class's channels that a batch drops, 0 to 1, taken decimally.
        generator: where the masks come from; whoever owns it saves and restores its state.

    Raises:
        ValueError: a number breaks these rules.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        *,
        mu: float,
        lambda_: float,
        mask_ratio: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_weight("mu", mu)
        _check_weight("lambda_", lambda_)
        check_ratio(mask_ratio)
        self.groups = channel_groups(num_classes, channels)
        self.mu = mu
        self.lambda_ = lambda_
        self.mask_ratio = mask_ratio
        self.generator = generator

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, a scalar: `features` B×C×H×W, `target` B class indices."""
        mask = None
        if self.training:
            mask = draw_mask(self.groups, self.mask_ratio, generator=self.generator)
        terms = mc_loss(features, target, groups=self.groups, mask=mask)
        return terms.weighted(mu=self.mu, lambda_=self.lambda_)

    def extra_repr(self) -> str:
        """The settings, as `print` shows them."""
        return (
            f"num_classes={len(self.groups)}, channels={sum(self.groups)}, mu={self.mu}, "
            f"lambda_={self.lambda_}, mask_ratio={self.mask_ratio}"
        )


def alignment_logits(maps: Tensor, groups: Sequence[int]) -> Tensor:
    """What the channels alone say of the class, B×K: GAP(max over the class's channels), unmasked.

    `maps` is B×C×H×W and `groups` sums to C, else ValueError; float32 under autocast.
    """
    runs = channel_runs(groups)
    _check_maps(maps, runs)
    return _class_logits(full_precision(maps).flatten(2), runs)


def diversity(maps: Tensor, groups: Sequence[int]) -> Tensor:
    """The mean over images and classes of h/ξ, a scalar in (0, 1]: `mc_loss`' second term.

    `maps` is B×C×H×W and `groups` sums to C, else ValueError; float32 under autocast.
    """
    runs = channel_runs(groups)
    _check_maps(maps, runs)
    return _diversity(full_precision(maps).flatten(2), runs)


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are.

    Autocast makes no half-precision values of them again: it lowers products of matrices and
    convolutions only, and the losses have neither.
    """
    return values.float() if values.dtype in {torch.float16, torch.bfloat16} else values


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    """The cross-entropy of B×K logits, a scalar; with K class weights their weighted mean."""
    weights = None if class_weights is None else class_weights.to(logits, non_blocking=True)
    return F.cross_entropy(logits, target, weight=weights)


def _class_logits(maps_BCS: Tensor, runs: Sequence[Run]) -> Tensor:
    """B×K: the mean over places of the maximum over each class's channels."""
    return _each_run(runs, lambda run: _peaks(maps_BCS, run).mean(-1))


def _diversity(maps_BCS: Tensor, runs: Sequence[Run]) -> Tensor:
    """The mean of h/ξ over images and classes."""
    wide = any(run.xi > 1 for run in runs)
    spread_BCS = maps_BCS.softmax(-1) if wide else maps_BCS

    def share_of(run: Run) -> Tensor:
        if run.xi == 1:
            # A softmax sums to 1 and has no gradient, but only up to rounding: where a class has
            # one channel, λ may leave no trace. The product with 0 keeps it differentiable.
            return spread_BCS[:, run.channels, 0] * 0 + 1
        return _peaks(spread_BCS, run).sum(-1) / run.xi

    shares_BK = _each_run(runs, share_of)
    return shares_BK.mean()


def _peaks(values_BCS: Tensor, run: Run) -> Tensor:
    """B×K×S: the maximum over the channels of each class of one run."""
    batch, _, pixels = values_BCS.shape
    values_BKXS = values_BCS[:, run.channels].view(batch, run.num_classes, run.xi, pixels)
    # Not amax, which shares the gradient out among ties: slower, and not what the authors do.
    return values_BKXS.max(dim=2).values


def _each_run(runs: Sequence[Run], measure: Callable[[Run], Tensor]) -> Tensor:
    """B×K from B×(classes of one run), in the order of the classes."""
    parts = [measure(run) for run in runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _check_maps(maps: Tensor, runs: Sequence[Run]) -> None:
    if maps.ndim != 4:
        raise ValueError(f"features must be B×C×H×W, got the shape {tuple(maps.shape)}")
    channels = runs[-1].channels.stop
    if maps.shape[1] != channels:
        raise ValueError(
            f"groups must sum to the features' {maps.shape[1]} channels, got {channels}"
        )


def _check_rest(
    features: Tensor,
    target: Tensor,
    num_classes: int,
    mask: Tensor | None,
    class_weights: Tensor | None,
) -> None:
    batch, channels = features.shape[:2]
    if target.shape != (batch,):
        raise ValueError(
            f"target must hold one class index for each of {batch} images, "
            f"got the shape {tuple(target.shape)}"
        )
    if mask is not None and mask.shape != (channels,):
        raise ValueError(
            f"mask must have one entry for each of {channels} channels, "
            f"got the shape {tuple(mask.shape)}"
        )
    if class_weights is not None and class_weights.shape != (num_classes,):
        raise ValueError(
            f"class_weights must have one entry for each of {num_classes} classes, "
            f"got the shape {tuple(class_weights.shape)}"
        )


def _check_weight(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number >= 0, got {value}")
