"""An oracle for gradients: the terms by torch's own autograd, class after class, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def terms(
    features: Tensor,
    target: Tensor,
    groups: Sequence[int],
    mask: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    mask_fill: str = "zero",
    reduction: str = "classes",
    form: str = "normalised",
) -> tuple[Tensor, Tensor]:
    """Discriminality and diversity of float64 B×C×H×W features; `mask` is C or B×C."""
    maps = features.flatten(2)
    kept = maps
    if mask is not None:
        rows = mask.double().expand(maps.shape[:2])[:, :, None]
        dropped = maps * 0 if mask_fill == "zero" else torch.full_like(maps, -torch.inf)
        kept = torch.where(rows == 0, dropped, maps)
    logits = [own.max(1).values.mean(1) for own in kept.split(list(groups), dim=1)]
    shares = [own.softmax(2).max(1).values.sum(1) for own in maps.split(list(groups), dim=1)]
    heights = [h / xi if form == "normalised" else h for h, xi in zip(shares, groups, strict=True)]
    weights = None if class_weights is None else class_weights.double()
    by_width: dict[int, list[Tensor]] = {}
    for xi, height in zip(groups, heights, strict=True):
        by_width.setdefault(xi if reduction == "groups" else 0, []).append(height)
    diversity = sum((torch.stack(some).mean() for some in by_width.values()), torch.zeros(()))
    return F.cross_entropy(torch.stack(logits, 1), target, weight=weights), diversity


def authors_terms(features: Tensor, target: Tensor, mask: Tensor, xi: int) -> tuple[Tensor, Tensor]:
    """Both terms in the authors' formulation: max pools over swapped axes."""

    def pool(maps: Tensor) -> Tensor:
        swapped = maps.transpose(1, 3)
        pooled = F.max_pool2d(swapped, kernel_size=(1, xi), stride=(1, xi))
        return pooled.transpose(1, 3).contiguous()

    shares = features.flatten(2).softmax(2).view_as(features)
    h = pool(shares).flatten(2).sum(2).mean()
    logits = F.avg_pool2d(pool(features * mask[None, :, None, None]), features.shape[2:])
    return F.cross_entropy(logits.flatten(1), target), h / xi
