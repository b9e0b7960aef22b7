"""Backbones: from images to the maps of a network's last stage."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from mcl_bench.records import UserError
from mcl_bench.training.backbones.backbone import (
    OF_CONVNET,
    OF_IMAGENET,
    OF_LITE,
    OF_SCRIPTS,
    Backbone,
    Normalisation,
)
from mcl_bench.training.backbones.lite import LITE
from mcl_bench.training.backbones.measure import map_size
from mcl_bench.training.backbones.of_paper import OF_PAPER
from mcl_bench.training.backbones.of_timm import PREFIX, timm_backbone
from mcl_bench.training.backbones.of_torchvision import RESNETS, TORCHVISION
from mcl_bench.training.backbones.own import own_backbone
from mcl_bench.training.backbones.plain import conv_bn_relu, convnet
from mcl_bench.training.backbones.stages import freeze, stages_of
from mcl_bench.training.backbones.widening import widen_last_convolution

__all__ = [
    "BACKBONES",
    "OF_CONVNET",
    "OF_IMAGENET",
    "OF_LITE",
    "OF_SCRIPTS",
    "RESNETS",
    "Backbone",
    "Normalisation",
    "conv_bn_relu",
    "find_backbone",
    "freeze",
    "map_size",
    "stages_of",
]

BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "convnet": Backbone(
            build=convnet,
            maps=48,
            signed=False,
            from_scratch=OF_CONVNET,
            with_weights=OF_CONVNET,
            widen=widen_last_convolution,
        ),
        **OF_PAPER,
        "efficientnet_lite0": LITE,
        **TORCHVISION,
    }
)
"""The backbones by name; beside them there are timm's and a user's own."""


def find_backbone(name: str) -> Backbone:
    """The backbone that `model.backbone` names: one of `BACKBONES`, timm's, or a user's own.

    Raises UserError with the nearest name or with the reason.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(PREFIX):
        return timm_backbone(name)
    if ":" in name:
        return own_backbone(name)
    nearest = get_close_matches(name, BACKBONES, n=1, cutoff=0.0)
    raise UserError(
        f"model.backbone {name!r} is not known; the nearest is {nearest[0]!r}",
        key="model.backbone",
        remedy="`mcl-bench models` lists them; timm/NAME and package.module:function are others",
    )
