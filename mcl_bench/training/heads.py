"""Heads: from maps to logits."""

# B batch, K classes, C maps, H×W positions

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor, nn

HIDDEN = 512
"""The width of the `mlp` head's hidden layer."""


class MlpHead(nn.Module):
    """Global max pool, then BN-FC-BN-ELU-FC: the head of the authors' scripts."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(maps),
            nn.Linear(maps, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ELU(inplace=True),
            nn.Linear(HIDDEN, num_classes),
        )

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """Logits, B×K."""
        logits_BK: Tensor = self.layers(maps_BCHW.amax((2, 3)))
        return logits_BK


class LinearHead(nn.Module):
    """Global average pool, then a fully connected layer."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(maps, num_classes)

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """Logits, B×K."""
        logits_BK: Tensor = self.layer(maps_BCHW.mean((2, 3)))
        return logits_BK


class AvgMaxHead(nn.Module):
    """A fully connected layer on the global average beside the global maximum of each map."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2 * maps, num_classes)

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """Logits, B×K."""
        pooled = torch.cat((maps_BCHW.mean((2, 3)), maps_BCHW.amax((2, 3))), dim=1)
        logits_BK: Tensor = self.layer(pooled)
        return logits_BK


HEADS: MappingProxyType[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {"mlp": MlpHead, "linear": LinearHead, "avgmax": AvgMaxHead}
)
"""The heads by name; each is made of the number of maps and of classes."""


def build_head(name: str, maps: int, num_classes: int) -> nn.Module:
    """The head of that name, taking B×C×H×W maps to B×K logits."""
    return HEADS[name](maps, num_classes)
