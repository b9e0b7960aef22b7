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
from mcl_bench.training.backbones import BACKBONES, Normalisation

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
    backbone = BACKBONES[model.backbone]
    return backbone.from_scratch if model.weights == "none" else backbone.with_weights


def check_weights(model: ModelSpec) -> None:
    """Refuse weights that cannot be loaded on this machine; those of `none` always can.

    A published file is known by its SHA-256; any other is read and held against the backbone.
    Raises UserError for weights that the backbone does not have or that do not fit it, DataError
    for a file that is absent or damaged.
    """
    file = find_weights(model)
    if file is not None and file.url is None:
        with torch.device("meta"):
            backbone = BACKBONES[model.backbone].build()
        _fitting(_read(file.path), backbone, model)


def weights_sha256(model: ModelSpec) -> str | None:
    """The SHA-256 of the file of weights (64 hex digits), None for `none`.

    A file is read again only if its size or time has changed. Raises as `check_weights`.
    """
    file = find_weights(model)
    return None if file is None else _sha256(file.path)


def load_weights(backbone: nn.Module, model: ModelSpec) -> None:
    """Put the weights into the backbone; a classifier's are left out. Raises as `check_weights`."""
    file = find_weights(model)
    assert file is not None, "there are weights to load"
    state = _fitting(_read(file.path), backbone, model)
    # BatchNorm's count of batches, which old files lack, plays no part with a fixed momentum.
    backbone.load_state_dict(state, strict=False)


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
    if not file.path.is_file():
        raise DataError(
            f"model.weights {model.weights} of {model.backbone} needs the file {file.path}, which "
            "does not exist",
            key=KEY,
            remedy=_fetching(file),
        )
    _check_hash(file)
    return file


def published_file(model: ModelSpec) -> WeightsFile:
    """Where torchvision keeps the file of published weights, and its address.

    Raises UserError for a backbone that has none of that name.
    """
    known: Mapping[str, str] = {}
    if BACKBONES[model.backbone].published:
        from torchvision.models import get_model_weights

        members = get_model_weights(model.backbone).__members__
        known = {word: members[name].url for word, name in MEMBERS.items() if name in members}
    url = known.get(str(model.weights))
    if url is None:
        ways = ["none", *known, "a .safetensors or .pth file"]
        raise UserError(
            f"model.weights {model.weights} is not published for {model.backbone}",
            key=KEY,
            remedy=f"write one of {', '.join(ways)}",
        )
    name = PurePosixPath(urlparse(url).path).name
    return WeightsFile(path=Path(torch.hub.get_dir()) / "checkpoints" / name, url=url)


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


def _fitting(state: State, backbone: nn.Module, model: ModelSpec) -> State:
    """The tensors of `state` without the classifier's. Raises UserError where they do not fit."""
    classifier = BACKBONES[model.backbone].classifier
    given = {
        name: value
        for name, value in state.items()
        if classifier is None or not name.startswith(classifier)
    }
    wanted = backbone.state_dict()
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
    told = [f"{verb} {_named(names)}" for verb, names in faults.items() if names]
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
