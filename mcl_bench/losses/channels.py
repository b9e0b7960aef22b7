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

# K classes of one run, X channels per class (ξ)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring classes that own equally many channels, so that one view holds them all."""

    first_channel: int
    num_classes: int
    xi: int

    @property
    def channels(self) -> slice:
        """The channels of these classes."""
        return slice(self.first_channel, self.first_channel + self.num_classes * self.xi)


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
    runs = []
    first = 0
    for xi, members in itertools.groupby(groups):
        run = Run(first_channel=first, num_classes=len(list(members)), xi=xi)
        runs.append(run)
        first = run.channels.stop
    return tuple(runs)


def draw_mask(groups: Sequence[int], ratio: float, *, generator: torch.Generator | None) -> Tensor:
    """A channel mask with ⌊ξ·ratio⌋ zeros, at most ξ - 1, in each class; their places are random.

    Every choice of places is equally likely and the classes are independent. The same state of
    `generator` gives the same mask.

    Args:
        groups: channels per class, K positive integers.
        ratio: share of each class's channels to drop, 0 to 1; taken decimally, so that 0.29 of
            100 is 29.
        generator: a CPU generator; None is torch's default one.

    Returns:
        A float32 tensor on the CPU of sum(groups) zeros (dropped) and ones (kept).

    Raises:
        ValueError: the ratio or the groups break these rules.
    """
    check_ratio(ratio)
    runs = channel_runs(groups)
    mask = torch.ones(runs[-1].channels.stop)
    for run in runs:
        dropped = channels_dropped(run.xi, ratio)
        if dropped:
            # The smallest of ξ independent draws lie at a uniformly random set of places. In
            # float32 draws would tie now and then, and a tie favours one place.
            draws_KX = torch.rand(run.num_classes, run.xi, generator=generator, dtype=torch.float64)
            places_KX = draws_KX.argsort(dim=1)[:, :dropped]
            mask[run.channels].view(run.num_classes, run.xi).scatter_(1, places_KX, 0.0)
    return mask


def check_ratio(ratio: float) -> None:
    """Refuse a mask ratio outside 0 to 1, and one that is not a number."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"mask_ratio must be between 0 and 1, got {ratio}")
