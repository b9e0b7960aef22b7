"""torchvision's classification models up to their last maps.

Parameters keep torchvision's names, so that published weights fit.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mcl_bench.training.backbones.attention import maxvit, vit
from mcl_bench.training.backbones.backbone import OF_IMAGENET, OF_SCRIPTS, Backbone, Widen
from mcl_bench.training.backbones.widening import widen_last_convolution, widen_layer4

NOT_MAPS = frozenset({"avgpool", "dropout", "flatten", "fc", "classifier", "head"})
"""torchvision's names for what stands after the maps."""


def cut(name: str, **options: Any) -> nn.Sequential:
    """A model of torchvision's whose children run one after the other, without its classifier."""
    from torchvision.models import get_model

    # Its classifier is thrown away, and with one class it is made in no time.
    parts = get_model(name, num_classes=1, **options).named_children()
    return nn.Sequential(OrderedDict((part, one) for part, one in parts if part not in NOT_MAPS))


def regnet(name: str) -> nn.Sequential:
    """A RegNet up to the ReLU of its last block."""
    with _CountingOnCpu():
        return cut(name)


class _CountingOnCpu(TorchFunctionMode):
    """New numbers lie on the CPU: a RegNet counts its widths with them, on the meta device too."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.arange, torch.tensor):
            given["device"] = "cpu"
        return func(*args, **given)


def cut_last_pool(name: str) -> nn.Sequential:
    """AlexNet's features up to the ReLU before its last max pool."""
    features = cut(name).get_submodule("features")
    assert isinstance(features, nn.Sequential), "AlexNet's features are a sequence"
    return nn.Sequential(OrderedDict(features=features[:-1]))


def with_relu(name: str) -> nn.Sequential:
    """A DenseNet's features and the ReLU that torchvision applies in its forward."""
    return nn.Sequential(OrderedDict([*cut(name).named_children(), ("relu", nn.ReLU())]))


def vgg(configuration: Sequence[int | str], *, batch_norm: bool) -> nn.Sequential:
    """A VGG up to its last ReLU, without the max pool that may follow.

    Its maps have a 16th of the image's side. The start is torchvision's; the classifier of 120
    million weights is never made.
    """
    from torchvision.models.vgg import make_layers

    features = make_layers(list(configuration), batch_norm=batch_norm)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None, "torchvision's VGG has biases"
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(features=features))


def torchvisions_vgg(letter: str, *, batch_norm: bool) -> nn.Sequential:
    """The VGG that has torchvision's letter for the depth; it has 512 maps."""
    from torchvision.models.vgg import cfgs

    return vgg(cfgs[letter][:-1], batch_norm=batch_norm)


def rename_densenet(name: str) -> str:
    """The name that a DenseNet's tensor has today (`norm1.weight`) of its old one (`norm.1`)."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|relu|conv))\.(\d\.)", r"\1\2", name)


def _backbone(
    build: Callable[[], nn.Module],
    maps: int,
    left_out: str | tuple[str, ...],
    *,
    signed: bool = False,
    widen: Widen | None = None,
    **more: Any,
) -> Backbone:
    prefixes = (left_out,) if isinstance(left_out, str) else left_out
    settings: dict[str, Any] = {
        "publisher": "torchvision",
        "from_scratch": OF_SCRIPTS,
        "with_weights": OF_IMAGENET,
    }
    return Backbone(
        build=build, maps=maps, signed=signed, left_out=prefixes, widen=widen, **(settings | more)
    )


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

VGGS = MappingProxyType({"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"})
"""torchvision's VGGs without batch normalisation and the letters of their depths."""

