"""Defaults that depend on the data set, the backbone or the channels, resolved for each cell."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mcl_bench.spec.schema import DataSpec, ModelSpec, OptimizerSpec, ShortSide, TrialSpec

DEFAULT_XI = 3
HEAD_LR_SCALE = 10.0
WEIGHTS_FILES = (".safetensors", ".pth")


@dataclass(frozen=True)
class Sizes:
    """The pixels that images are resized to, and the pixels that the network sees."""

    resize: int
    crop: int


SIZES: Mapping[str, Sizes] = {
    "parts": Sizes(64, 64),
    "digits": Sizes(32, 32),
    "elpv": Sizes(224, 224),
    "folder": Sizes(256, 224),
    "cub200": Sizes(600, 448),
    "aircraft": Sizes(600, 448),
    "cars": Sizes(600, 448),
    "flowers102": Sizes(600, 448),
    "pets": Sizes(600, 448),
    "dogs": Sizes(600, 448),
}
"""Sizes by data set; fine-grained sets as the paper's fine-tuning scripts have them."""

VALIDATION = 0.1
OFFICIAL_VALIDATION = frozenset({"aircraft", "flowers102"})
"""The data sets that always have a validation split of their own."""

WITH_IMAGENET = re.compile(
    r"timm/.+|efficientnet_lite0|alexnet|googlenet|inception_v3"
    r"|(wide_)?resn(et|ext)\d+(_\d+(x\d+)?d?)?|vgg\d+(_bn)?|densenet\d+|squeezenet1_[01]"
    r"|mobilenet_v[23]\w*|mnasnet\w+|shufflenet_v2\w+|efficientnet_\w+|convnext_\w+"
    r"|regnet_(?!y_128gf)\w+|swin_\w+|vit_[bl]_\w+|maxvit_t"
)
"""Names of backbones with ImageNet weights: those of torchvision and timm, efficientnet_lite0.

Of torchvision's the largest RegNet and ViT have none that were trained on ImageNet alone.
"""


def resolve(spec: TrialSpec) -> TrialSpec:
    """The training with nothing left open, as sizes, validation, weights, ξ and the head's rate.

    A file of weights becomes an absolute path: workers and later runs start in other folders.
    """
    model = _model(spec.model)
    optimizer = _optimizer(spec.train.optimizer, str(model.weights))
    return spec.model_copy(
        update={
            "data": with_defaults(spec.data),
            "model": model,
            "train": spec.train.model_copy(update={"optimizer": optimizer}),
        }
    )


def with_defaults(data: DataSpec) -> DataSpec:
    """The data with both its sizes, and with what it is validated on.

    Where only one size is given, the other keeps their usual ratio.
    """
    usual = SIZES.get(data.name, SIZES["folder"])
    resize, crop = data.resize, data.crop
    if resize is None and crop is None:
        resize, crop = _drawn_size(data) or usual.resize, None
    if resize is None and crop is not None:
        resize = round(crop * usual.resize / usual.crop)
    if crop is None:
        side = resize.short if isinstance(resize, ShortSide) else resize
        crop = max(1, round((side or usual.resize) * usual.crop / usual.resize))
    return data.model_copy(
        update={"resize": resize, "crop": crop, "validation": validation_of(data)}
    )


def validation_of(data: DataSpec) -> float | Literal["official"]:
    """The share of the training images to validate on, or the official split where one is sure."""
    if data.validation is not None:
        return data.validation
    return "official" if data.name in OFFICIAL_VALIDATION else VALIDATION


def _drawn_size(data: DataSpec) -> int | None:
    """The size at which `parts` is asked to be drawn."""
    size: Any = data.options.get("size")
    drawn = data.name == "parts" and isinstance(size, int) and not isinstance(size, bool)
    return size if drawn and size >= 1 else None


def _model(model: ModelSpec) -> ModelSpec:
    imagenet = WITH_IMAGENET.fullmatch(model.backbone) is not None
    weights = model.weights or ("imagenet" if imagenet else "none")
    if weights.endswith(WEIGHTS_FILES):
        weights = os.path.abspath(os.path.expanduser(weights))
    xi = model.xi
    if xi is None:
        xi = "auto" if model.channels == "native" else DEFAULT_XI
    return model.model_copy(update={"weights": weights, "xi": xi})


def _optimizer(optimizer: OptimizerSpec, weights: str) -> OptimizerSpec:
    """Without loaded weights there is no head apart from the rest, so the scale is 1."""
    scale = 1.0 if weights == "none" else optimizer.head_lr_scale or HEAD_LR_SCALE
    return optimizer.model_copy(update={"head_lr_scale": scale})
