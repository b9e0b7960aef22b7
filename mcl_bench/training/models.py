"""Networks: a backbone from the registry, the channels that make it ξ maps per class, and a head.

A network knows nothing of the loss it is trained with, so that all arms of a cell's data and model
share parameter names and, for one seed, bit-equal initial weights.
"""

# B batch, K classes, C maps, H×W positions

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from mcl_bench.losses import Outputs, channel_groups
from mcl_bench.spec import ModelSpec
from mcl_bench.training.backbones import conv_bn_relu, find_backbone, freeze
from mcl_bench.training.heads import build_head
from mcl_bench.training.weights import load_weights


class Network(nn.Module):
    """A backbone, its channels and a head.

    `groups` says how many of the maps belong to each class, in order; `signed` whether they can be
    below zero. `loaded` names the parameters that came with loaded weights: none where
    `model.weights` is `none`. The first `model.freeze` stages of the backbone do not learn, and
    their batch normalisation keeps its statistics.
    """

    def __init__(self, spec: ModelSpec, num_classes: int) -> None:
        super().__init__()
        backbone = find_backbone(spec.backbone)
        self.groups = map_groups(spec, num_classes)
        self.loaded: frozenset[str] = frozenset()
        num_maps = sum(self.groups)
        adapted = spec.channels == "adapter"
        self.signed = backbone.signed and not adapted
        self.backbone = backbone.make(backbone.maps if adapted else num_maps)
        self._frozen = freeze(self.backbone, spec.freeze)
        self.channels: nn.Module = nn.Identity()
        if adapted:
            self.channels = conv_bn_relu(backbone.maps, num_maps, kernel=1)
        self.head = build_head(spec.head, num_maps, num_classes)

    def train(self, mode: bool = True) -> Self:
        """As every module's, but frozen stages stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, images_B3HW: Tensor) -> Outputs:
        """The logits, and the maps and the embedding that they were made from."""
        images_B3HW = images_B3HW.contiguous(memory_format=torch.channels_last)
        maps_BCHW = self.channels(self.backbone(images_B3HW))
        embedding_BD = self.head.embed(maps_BCHW)
        return Outputs(
            logits=self.head.classify(embedding_BD), maps=maps_BCHW, embedding=embedding_BD
        )


def map_groups(spec: ModelSpec, num_classes: int) -> tuple[int, ...]:
    """The maps of each class, in order: ξ for each, or with `native` the backbone's own shared out.

    Raises ValueError where the backbone has fewer maps than there are classes.
    """
    if spec.channels != "native":
        assert isinstance(spec.xi, int), "ξ is resolved"
        return (spec.xi,) * num_classes
    return tuple(channel_groups(num_classes, find_backbone(spec.backbone).maps))


def xi_text(groups: Sequence[int]) -> str:
    """ξ as the record writes it: `3`, or `10-11` where the classes' shares are uneven."""
    low, high = min(groups), max(groups)
    return str(low) if low == high else f"{low}-{high}"


def build_network(spec: ModelSpec, num_classes: int, *, seed: int) -> Network:
    """A network whose initial weights depend on the seed and on the weights it loads, only.

    It seeds torch's global generator with it. The weights are laid out channels-last, which is
    faster for small convolutions on CPUs and for all on GPUs. Raises what `load_weights` raises.
    """
    find_backbone(spec.backbone)  # measures it where need be, before the seed is set
    torch.manual_seed(seed)
    network = Network(spec, num_classes)
    if spec.weights != "none":
        loaded = load_weights(network.backbone, spec)
        network.loaded = frozenset(f"backbone.{name}" for name in loaded)
    return network.to(memory_format=torch.channels_last)
