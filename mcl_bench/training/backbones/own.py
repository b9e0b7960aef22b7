"""A user's own backbone, named by its import path `package.module:function`.

The function is called with no argument and returns an `nn.Module` that takes B×3×c×c images to
B×C×H×W maps. The module may have two attributes: `maps`, the number C, and `signed`, whether maps
can be below zero. Both are found on the meta device where they are absent. The module must be
importable on every machine that trains: installed, or on PYTHONPATH.
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from mcl_bench.records import UserError
from mcl_bench.training.backbones.backbone import OF_IMAGENET, OF_SCRIPTS, Backbone
from mcl_bench.training.backbones.measure import Measured, measure

CROPS = (224, 64, 448, 32)
"""The sizes of image at which a backbone is tried, in this order."""


@cache
def own_backbone(path: str) -> Backbone:
    """The backbone at an import path, with the SHA-256 of its module's file.

    Raises UserError with the reason where it cannot be imported or gives no maps.
    """
    function, source = _import(path)
    found = _measured(function, path)
    return Backbone(
        build=function,
        maps=found.maps,
        signed=found.signed,
        from_scratch=OF_SCRIPTS,
        with_weights=OF_IMAGENET,
        source_sha256=hashlib.sha256(source).hexdigest(),
    )


def _import(path: str) -> tuple[Callable[[], nn.Module], bytes]:
    module_name, _, name = path.partition(":")
    try:
        module = import_module(module_name)
        function: Any = getattr(module, name)
        file = inspect.getsourcefile(module)
        source = b"" if file is None else Path(file).read_bytes()
    except Exception as error:  # another's code can raise anything
        raise _refused(path, f"cannot be imported: {_told(error)}") from error
    if not callable(function):
        raise _refused(path, f"is a {type(function).__name__}, not a function")
    if not source:
        raise _refused(path, "has no source file, which tells one version of it from another")
    return function, source


def _measured(function: Callable[[], nn.Module], path: str) -> Measured:
    said: dict[str, Any] = {}

    def build() -> nn.Module:
        made = function()
        if not isinstance(made, nn.Module):
            raise TypeError(f"it returns a {type(made).__name__}, not an nn.Module")
        said.update(maps=getattr(made, "maps", None), signed=getattr(made, "signed", None))
        return made

    faults: list[Exception] = []
    for crop in CROPS:
        try:
            found = measure(build, crop)
        except Exception as error:  # noqa: BLE001 - told below, where no size works
            faults.append(error)
            continue
        if said["maps"] not in (None, found.maps):
            raise _refused(path, f"says that it has {said['maps']!r} maps, but gives {found.maps}")
        signed = found.signed if said["signed"] is None else bool(said["signed"])
        return Measured(maps=found.maps, signed=signed, unused=())
    raise _refused(path, f"gives no maps: {_told(faults[0])}") from faults[0]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _refused(path: str, reason: str) -> UserError:
    return UserError(
        f"model.backbone {path} {reason}",
        key="model.backbone",
        remedy="it must be package.module:function; called with no argument the function returns "
        "an nn.Module that takes B×3×c×c images to B×C×H×W maps",
    )
