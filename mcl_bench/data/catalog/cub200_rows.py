"""The rows of each list of CUB-200-2011: its form, and how it is read.

images.txt              image path                   below images/, in the folder of its class
classes.txt             class name
image_class_labels.txt  image class                  both count from 1
train_test_split.txt    image 1|0                    1: a training image, 0: a test image
bounding_boxes.txt      image x y width height       pixels; may be absent
parts/parts.txt         part name                    may be absent
parts/part_locs.txt     image part x y 1|0           pixels; 1: visible; may be absent
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mcl_bench.data.catalog.source import Fault, FaultKind, Report
from mcl_bench.data.catalog.text_lists import MEND, numbered_lines

KeyT = TypeVar("KeyT", int, tuple[int, int])
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, kw_only=True)
class Form(Generic[KeyT, ValueT]):
    """What one list looks like: its `name` relative to the root, and a row in words and in code.

    `kind` is what is wrong with an image whose row is no such row; `by_image` tells whether rows
    are about images (others: about classes or parts).
    """

    name: str
    row: str
    parse: Callable[[str], tuple[KeyT, ValueT]]
    kind: FaultKind
    by_image: bool = True


@dataclass(frozen=True, kw_only=True)
class Rows(Generic[KeyT, ValueT]):
    """The rows of one list by their key: an image, a class, a part, or an image and a part.

    `lost` are the first words of rows of another form (0: no number), which have been reported.
    """

    name: str
    rows: dict[KeyT, ValueT] = field(default_factory=dict)
    lines: dict[KeyT, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    def may_hold(self, number: int) -> bool:
        """Whether a row of another form may have been about this image, class or part."""
        return bool(self.lost & {0, number})

    def fault(
        self, key: KeyT, kind: FaultKind, words: str, *, file: str | None = None, remedy: str = ""
    ) -> Fault:
        """What is wrong with a row, or with the image `file` that it is about."""
        return Fault(
            kind=kind,
            file=file or self.name,
            detail=words,
            place=f"{self.name}:{self.lines[key]}",
            remedy=remedy or MEND,
        )


def read_rows(
    root: Path, form: Form[KeyT, ValueT], *, paths: Mapping[int, str], report: Report
) -> Rows[KeyT, ValueT] | None:
    """The rows of one list, in its order; None if it cannot be read or has none.

    `paths` are those of the images whose ids are known. Reported are rows of another form and
    keys that are there twice, of which the first counts.
    """
    found = Rows[KeyT, ValueT](name=form.name)

    def tell(kind: FaultKind, line: int, words: str, file: str | None = None) -> None:
        place = f"{form.name}:{line}"
        report(Fault(kind=kind, file=file or form.name, detail=words, place=place, remedy=MEND))

    try:
        content = (root / form.name).read_bytes()
    except OSError as error:
        detail = f"cannot be read: {error.strerror}"
        report(Fault(kind="corrupt", file=form.name, detail=detail, remedy=MEND))
        return None
    for line, text in numbered_lines(content, form.name, report=report):
        if not text:
            found.lost.add(0)
            continue
        try:
            key, value = form.parse(text)
        except ValueError:
            number = _first_number(text)
            file = paths.get(number) if form.by_image else None
            words = f"{'must have a row' if file else 'a row must be'} `{form.row}`, got {text!r}"
            tell(form.kind if file else "corrupt", line, words, file)
            found.lost.add(number)
            continue
        if key in found.rows:
            file = _concerned(form, key, value, paths)
            named = "" if file else f"{_key(form, key)} "
            words = f"{named}is here twice, first in line {found.lines[key]}"
            tell("duplicate", line, words, file)
            continue
        found.rows[key], found.lines[key] = value, line
    if not found.rows:
        if not found.lost:
            tell("empty", 1, f"must have rows `{form.row}`, got none")
        return None
    return found


def _concerned(
    form: Form[KeyT, ValueT], key: KeyT, value: ValueT, paths: Mapping[int, str]
) -> str | None:
    """The image that a row is about, relative to the root; None if it is about none known."""
    if form.kind == "path":
        return f"images/{value}"
    number = key if isinstance(key, int) else key[0]
    return paths.get(number) if form.by_image else None


def _first_number(text: str) -> int:
    """The number that a row starts with; 0 if it is none."""
    first = text.split(maxsplit=1)[0]
    return int(first) if first.isascii() and first.isdigit() else 0


def _key(form: Form[KeyT, ValueT], key: KeyT) -> str:
    words = form.row.split()
    return (
        f"{words[0]} {key}" if isinstance(key, int) else f"{words[0]} {key[0]} {words[1]} {key[1]}"
    )


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


IMAGES = Form(name="images.txt", row="image path", parse=_worded, kind="path")
CLASSES = Form(name="classes.txt", row="class name", parse=_worded, kind="corrupt", by_image=False)
LABELS = Form(name="image_class_labels.txt", row="image class", parse=_numbered, kind="label")
SPLIT = Form(name="train_test_split.txt", row="image 1|0", parse=_flagged, kind="split")
BOXES = Form(name="bounding_boxes.txt", row="image x y width height", parse=_boxed, kind="corrupt")
PARTS = Form(name="parts/parts.txt", row="part name", parse=_worded, kind="corrupt", by_image=False)
PLACES = Form(name="parts/part_locs.txt", row="image part x y 1|0", parse=_located, kind="corrupt")
