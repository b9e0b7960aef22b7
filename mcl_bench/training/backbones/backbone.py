"""What is known of a backbone: how it is made, its maps, and how images are normalised for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

Publisher = Literal["torchvision", "timm", "efficientnet_lite"]
"""Who publishes weights under a backbone's name."""

Widen = Callable[[nn.Module, int], None]
"""Rebuilds the last stage of a backbone in place, so that it has so many maps."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """`(pixels - mean) / std` per colour channel, which suits pixels in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


OF_IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What torchvision's weights were trained with."""

OF_SCRIPTS = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""What the authors' scripts train from scratch with."""

OF_CONVNET = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

OF_LITE = Normalisation(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""`(x - 127) / 128` for pixels in 0..255, which EfficientNet-Lite's weights were trained with."""


def same_name(name: str) -> str:
    """The name itself."""
    return name


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """What is known of one backbone.

    `build` makes it without loaded weights; it takes B×3×c×c images to B×`maps`×H×W, which can be
    below zero where `signed`. Images are normalised as `from_scratch` says, or as `with_weights`
    says where weights are loaded.

    A state dict's tensor `x` is the backbone's `prefix` + `rename(x)`; tensors whose names begin
    with one of `left_out` belong to a classifier that is not made. `widen` is None where no last
    stage can be rebuilt. `source_sha256` is that of the file of a user's own backbone.
    """

    build: Callable[[], nn.Module]
    maps: int
    signed: bool
    from_scratch: Normalisation
    with_weights: Normalisation
    publisher: Publisher | None = None
    left_out: tuple[str, ...] = ()
    prefix: str = ""
    rename: Callable[[str], str] = same_name
    widen: Widen | None = None
    source_sha256: str | None = None

    def make(self, maps: int) -> nn.Module:
        """The backbone with so many maps; other than its own need `widen`."""
        made = self.build()
        if maps != self.maps:
            assert self.widen is not None, "the border refuses to widen where nothing can be"
            self.widen(made, maps)
        return made
