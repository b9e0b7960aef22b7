"""What there is to choose from: the backbones, with what each gives."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from mcl_bench.losses import channel_groups
from mcl_bench.records import UserError
from mcl_bench.spec import ModelSpec
from mcl_bench.training.backbones import BACKBONES, find_backbone, map_size, stages_of
from mcl_bench.training.heads import LARGEST_EMBEDDING
from mcl_bench.training.models import xi_text
from mcl_bench.training.weights import published_words


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """One backbone as an experiment file can name it.

    `xi` is what its own maps give each class (`10-11` where uneven), None where there are too few.
    `signed` tells whether maps can be below zero, `widen` whether its last stage can be rebuilt,
    `bilinear` the width of a bilinear head's embedding on its own maps, None where that is too
    large. `weights` are the words for published ones. `map_size` (height and width), `parameters`
    (without a head) and `stages` are None where they were not asked for, and `map_size` also where
    the crop does not suit the backbone; `fault` then tells why, or why the backbone is not there.
    """

    name: str
    maps: int
    signed: bool
    widen: bool
    xi: str | None
    bilinear: int | None
    weights: tuple[str, ...]
    map_size: tuple[int, int] | None = None
    parameters: int | None = None
    stages: int | None = None
    fault: str | None = None


def list_backbones(
    wanted: str | None, *, num_classes: int, crop: int, measured: bool
) -> Iterator[BackboneFacts]:
    """The backbones whose names have `wanted` in them (None: all named ones), in order.

    `wanted` may be a pattern with `*`, `timm/NAME`, or a user's `package.module:function`. With
    `measured` each is made on the meta device, which takes about half a second. Raises UserError,
    which names the nearest, where there is no such backbone.
    """
    names = [name for name in BACKBONES if wanted is None or _matches(name, wanted)]
    if not names:
        assert wanted is not None, "there are backbones"
        find_backbone(wanted)
        names = [wanted]
    for name in names:
        yield _facts(name, num_classes, crop, measured)


def _matches(name: str, wanted: str) -> bool:
    return fnmatchcase(name, wanted if "*" in wanted else f"*{wanted}*")


def _facts(name: str, num_classes: int, crop: int, measured: bool) -> BackboneFacts:
    backbone = find_backbone(name)
    enough = num_classes <= backbone.maps
    small = backbone.maps <= math.isqrt(LARGEST_EMBEDDING)
    parameters, stages, size, fault = None, None, None, None
    if measured:
        try:
            with torch.device("meta"):
                built = backbone.build()
            parameters = sum(value.numel() for value in built.parameters())
            stages = len(stages_of(built))
            size = map_size(backbone.build, crop)
        except UserError as error:
            fault = error.rule
        except Exception as error:  # noqa: BLE001 - another's network can raise anything
            fault = str(error).partition("\n")[0] or type(error).__name__
    return BackboneFacts(
        name=name,
        maps=backbone.maps,
        signed=backbone.signed,
        widen=backbone.widen is not None,
        xi=xi_text(channel_groups(num_classes, backbone.maps)) if enough else None,
        bilinear=backbone.maps**2 if small else None,
        weights=published_words(ModelSpec(backbone=name)),
        map_size=size,
        parameters=parameters,
        stages=stages,
        fault=fault,
    )
