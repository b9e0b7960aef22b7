"""The Mutual-Channel Loss as each source writes it, from the formulas, by plain autograd.

Every function gives what is added to the cross-entropy of the head, on B×C×H×W maps; nothing of the
package is used. Class i owns the channels [sum(groups[:i]), sum(groups[:i + 1])).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Oracle(Protocol):
    """A source's loss; `weight` and `balance` are the numbers that it calls by other names."""

    def __call__(
        self,
        maps: Tensor,
        target: Tensor,
        groups: Sequence[int],
        mask: Tensor,
        weight: float,
        balance: float,
    ) -> Tensor: ...


def paper(
    maps: Tensor, target: Tensor, groups: Sequence[int], mask: Tensor, mu: float, lambda_: float
) -> Tensor:
    """mu·(L_dis − lambda·L_div), L_div = the mean over classes of h."""
    return mu * (discriminality(maps, target, groups, mask) - lambda_ * h_of(maps, groups).mean())


def official(
    maps: Tensor,
    target: Tensor,
    groups: Sequence[int],
    mask: Tensor,
    alpha_1: float,
    beta_1: float,
) -> Tensor:
    """alpha_1·L_dis + beta_1·(1 − mean h/ξ)."""
    shares = h_of(maps, groups) / torch.tensor(groups)
    return alpha_1 * discriminality(maps, target, groups, mask) + beta_1 * (1 - shares.mean())


def grouped(
    maps: Tensor, target: Tensor, groups: Sequence[int], mask: Tensor, alpha: float, lambda_: float
) -> Tensor:
    """alpha·(L_dis + lambda·Σ over groups of (1 − mean in the group of h/ξ))."""
    h_BK = h_of(maps, groups)
    parts = []
    for xi in sorted(set(groups)):
        members = [place for place, width in enumerate(groups) if width == xi]
        parts.append(1 - h_BK[:, members].mean() / xi)
    return alpha * (discriminality(maps, target, groups, mask) + lambda_ * sum(parts))


def holocron(
    maps: Tensor, target: Tensor, groups: Sequence[int], mask: Tensor, weight: float, alpha: float
) -> Tensor:
    """weight·(L_dis − alpha·the mean over images, classes and positions of the maximum)."""
    highest = [spread.amax(1) for spread in spreads_of(maps, groups)]
    return weight * (
        discriminality(maps, target, groups, mask) - alpha * torch.stack(highest, 1).mean()
    )


def discriminality(maps: Tensor, target: Tensor, groups: Sequence[int], mask: Tensor) -> Tensor:
    """The cross-entropy of GAP(max over the class's channels, times the mask)."""
    masked = maps * mask[:, None, None]
    logits = [part.amax(1).mean((1, 2)) for part in masked.split(list(groups), dim=1)]
    return F.cross_entropy(torch.stack(logits, 1), target)


def h_of(maps: Tensor, groups: Sequence[int]) -> Tensor:
    """h of each image and class, B×K: the sum over positions of the maximum over channels."""
    return torch.stack([spread.amax(1).sum(-1) for spread in spreads_of(maps, groups)], 1)


def spreads_of(maps: Tensor, groups: Sequence[int]) -> list[Tensor]:
    """Each class's channels as softmaxes over positions, B×ξ×(H·W)."""
    return list(maps.flatten(2).softmax(-1).split(list(groups), dim=1))


ORACLES: dict[str, Oracle] = {
    "paper": paper,
    "official": official,
    "official-pretrained": grouped,
    "kurumi": grouped,
    "holocron": holocron,
}
