"""The nets of the paper that train from scratch: two of torchvision's, changed.

As the authors' code has them (PRIS-CV/Mutual-Channel-Loss).
"""

from functools import partial
from types import MappingProxyType

from torch import nn

from mcl_bench.training.backbones.backbone import OF_IMAGENET, OF_SCRIPTS, Backbone
from mcl_bench.training.backbones.of_torchvision import cut, vgg
from mcl_bench.training.backbones.widening import widen_last_convolution, widen_layer4

MC_MAPS = 600
"""The maps of the paper's nets that train from scratch: 3 for each of CUB-200's classes."""

VGG16_MC = (*(64, 64, "M", 128, 128, "M", 256, 256, 256, "M"), *(512, 512, 600, "M", 512, 512, 600))
"""The authors' VGG16: four pools, and 600 channels at the end of the last two blocks."""


def resnet18_mc() -> nn.Sequential:
    """The paper's ResNet-18: 600 channels in `layer4`, at stride 1 (14×14 maps at 224 pixels)."""
    whole = cut("resnet18")
    widen_layer4(whole, MC_MAPS, stride=1)
    return whole


OF_PAPER = MappingProxyType(
    {
        "vgg16_mc": Backbone(
            build=partial(vgg, VGG16_MC, batch_norm=True),
            maps=MC_MAPS,
            signed=False,
            from_scratch=OF_SCRIPTS,
            with_weights=OF_IMAGENET,
            left_out=("classifier.",),
            widen=widen_last_convolution,
        ),
        "resnet18_mc": Backbone(
            build=resnet18_mc,
            maps=MC_MAPS,
            signed=False,
            from_scratch=OF_SCRIPTS,
            with_weights=OF_IMAGENET,
            left_out=("fc.",),
            widen=partial(widen_layer4, stride=1),
        ),
    }
)
"""The paper's own nets by name."""
