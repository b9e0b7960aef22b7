"""The Mutual-Channel Loss: function first, thin class after.

Each class owns a group of channels of the last feature map. The discriminality term asks that a
class's channels alone, any half of them, tell the class; the diversity term that they look at
different places. The canonical form: L = μ·(L_dis + λ·(1 - diversity)), with diversity the mean
over classes of h/ξ, so that λ multiplies a quantity in [0, 1 - 1/ξ] whatever ξ is. Published
implementations differ from it and from each other; `mc_loss` has an option for each difference.

Source: Chang et al., "The Devil is in the Channels: Mutual-Channel Loss for Fine-Grained Image
Classification", IEEE TIP 2020.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from mcl_bench.losses.channels import Run, channel_runs
from mcl_bench.losses.closed_form import closed_form, full_precision, logits_of, spreads_of
from mcl_bench.losses.fused import fused_form

__all__ = [
    "DiversityForm",
    "MCLossTerms",
    "MaskFill",
    "Reduction",
    "alignment_logits",
    "cross_entropy",
    "diversity",
    "full_precision",
    "mc_loss",
]

# B batch, C channels of all classes, K classes

MaskFill = Literal["zero", "minus_inf"]
Reduction = Literal["classes", "groups"]
DiversityForm = Literal["normalised", "literal"]


class MCLossTerms(NamedTuple):
    """The two terms of the Mutual-Channel Loss, unweighted: scalars, float32 or float64.

    `discriminality` is a cross-entropy (>= 0, lower is better); `diversity` lies in (0, 1] in the
    canonical form: 1/ξ where all channels of a group agree, 1 where they share no place.
    """

    discriminality: Tensor
    diversity: Tensor

    def weighted(self, *, mu: float, lambda_: float) -> Tensor:
        """μ·(L_dis + λ·(1 - diversity)), a scalar."""
        return mu * (self.discriminality + lambda_ * (1 - self.diversity))


def mc_loss(  # noqa: PLR0913 - an option for each difference between implementations
    features: Tensor,
    target: Tensor,
    *,
    groups: Sequence[int],
    mask: Tensor | None,
    class_weights: Tensor | None = None,
    mask_fill: MaskFill = "zero",
    reduction: Reduction = "classes",
    diversity: DiversityForm = "normalised",
    compiled: bool = False,
) -> MCLossTerms:
    """The discriminality and the diversity of a batch's feature maps.

    Discriminality is the cross-entropy of GAP(max over the class's channels as masked). Diversity
    is the mean over images and classes of h/ξ, where h sums over the places the maximum over the
    class's channels of their softmax over places; it is not masked. A class of one channel has
    h = 1 and sends no gradient.

    The terms are computed in float32 (float64 for float64 features) under autocast too. Where
    channels tie for a maximum, the first of them gets the gradient. There is no second derivative.

    Args:
        features: B×C×H×W maps of more than one pixel, any memory format.
        target: B class indices, 0 to K - 1. A target outside is a ValueError on a CPU; elsewhere
            the check would wait for the device and is left to torch's own.
        groups: channels per class, K positive integers that sum to C.
        mask: zeros (dropped) and ones (kept), C of them for the whole batch or B×C for each image
            its own, on any device; None for all kept.
        class_weights: K weights of the discriminality's cross-entropy, which is then the mean
            weighted by the targets' classes, as in `torch.nn.functional.cross_entropy`.
        mask_fill: what a dropped channel counts as in the maximum. `zero` is the authors' product
            with the mask: where the kept channels are negative the dropped one wins. With
            `minus_inf` it never does; on maps >= 0 both agree. It needs a channel kept in each
            class (a ValueError on a CPU).
        reduction: `classes` is the mean over all classes; `groups` sums the means over the classes
            of each ξ, as the authors' ResNet-50 script does where ξ is uneven. It counts for the
            diversity, whose range it widens to (0, number of different ξ].
        diversity: `normalised` is h/ξ; `literal` is the paper's h, in [1, ξ].
        compiled: by kernels that `torch.compile` makes at the first call of each shape, which takes
            many seconds and a C++ compiler.

    Raises:
        ValueError: a shape, a group, an option or a value breaks these rules.
    """
    check_choice("mask_fill", mask_fill, MaskFill)
    check_choice("reduction", reduction, Reduction)
    check_choice("diversity", diversity, DiversityForm)
    runs = _runs(groups)
    _check_maps(features, runs)
    _check_places(features)
    _check_rest(features, target, len(groups), mask, class_weights)
    fill = 0.0 if mask_fill == "zero" else float("-inf")
    mask_MC = None if mask is None else mask.reshape(-1, mask.shape[-1])
    if not torch.compiler.is_compiling():
        _check_values(target, len(groups), mask_MC if mask_fill == "minus_inf" else None, runs)
    measure = fused_form if compiled and not torch.compiler.is_compiling() else closed_form
    logits_BK, spreads_BK = measure(features, mask_MC, runs, fill)
    discriminality = cross_entropy(logits_BK, target, class_weights)
    return MCLossTerms(discriminality, _reduced(spreads_BK, runs, reduction, diversity))


def alignment_logits(maps: Tensor, groups: Sequence[int]) -> Tensor:
    """What the channels alone say of the class, B×K: GAP(max over the class's channels), unmasked.

    `maps` is B×C×H×W and `groups` sums to C, else ValueError; float32 under autocast.
    """
    runs = _runs(groups)
    _check_maps(maps, runs)
    if torch.is_grad_enabled() and maps.requires_grad:
        return closed_form(maps, None, runs, 0.0)[0]
    return logits_of(maps, runs)


def diversity(maps: Tensor, groups: Sequence[int]) -> Tensor:
    """The mean over images and classes of h/ξ, a scalar in (0, 1]: `mc_loss`' second term.

    `maps` is B×C×H×W of more than one pixel and `groups` sums to C, else ValueError; float32 under
    autocast.
    """
    runs = _runs(groups)
    _check_maps(maps, runs)
    _check_places(maps)
    if torch.is_grad_enabled() and maps.requires_grad:
        spreads_BK = closed_form(maps, None, runs, 0.0)[1]
    else:
        spreads_BK = spreads_of(maps, runs)
    return _reduced(spreads_BK, runs, "classes", "normalised")


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    """The cross-entropy of B×K logits, a scalar; with K class weights their weighted mean."""
    weights = None if class_weights is None else class_weights.to(logits, non_blocking=True)
    return F.cross_entropy(logits, target, weight=weights)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a value that is none of a Literal's."""
    if value not in get_args(choices):
        allowed = " or ".join(get_args(choices))
        raise ValueError(f"{name} must be {allowed}, got {value}")


def _reduced(
    spreads_BK: Tensor, runs: Sequence[Run], reduction: Reduction, form: DiversityForm
) -> Tensor:
    """Σ_k w_k·h_k, averaged over the images; w_k is the same for all classes of a run."""
    alike: Counter[int] = Counter()
    for run in runs:
        alike[run.xi] += run.num_classes
    num_classes = spreads_BK.shape[1]
    shares = []
    for run in runs:
        among = num_classes if reduction == "classes" else alike[run.xi]
        divisor = run.xi if form == "normalised" else 1
        own_BK = spreads_BK if len(runs) == 1 else spreads_BK[:, run.classes]
        shares.append(own_BK.mean() * (run.num_classes / among / divisor))
    return functools.reduce(torch.add, shares)


def _runs(groups: Sequence[int]) -> tuple[Run, ...]:
    """`channel_runs`, remembered: counting 10,000 classes takes longer than a small step."""
    if torch.compiler.is_compiling():
        return channel_runs(groups)
    return _remembered_runs(tuple(groups))


_remembered_runs = functools.lru_cache(maxsize=64)(channel_runs)


def _check_maps(maps: Tensor, runs: Sequence[Run]) -> None:
    if maps.ndim != 4:
        raise ValueError(f"features must be B×C×H×W, got the shape {tuple(maps.shape)}")
    channels = runs[-1].channels.stop
    if maps.shape[1] != channels:
        raise ValueError(
            f"groups must sum to the features' {maps.shape[1]} channels, got {channels}"
        )


def _check_places(maps: Tensor) -> None:
    if maps.shape[2] * maps.shape[3] < 2:
        raise ValueError(
            "features must have more than one pixel, over which diversity is defined, "
            f"got maps of {maps.shape[2]}×{maps.shape[3]}"
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
    if mask is not None and mask.shape not in {(channels,), (batch, channels)}:
        raise ValueError(
            f"mask must hold {channels} channels, or {batch}×{channels} for each image its own, "
            f"got the shape {tuple(mask.shape)}"
        )
    if class_weights is not None and class_weights.shape != (num_classes,):
        raise ValueError(
            f"class_weights must have one entry for each of {num_classes} classes, "
            f"got the shape {tuple(class_weights.shape)}"
        )


def _check_values(
    target: Tensor, num_classes: int, mask_MC: Tensor | None, runs: Sequence[Run]
) -> None:
    """Look at what lies on a CPU: targets, and a mask under which no class may be empty."""
    if target.device.type == "cpu" and target.numel() > 0:
        low, high = (int(end) for end in target.aminmax())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"target must hold class indices from 0 to {num_classes - 1}, "
                f"got {low if low < 0 else high}"
            )
    if mask_MC is None or mask_MC.device.type != "cpu":
        return
    for run in runs:
        if not bool(run.of(mask_MC[:, :, None]).any(dim=2).all()):
            raise ValueError("mask must keep a channel of each class where mask_fill is minus_inf")