LAST_CONVOLUTION = MappingProxyType(
    {
        **dict.fromkeys(("mobilenet_v2", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0"), 1280),
        "mnasnet1_3": 1280,
        **dict.fromkeys(("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5"), 1024),
        "shufflenet_v2_x2_0": 2048,
    }
)
"""Nets that end in a 1×1 convolution, batch normalisation and ReLU or ReLU6, and their maps."""

SMOOTH = MappingProxyType(
    {
        "mobilenet_v3_small": 576,
        "mobilenet_v3_large": 960,
        **dict.fromkeys(("efficientnet_b0", "efficientnet_b1"), 1280),
        "efficientnet_b2": 1408,
        "efficientnet_b3": 1536,
        "efficientnet_b4": 1792,
        "efficientnet_b5": 2048,
        "efficientnet_b6": 2304,
        "efficientnet_b7": 2560,
        **dict.fromkeys(("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"), 1280),
    }
)
"""The same with SiLU or Hardswish at the end, whose maps can be below zero, and their maps."""

RESIDUAL = MappingProxyType(
    {
        **dict.fromkeys(("convnext_tiny", "convnext_small"), 768),
        "convnext_base": 1024,
        "convnext_large": 1536,
    }
)
"""Nets that end in a sum with no activation after it, and their maps."""

REGNETS = MappingProxyType(
    {
        "regnet_x_400mf": 400,
        "regnet_x_800mf": 672,
        "regnet_x_1_6gf": 912,
        "regnet_x_3_2gf": 1008,
        "regnet_x_8gf": 1920,
        "regnet_x_16gf": 2048,
        "regnet_x_32gf": 2520,
        "regnet_y_400mf": 440,
        "regnet_y_800mf": 784,
        "regnet_y_1_6gf": 888,
        "regnet_y_3_2gf": 1512,
        "regnet_y_8gf": 2016,
        "regnet_y_16gf": 3024,
        "regnet_y_32gf": 3712,
        "regnet_y_128gf": 7392,
    }
)
"""torchvision's RegNets and their maps."""

DENSENETS = MappingProxyType(
    {"densenet121": 1024, "densenet161": 2208, "densenet169": 1664, "densenet201": 1920}
)
"""torchvision's DenseNets and their maps."""

SWINS = MappingProxyType(
    {
        **dict.fromkeys(("swin_t", "swin_s", "swin_v2_t", "swin_v2_s"), 768),
        **dict.fromkeys(("swin_b", "swin_v2_b"), 1024),
    }
)
"""torchvision's Swin transformers and their maps."""

VITS = MappingProxyType(
    {"vit_b_16": 768, "vit_b_32": 768, "vit_l_16": 1024, "vit_l_32": 1024, "vit_h_14": 1280}
)
"""torchvision's vision transformers and their maps."""


def _convolutional() -> dict[str, Backbone]:
    last = widen_last_convolution
    entries = {
        "alexnet": _backbone(partial(cut_last_pool, "alexnet"), 256, "classifier.", widen=last)
    }
    for name, letter in VGGS.items():
        for tail, norm in (("", False), ("_bn", True)):
            build = partial(torchvisions_vgg, letter, batch_norm=norm)
            entries[name + tail] = _backbone(build, 512, "classifier.", widen=last)
    for name, maps in RESNETS.items():
        entries[name] = _backbone(partial(cut, name), maps, "fc.", widen=widen_layer4)
    for name, maps in LAST_CONVOLUTION.items():
        left_out = "fc." if name.startswith("shufflenet") else "classifier."
        entries[name] = _backbone(partial(cut, name), maps, left_out, widen=last)
    for name, maps in SMOOTH.items():
        # This one alone was trained with pixels put to -1..1.
        seen = OF_SCRIPTS if name == "efficientnet_v2_l" else OF_IMAGENET
        entries[name] = _backbone(
            partial(cut, name), maps, "classifier.", signed=True, widen=last, with_weights=seen
        )
    for name, maps in RESIDUAL.items():
        entries[name] = _backbone(partial(cut, name), maps, "classifier.", signed=True)
    for name, maps in REGNETS.items():
        entries[name] = _backbone(partial(regnet, name), maps, "fc.")
    for name, maps in DENSENETS.items():
        entries[name] = _backbone(
            partial(with_relu, name), maps, "classifier.", rename=rename_densenet
        )
    for name in ("squeezenet1_0", "squeezenet1_1"):
        entries[name] = _backbone(partial(cut, name), 512, "classifier.")
    return entries


def _inceptions() -> dict[str, Backbone]:
    """Inception nets: with published weights torchvision puts pixels to mean 0.5 and std 0.5."""
    return {
        name: _backbone(
            partial(cut, name, aux_logits=False, init_weights=True),
            maps,
            ("fc.", "aux1.", "aux2.", "AuxLogits."),
            with_weights=OF_SCRIPTS,
        )
        for name, maps in (("googlenet", 1024), ("inception_v3", 2048))
    }


def _transformers() -> dict[str, Backbone]:
    return {
        **{
            name: _backbone(partial(cut, name), maps, "head.", signed=True)
            for name, maps in SWINS.items()
        },
        **{
            name: _backbone(partial(vit, name), maps, "heads.", signed=True)
            for name, maps in VITS.items()
        },
        "maxvit_t": _backbone(partial(maxvit, "maxvit_t"), 512, "classifier.", signed=True),
    }


TORCHVISION = MappingProxyType({**_convolutional(), **_inceptions(), **_transformers()})
"""torchvision's backbones by name."""
