"""timm's models as backbones: `timm/NAME`, with the extra `timm`."""

# B batch, N tokens, D width of a token, C maps, H×W positions

from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mcl_bench.records import DataError, UserError
from mcl_bench.training.backbones.backbone import OF_SCRIPTS, Backbone, Normalisation
from mcl_bench.training.backbones.measure import measure, shape_text

PREFIX = "timm/"
EXTRA = "pip install 'mcl-bench[timm]'"
FILES = ("model.safetensors", "pytorch_model.bin")

ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "strict_img_size": False},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)
"""How timm is asked for images of any size; a model takes the first that it knows."""


class TimmMaps(nn.Module):
    """What a timm model's `forward_features` gives, as B×C×H×W maps.

    Maps with channels last are turned; tokens, without class and register tokens, are laid out as
    the square grid of their patches. Raises ValueError where there is no such grid.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The maps."""
        features = self.net.forward_features(images_B3HW)
        if not isinstance(features, Tensor):
            raise ValueError(f"it gives {shape_text(features)}, not maps or tokens")
        if features.dim() == 4:
            return features.permute(0, 3, 1, 2) if self._channels_last(features) else features
        first = getattr(self.net, "num_prefix_tokens", 0)
        side = round((features.shape[1] - first) ** 0.5) if features.dim() == 3 else 0
        if side == 0 or side**2 != features.shape[1] - first:
            raise ValueError(f"it gives {shape_text(features)}, which is no square grid of tokens")
        maps_BDN = features[:, first:].transpose(1, 2)
        return maps_BDN.reshape(*maps_BDN.shape[:2], side, side)

    def _channels_last(self, features: Tensor) -> bool:
        if getattr(self.net, "output_fmt", None) == "NHWC":
            return True
        width = self.net.num_features
        return bool(features.shape[1] != width and features.shape[3] == width)


@cache
def timm_backbone(name: str) -> Backbone:
    """The backbone that `timm/NAME` names, measured on the meta device.

    Raises UserError where timm is not installed, has no such model, or the model has no maps.
    """
    timm = _timm()
    model = name.removeprefix(PREFIX)
    if not timm.is_model(model):
        nearest = get_close_matches(model, timm.list_models(), n=1, cutoff=0.0)
        raise UserError(
            f"model.backbone {name!r} is not known to timm {timm.__version__}; the nearest is "
            f"{PREFIX + nearest[0]!r}",
            key="model.backbone",
        )
    config = timm.get_pretrained_cfg(model)
    if config is None:
        raise UserError(f"model.backbone {name!r} has no such weights", key="model.backbone")
    options = _options(model)
    try:
        found = measure(partial(_build, model, options, ()), config.input_size[-1])
    except Exception as error:  # another's network can raise anything
        raise UserError(
            f"model.backbone {name!r} has no maps to work on: {_line(error)}",
            key="model.backbone",
            remedy="take a network with a spatial map, such as a CNN, Swin or ViT",
        ) from error
    unused = tuple(path.removeprefix("net.") for path in found.unused)
    own = config.classifier or ()
    classifiers = (own,) if isinstance(own, str) else tuple(own)
    return Backbone(
        build=partial(_build, model, options, unused),
        maps=found.maps,
        signed=found.signed,
        from_scratch=OF_SCRIPTS,
        with_weights=Normalisation(mean=config.mean, std=config.std),
        publisher="timm",
        left_out=tuple(f"{path}." for path in (*unused, *classifiers)),
        prefix="net.",
    )


def timm_repository(name: str) -> str | None:
    """Where a model's default weights were published on the Hugging Face hub; None: nowhere."""
    config = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    repository: str | None = None if config is None else config.hf_hub_id
    return repository


def cached_weights(name: str) -> Path:
    """The file of a model's published default weights in the Hugging Face cache of this machine.

    Raises DataError where it is absent.
    """
    repository = timm_repository(name)
    assert repository is not None, "weights that were never published are refused before"
    from huggingface_hub import try_to_load_from_cache

    for file in FILES:
        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return Path(path)
    raise DataError(
        f"model.weights imagenet of {name} needs {FILES[0]} of {repository}, which is not in the "
        "Hugging Face cache",
        key="model.weights",
        remedy=f"on every machine that trains: hf download {repository} {FILES[0]}\n"
        "  or set model.weights to a .safetensors or .pth file, or to none",
    )


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UserError(
            "model.backbone timm/NAME needs the package timm, which is not installed",
            key="model.backbone",
            remedy=f"on every machine that trains: {EXTRA}",
        ) from error
    return timm


def _options(model: str) -> dict[str, Any]:
    import torch

    for options in ANY_SIZE[:-1]:
        try:
            with torch.device("meta"):
                _timm().create_model(model, pretrained=False, num_classes=0, **options)
        except TypeError:
            continue
        except Exception:  # noqa: BLE001 - measuring it tells what is wrong
            break
        return options
    return ANY_SIZE[-1]


def _build(model: str, options: dict[str, Any], unused: tuple[str, ...]) -> TimmMaps:
    net = _timm().create_model(model, pretrained=False, num_classes=0, **options)
    for path in unused:
        net.set_submodule(path, nn.Identity())
    return TimmMaps(net)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
