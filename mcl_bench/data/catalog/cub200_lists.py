"""The lists of CUB-200-2011, read and held against one another.

    images.txt              image path                   below images/, in the folder of its class
    classes.txt             class name
    image_class_labels.txt  image class                  both count from 1
    train_test_split.txt    image 1|0                    1: a training image, 0: a test image
    bounding_boxes.txt      image x y width height       pixels; may be absent
    parts/parts.txt         part name                    may be absent
    parts/part_locs.txt     image part x y 1|0           pixels; 1: visible; may be absent

Legend: P parts.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from mcl_bench.records import DataError

REQUIRED = ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt")
"""The lists without which there is no data set."""

_WHOLE = "mend the line, or unpack the archive again"
_FROM_1 = "labels count from 1, as classes.txt does; mend the line, or unpack the archive again"

Floats = npt.NDArray[np.float64]
KeyT = TypeVar("KeyT", int, tuple[int, int])
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """One image as the lists have it.

    `path` is relative to the root, `line` the one of images.txt. In pixels of the file: `box` is
    x, y, width, height, `parts_P3` x, y and visible (1 or 0); each is absent with its list.
    """

    path: str
    line: int
    label: int
    trained: bool
    box: tuple[float, ...] | None
    parts_P3: Floats | None


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What all lists tell: the classes that have images, in their order, and images by path.

    `num_parts` is absent where one of the lists of parts is, `boxes` tells if boxes are there.
    """

    classes: tuple[str, ...]
    images: tuple[ListedImage, ...]
    boxes: bool
    num_parts: int | None


@dataclass(frozen=True, kw_only=True)
class _List(Generic[KeyT, ValueT]):
    """The rows of one file by their key: an image, a class, a part, or an image and a part."""

    path: Path
    rows: Mapping[KeyT, ValueT]
    lines: Mapping[KeyT, int]

    def fault(self, key: KeyT, words: str, remedy: str) -> DataError:
        """What is wrong with a row, told with its place."""
        return _fault(self.path, self.lines[key], words, remedy)


def read_lists(root: Path) -> Lists:
    """The lists of a tree in the official layout; counts other than the official ones are fine.

    Raises DataError, naming file and line, on a row of another form, a key twice, an image that is
    not in every list, a class or part that is not known, an image in another class's folder, and
    on a split without training images of every class or without test images.
    """
    images = _read(root / "images.txt", "image path", _worded)
    names = _read(root / "classes.txt", "class name", _worded)
    labels = _read(root / "image_class_labels.txt", "image class", _numbered)
    split = _read(root / "train_test_split.txt", "image 1|0", _flagged)
    boxes = _if_there(root / "bounding_boxes.txt", "image x y width height", _boxed)
    _check_names(names)
    _check_paths(images)
    _check_same_images(images, labels)
    _check_same_images(images, split)
    if boxes is not None:
        _check_same_images(images, boxes)
    _check_labels(images, labels, names)
    _check_split(labels, split, names)
    parts = _parts(root, images)
    used = set(labels.rows.values())
    order = {number: label for label, number in enumerate(n for n in names.rows if n in used)}
    listed = [
        ListedImage(
            path=f"images/{path}",
            line=images.lines[number],
            label=order[labels.rows[number]],
            trained=split.rows[number],
            box=None if boxes is None else boxes.rows[number],
            parts_P3=None if parts is None else parts[number],
        )
        for number, path in images.rows.items()
    ]
    return Lists(
        classes=tuple(names.rows[number] for number in order),
        images=tuple(sorted(listed, key=lambda image: image.path)),
        boxes=boxes is not None,
        num_parts=None if parts is None else len(next(iter(parts.values()))),
    )


def _read(
    path: Path, form: str, parse: Callable[[str], tuple[KeyT, ValueT]]
) -> _List[KeyT, ValueT]:
    """The rows of one file, in its order; `form` tells people what a row is."""
    try:
        content = path.read_bytes()
        texts = content.decode().split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _fault(path, line, "this line is no text in UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", key="data.root") from error
    rows: dict[KeyT, ValueT] = {}
    lines: dict[KeyT, int] = {}
    for line, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            key, value = parse(text.strip())
        except ValueError as error:
            raise _fault(path, line, f"a row must be `{form}`, got {text.strip()!r}") from error
        if key in rows:
            words = " ".join(form.split()[: 1 if isinstance(key, int) else 2])
            raise _fault(
                path, line, f"{words} {_key(key)} is here twice, first in line {lines[key]}"
            )
        rows[key], lines[key] = value, line
    if not rows:
        raise _fault(path, 1, f"must have rows `{form}`, got none")
    return _List(path=path, rows=rows, lines=lines)


