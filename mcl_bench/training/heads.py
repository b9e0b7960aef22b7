"""Heads: from maps to an embedding, and from that to logits."""

# B batch, K classes, C maps, D embedding, H×W or S positions

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 512
"""The width of the `mlp` head's hidden layer."""

ROOT_EPSILON = 1e-5
"""Added under the bilinear head's square root."""

LARGEST_EMBEDDING = 2**20
"""The most numbers of an embedding: a layer of 200 classes on it takes 800 MiB."""


class Head(nn.Module):
    """What stands after the maps: `embed` makes one vector an image, a last layer its logits.

    `embedding_size` is D. The last layer sees exactly what `embed` gives.
    """

    embedding_size: int

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        """The logits, B×K."""
        return self.classify(self.embed(maps_BCHW))

    def embed(self, maps_BCHW: Tensor) -> Tensor:
        """The embedding, B×D."""
        raise NotImplementedError

    def classify(self, embedding_BD: Tensor) -> Tensor:
        """The logits of an embedding, B×K."""
        raise NotImplementedError


class MlpHead(Head):
    """Global max pool, then BN-FC-BN-ELU-FC: the head of the authors' scripts."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.embedding_size = HIDDEN
        self.layers = nn.Sequential(
            nn.BatchNorm1d(maps),
            nn.Linear(maps, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ELU(inplace=True),
            nn.Linear(HIDDEN, num_classes),
        )

    def embed(self, maps_BCHW: Tensor) -> Tensor:
        """All layers but the last, after the pool."""
        embedding_BD: Tensor = self.layers[:-1](maps_BCHW.amax((2, 3)))
        return embedding_BD

    def classify(self, embedding_BD: Tensor) -> Tensor:
        """The last layer."""
        logits_BK: Tensor = self.layers[-1](embedding_BD)
        return logits_BK


class LinearHead(Head):
    """Global average pool, then a fully connected layer."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.embedding_size = maps
        self.layer = nn.Linear(maps, num_classes)

    def embed(self, maps_BCHW: Tensor) -> Tensor:
        """The global average of each map."""
        return maps_BCHW.mean((2, 3))

    def classify(self, embedding_BD: Tensor) -> Tensor:
        """The fully connected layer."""
        logits_BK: Tensor = self.layer(embedding_BD)
        return logits_BK


class AvgMaxHead(LinearHead):
    """A fully connected layer on the global average beside the global maximum of each map."""

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__(2 * maps, num_classes)

    def embed(self, maps_BCHW: Tensor) -> Tensor:
        """The averages, then the maxima."""
        return torch.cat((maps_BCHW.mean((2, 3)), maps_BCHW.amax((2, 3))), dim=1)


class BilinearHead(LinearHead):
    """A fully connected layer on the outer product of the maps with themselves: B-CNN.

    Lin, RoyChowdhury and Maji 2015 (arXiv 1504.07889), with both streams the same: the C×C product
    averaged over positions, signed square root, L2 norm. The embedding has C² numbers.
    """

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__(maps**2, num_classes)

    def embed(self, maps_BCHW: Tensor) -> Tensor:
        """The product, x / √(|x| + ε), to length 1; ε keeps the gradient at 0 finite."""
        maps_BCS = maps_BCHW.flatten(2)
        product_BD = (maps_BCS @ maps_BCS.transpose(1, 2)).flatten(1) / maps_BCS.shape[2]
        return F.normalize(product_BD * (product_BD.abs() + ROOT_EPSILON).rsqrt())


HEADS: MappingProxyType[str, Callable[[int, int], Head]] = MappingProxyType(
    {"mlp": MlpHead, "linear": LinearHead, "avgmax": AvgMaxHead, "bilinear": BilinearHead}
)
"""The heads by name; each is made of the number of maps and of classes."""


def build_head(name: str, maps: int, num_classes: int) -> Head:
    """The head of that name, taking B×C×H×W maps to B×D embeddings and B×K logits."""
    return HEADS[name](maps, num_classes)
