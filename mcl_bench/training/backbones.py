"""Backbones: from images to the maps of a network's last convolution, after its ReLU."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from torch import nn


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


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """What the registry knows of one backbone.

    `build` makes it without loaded weights; it takes B×3×c×c images to B×`maps`×H×W. Images are
    normalised as `from_scratch` says, or as `with_weights` says where weights are loaded.
    `published` tells whether torchvision publishes weights under the backbone's name, and
    `classifier` how the keys of a state dict begin that belong to the classifier left out here.
    """

    build: Callable[[], nn.Module]
    maps: int
    from_scratch: Normalisation
    with_weights: Normalisation
    published: bool = False
    classifier: str | None = None


def conv_bn_relu(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """A padded convolution without bias, batch normalisation and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def convnet() -> nn.Sequential:
    """A net for CPUs: 12, 24 and 48 channels at stride 2 and 48 at stride 1, all 3×3.

    It has 48 maps of an eighth of the image's side (8×8 at 64 pixels).
    """
    return nn.Sequential(
        conv_bn_relu(3, 12, kernel=3, stride=2),
        conv_bn_relu(12, 24, kernel=3, stride=2),
        conv_bn_relu(24, 48, kernel=3, stride=2),
        conv_bn_relu(48, 48, kernel=3),
    )


def resnet(name: str) -> nn.Sequential:
    """A ResNet of torchvision's up to its last ReLU: maps of a 32nd of the image's side.

    Its parameters have torchvision's names, and so have those of `vgg_bn`.
    """
    from torchvision.models import get_model

    # Its classifier is thrown away, and with one class it is made in no time.
    parts = get_model(name, num_classes=1).named_children()
    kept = ((part, module) for part, module in parts if part not in ("avgpool", "fc"))
    return nn.Sequential(OrderedDict(kept))


def vgg_bn(configuration: str) -> nn.Sequential:
    """A VGG with batch normalisation of torchvision's, up to the ReLU before its last max pool.

    Its 512 maps have a 16th of the image's side. `configuration` is torchvision's letter for the
    depth. The start is torchvision's too; the classifier of 120 million weights is never made.
    """
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs[configuration][:-1], batch_norm=True)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None, "torchvision's VGG has biases"
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(features=features))


RESNETS = MappingProxyType(
    {
        "resnet18": 512,
        "resnet34": 512,
        "resnet50": 2048,
        "resnet101": 2048,
        "resnet152": 2048,
        "resnext50_32x4d": 2048,
        "resnext101_32x8d": 2048,
        "resnext101_64x4d": 2048,
        "wide_resnet50_2": 2048,
        "wide_resnet101_2": 2048,
    }
)
"""torchvision's ResNets and their maps."""

VGG_BNS = MappingProxyType({"vgg11_bn": "A", "vgg13_bn": "B", "vgg16_bn": "D", "vgg19_bn": "E"})
"""torchvision's VGGs with batch normalisation and the letters of their depths."""


def _torchvision(build: Callable[[], nn.Module], *, maps: int, classifier: str) -> Backbone:
    return Backbone(
        build=build,
        maps=maps,
        from_scratch=OF_SCRIPTS,
        with_weights=OF_IMAGENET,
        published=True,
        classifier=classifier,
    )


BACKBONES = MappingProxyType(
    {
        "convnet": Backbone(
            build=convnet, maps=48, from_scratch=OF_CONVNET, with_weights=OF_CONVNET
        ),
        **{
            name: _torchvision(partial(resnet, name), maps=maps, classifier="fc.")
            for name, maps in RESNETS.items()
        },
        **{
            name: _torchvision(partial(vgg_bn, letter), maps=512, classifier="classifier.")
            for name, letter in VGG_BNS.items()
        },
    }
)
"""The backbones by name."""