def _if_there(
    path: Path, form: str, parse: Callable[[str], tuple[KeyT, ValueT]]
) -> _List[KeyT, ValueT] | None:
    return _read(path, form, parse) if path.exists() else None


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _pixels(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _worded(text: str) -> tuple[int, str]:
    number, words = text.split(maxsplit=1)
    return _natural(number), words


def _numbered(text: str) -> tuple[int, int]:
    number, other = text.split()
    return _natural(number), _natural(other)


def _flagged(text: str) -> tuple[int, bool]:
    number, flag = text.split()
    return _natural(number), _flag(flag)


def _boxed(text: str) -> tuple[int, tuple[float, ...]]:
    number, *fields = text.split()
    x, y, width, height = map(_pixels, fields)
    if width <= 0 or height <= 0:
        raise ValueError(text)
    return _natural(number), (x, y, width, height)


def _located(text: str) -> tuple[tuple[int, int], tuple[float, ...]]:
    image, part, x, y, visible = text.split()
    return (_natural(image), _natural(part)), (_pixels(x), _pixels(y), float(_flag(visible)))


def _check_names(names: _List[int, str]) -> None:
    """A class's name is its folder's: no two alike, and no path in it."""
    first: dict[str, int] = {}
    for number, name in names.rows.items():
        if name in (".", "..") or "/" in name:
            raise names.fault(number, f"{name!r} is no name of a folder", _WHOLE)
        if name in first:
            raise names.fault(number, f"{name} is also the name of class {first[name]}", _WHOLE)
        first[name] = number


def _check_paths(images: _List[int, str]) -> None:
    first: dict[str, int] = {}
    for number, path in images.rows.items():
        steps = path.split("/")
        if len(steps) < 2 or not {"", ".", ".."}.isdisjoint(steps):
            raise images.fault(
                number,
                f"image {number} must be a path like 001.Name_of_class/photo.jpg below images/, "
                f"got {path!r}",
                _WHOLE,
            )
        if path in first:
            raise images.fault(
                number,
                f"{path} is image {first[path]} and image {number}",
                "take one of them away, in every list",
            )
        first[path] = number


def _check_same_images(images: _List[int, str], other: _List[int, ValueT]) -> None:
    for number in other.rows:
        if number not in images.rows:
            raise other.fault(
                number,
                f"image {number} is not in {images.path.name}",
                f"take the line away, or add the image to {images.path.name}",
            )
    for number, path in images.rows.items():
        if number not in other.rows:
            raise images.fault(
                number,
                f"image {number} ({path}) is not in {other.path.name}",
                f"add it to {other.path.name}, or take it away from every list",
            )


def _check_labels(images: _List[int, str], labels: _List[int, int], names: _List[int, str]) -> None:
    """Each image lies in its class's folder, which labels that are off by one don't tell."""
    for number, label in labels.rows.items():
        if label not in names.rows:
            raise labels.fault(
                number,
                f"image {number} has class {label}, which is not in {names.path.name} "
                f"({min(names.rows)} to {max(names.rows)})",
                _FROM_1,
            )
        folder, name = images.rows[number].split("/")[0], names.rows[label]
        if folder != name:
            raise labels.fault(
                number,
                f"image {number} has class {label} ({name}), but it lies in images/{folder}/",
                _FROM_1,
            )


def _check_split(labels: _List[int, int], split: _List[int, bool], names: _List[int, str]) -> None:
    learnt = {labels.rows[number] for number, trained in split.rows.items() if trained}
    for number, label in labels.rows.items():
        if label not in learnt:
            raise split.fault(
                number,
                f"class {names.rows[label]} has no training image (1)",
                "mark some of its images with 1, or take them all away from every list",
            )
    if all(split.rows.values()):
        raise split.fault(
            next(iter(split.rows)), "no image is a test image (0), all are marked with 1", _WHOLE
        )


def _parts(root: Path, images: _List[int, str]) -> dict[int, Floats] | None:
    """x, y and visible of every part (P×3, in the order of parts.txt) by image."""
    names = _if_there(root / "parts" / "parts.txt", "part name", _worded)
    places = _if_there(root / "parts" / "part_locs.txt", "image part x y 1|0", _located)
    if names is None or places is None:
        return None
    for key in places.rows:
        for number, known in zip(key, (images, names), strict=True):
            if number not in known.rows:
                kind = "image" if known is images else "part"
                raise places.fault(
                    key, f"{kind} {number} is not in {known.path.name}", "take the line away"
                )
    for number in images.rows:
        for part, name in names.rows.items():
            if (number, part) not in places.rows:
                raise images.fault(
                    number,
                    f"part {part} ({name}) of image {number} is not in {places.path.name}",
                    f"add it there, invisible if need be: {number} {part} 0.0 0.0 0",
                )
    return {
        number: np.array([places.rows[number, part] for part in names.rows])
        for number in images.rows
    }


def _fault(path: Path, line: int, words: str, remedy: str | None = None) -> DataError:
    return DataError(f"{path}:{line}: {words}", key="data.root", remedy=remedy or _WHOLE)


def _key(key: int | tuple[int, int]) -> str:
    return str(key) if isinstance(key, int) else f"{key[0]} {key[1]}"
