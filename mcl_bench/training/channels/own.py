"""The channels of each image's true class, out of the maps of all classes."""

# B batch, K classes, C maps, X channels of the widest class (ξ), H×W positions

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class OwnChannels:
    """Picks the true class's channels; narrower classes than the widest have empty places.

    Args:
        groups: channels per class, K positive integers.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        ends = itertools.accumulate(groups)
        lists = [torch.arange(end - xi, end) for xi, end in zip(groups, ends, strict=True)]
        self.channel_KX = pad_sequence(lists, batch_first=True, padding_value=-1)
        """The number of each class's channels, -1 in empty places."""

    def of(self, maps_BCHW: Tensor, target_B: Tensor) -> Tensor:
        """B×X×H×W: the maps of the own channels; empty places hold zeros."""
        channel_BX = self.channel_KX.to(maps_BCHW.device)[target_B]
        image_B1 = torch.arange(len(target_B), device=maps_BCHW.device)[:, None]
        own_BXHW = maps_BCHW[image_B1, channel_BX.clamp_min(0)]
        return own_BXHW * (channel_BX >= 0)[:, :, None, None]
