"""What this version can do of all that the format knows; the rest is refused by name."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mcl_bench import __version__
from mcl_bench.records import UserError

SUPPORTED: Mapping[str, Sequence[Any]] = {
    "model.weights": ("none", "imagenet", "imagenet_v2", "*.safetensors", "*.pth"),
    "train.precision": ("fp32", "bf16"),
}
"""The keys of which this version takes some values only, and those values; * is any text."""


def unsupported(key: str, value: Any, *, name: str, place: str) -> UserError | None:
    """What to say if this version cannot do what a key asks; `name` is the file's key."""
    key = key.replace("loss.plus.", "loss.")
    if key not in SUPPORTED or any(_is_meant(value, one) for one in SUPPORTED[key]):
        return None
    words = [_word(one) for one in SUPPORTED[key]]
    return _unsupported(name, value, ", ".join(words), place, None)


def refuse_gpus(value: float | str, place: str) -> None:
    """Raise a UserError for a trial on more than one GPU."""
    if not isinstance(value, str) and value > 1:
        remedy = "a trial runs on one GPU at most; resources.max_concurrent runs several trials"
        raise _unsupported("resources.gpus", value, "auto, 0 to 1", place, remedy)


def refuse_remote_files(value: str | None, place: str) -> None:
    """Raise a UserError for files kept at a URI."""
    if value is not None and "://" in value:
        raise _unsupported("files", value, "null or the path of a folder", place, None)


def _is_meant(value: Any, supported: Any) -> bool:
    texts = isinstance(value, str) and isinstance(supported, str)
    return fnmatchcase(value, supported) if texts else bool(value == supported)


def _unsupported(
    name: str, value: Any, supported: str, place: str, remedy: str | None
) -> UserError:
    version = ".".join(__version__.split(".")[:2])
    rule = f"{name}: {_word(value)} is not supported by mcl_bench {version}"
    return UserError(f"{rule} (supported: {supported})", key=name, place=place, remedy=remedy)


def _word(value: Any) -> str:
    names = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)
