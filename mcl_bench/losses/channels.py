"""Which channels of a feature map belong to which class, and which of them a mask drops.

Groups are contiguous and in the order of the classes: class i owns the ξ_i channels after those
of class i - 1.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mcl_bench.spec.key import channels_dropped

# B batch, C channels of all classes, K classes of one run, X channels per class (ξ), S pixels


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring classes that own equally many channels, so that one view holds them all."""

    first_class: int
    first_channel: int
    num_classes: int
    xi: int

    @property
    def classes(self) -> slice:
        """These classes."""
        return slice(self.first_class, self.first_class + self.num_classes)

    @property
    def channels(self) -> slice:
        """The channels of these classes."""
        return slice(self.first_channel, self.first_channel + self.num_classes * self.xi)

    def of(self, maps_BCS: Tensor) -> Tensor:
        """A view of these classes' maps, B×K×X×S."""
        batch, _, pixels = maps_BCS.shape
        return maps_BCS[:, self.channels].view(batch, self.num_classes, self.xi, pixels)


def channel_groups(num_classes: int, channels: int) -> tuple[int, ...]:
    """The channels per class: as even as `channels` allows, the wider groups last.

    With a = ⌊channels / num_classes⌋ and r channels left over, the first num_classes - r classes
    get a channels and the last r get a + 1, as in the authors' code (2048 maps for 200 classes
    are 152×10 + 48×11).

    Raises:
        ValueError: there is no class, or a class would get no channel.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if channels < num_classes:
        raise ValueError(
            "channels must be at least one per class, "
            f"got {channels} channels for {num_classes} classes"
        )
    width, wider = divmod(channels, num_classes)
    return (width,) * (num_classes - wider) + (width + 1,) * wider


def channel_runs(groups: Sequence[int]) -> tuple[Run, ...]:
    """The groups as runs of equal ξ: one for an even division, two for `channel_groups`' uneven.

    Raises:
        ValueError: there is no group, or one has no channel.
    """
    if len(groups) == 0:
        raise ValueError("groups must name the channels of at least one class, got none")
    if min(groups) < 1:
        raise ValueError(f"groups must give every class at least 1 channel, got {min(groups)}")
    runs: list[Run] = []
    for xi, members in itertools.groupby(groups):
        run = Run(
            first_class=runs[-1].classes.stop if runs else 0,
            first_channel=runs[-1].channels.stop if runs else 0,
            num_classes=len(list(members)),
            xi=xi,
        )
        runs.append(run)
    return tuple(runs)


def draw_mask(
    groups: Sequence[int],
    ratio: float,
    *,
    generator: torch.Generator | None,
    batch: int | None = None,
) -> Tensor:
    """A channel mask with ⌊ξ·ratio⌋ zeros, at most ξ - 1, in each class; their places are random.

    Every choice of places is equally likely and the classes are independent. The same state of
    `generator` gives the same mask.

    Args:
        groups: channels per class, K positive integers.
        ratio: share of each class's channels to drop, 0 to 1; taken decimally, so that 0.29 of
            100 is 29.
        generator: a CPU generator; None is torch's default one.
        batch: how many independent masks to draw, one for each image; None is one for all.

    Returns:
        A float32 tensor on the CPU of zeros (dropped) and ones (kept): sum(groups) of them, or
        batch×sum(groups).

    Raises:
        ValueError: the ratio, the groups or the batch break these rules.
    """
    check_ratio(ratio)
    runs = channel_runs(groups)
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    mask_BC1 = torch.ones(batch or 1, runs[-1].channels.stop, 1)
    for run in runs:
        dropped = channels_dropped(run.xi, ratio)
        if dropped:
            mask_BKX = run.of(mask_BC1).squeeze(-1)
            # The smallest of ξ independent draws lie at a uniformly random set of places. In
            # float32 draws would tie now and then, and a tie favours one place.
            draws_BKX = torch.rand(mask_BKX.shape, generator=generator, dtype=torch.float64)
            mask_BKX.scatter_(2, draws_BKX.argsort(dim=2)[:, :, :dropped], 0.0)
    mask_BC = mask_BC1.squeeze(-1)
    return mask_BC[0] if batch is None else mask_BC


def check_ratio(ratio: float) -> None:
    """Refuse a mask ratio outside 0 to 1, and one that is not a number."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"mask_ratio must be between 0 and 1, got {ratio}")
