"""The lists of CUB-200-2011, held against one another.

What one fault makes unclear is passed over from there on, so that it is told once.

Legend: P parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.cub200_rows import (
    BOXES,
    CLASSES,
    IMAGES,
    LABELS,
    PARTS,
    PLACES,
    SPLIT,
    Form,
    KeyT,
    Rows,
    ValueT,
    read_rows,
)
from mcl_bench.data.catalog.listed import Listed
from mcl_bench.data.catalog.source import FaultKind, Report
from mcl_bench.data.catalog.text_lists import MEND

REQUIRED = (IMAGES.name, CLASSES.name, LABELS.name, SPLIT.name)
"""The lists without which there is no data set."""

_FROM_1 = "labels count from 1, as classes.txt does; mend the line, or unpack the archive again"

Floats = npt.NDArray[np.float64]
Box = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What all lists tell: the classes that have images, in their order, and images by path.

    `named` are the paths of all images that have an id. In pixels of the file, by path: `boxes`
    are x, y, width, height, `parts` P×3 of x, y and visible (1 or 0), in the order of parts.txt;
    each is None where its list is absent. `num_parts` is the length of parts.txt.
    """

    classes: tuple[str, ...]
    images: tuple[Listed, ...]
    named: frozenset[str]
    boxes: Mapping[str, Box] | None
    parts: Mapping[str, Floats] | None
    num_parts: int | None


def read_lists(root: Path, report: Report) -> Lists | None:
    """The lists of a tree in the official layout; counts other than the official ones are fine.

    None where one of the required lists holds nothing. Reported, with file and line, are rows of
    another form, a key twice, an image that is not in every list, a class or part that is not
    known, an image in another class's folder, and a split without training images of a class or
    without test images. An image of which something is reported is left out.
    """
    check = _Check(root, report)
    names = check.read(CLASSES)
    labels = check.read(LABELS)
    split = check.read(SPLIT)
    if not check.images.rows or names is None or labels is None or split is None:
        return None
    check.names(names)
    check.same_images(labels, LABELS.kind)
    check.same_images(split, SPLIT.kind)
    boxes = check.read_if_there(BOXES)
    if boxes is not None:
        check.same_images(boxes, "missing")
    check.labels(labels, names)
    check.split(labels, split, names)
    parts = check.parts()
    used = {labels.rows[number] for number in check.sound}
    order = {number: label for label, number in enumerate(n for n in names.rows if n in used)}
    images = [
        Listed(
            path=path,
            label=order[labels.rows[number]],
            split="train" if split.rows[number] else "test",
            place=f"{IMAGES.name}:{check.images.lines[number]}",
        )
        for number, path in check.sound.items()
    ]
    paths = check.sound.items()
    return Lists(
        classes=tuple(names.rows[number] for number in order),
        images=tuple(sorted(images, key=lambda image: image.path)),
        named=frozenset(check.paths.values()),
        boxes=None if boxes is None else {path: boxes.rows[number] for number, path in paths},
        parts=None if parts is None else {path: parts[number] for number, path in paths},
        num_parts=check.num_parts,
    )


class _Check:
    """The images of one tree while its lists are read; `sound` loses those with a fault.

    `paths` and `sound` have paths relative to the root by the images' ids.
    """

    def __init__(self, root: Path, report: Report) -> None:
        self._root = root
        self._report = report
        self._strangers: set[int] = set()
        self._doubtful: set[int] = set()
        self.num_parts: int | None = None
        self.paths: dict[int, str] = {}
        self.images = self.read(IMAGES) or Rows[int, str](name=IMAGES.name)
        self.paths = {number: f"images/{path}" for number, path in self.images.rows.items()}
        self.sound = dict(self.paths)
        self._check_paths()

    def read(self, form: Form[KeyT, ValueT]) -> Rows[KeyT, ValueT] | None:
        """The rows of one list; None if it has none, which has been reported."""
        return read_rows(self._root, form, paths=self.paths, report=self._report)

    def read_if_there(self, form: Form[KeyT, ValueT]) -> Rows[KeyT, ValueT] | None:
        """The rows of a list that may be absent."""
        return self.read(form) if (self._root / form.name).exists() else None

    def names(self, names: Rows[int, str]) -> None:
        """A class's name is its folder's: no two alike, and no path in it."""
        first: dict[str, int] = {}
        for number, name in names.rows.items():
            if name in (".", "..") or "/" in name:
                fault = names.fault(number, "path", f"{name!r} is no name of a folder")
            elif name in first:
                words = f"{name} is also the name of class {first[name]}"
                fault = names.fault(number, "duplicate", words)
            else:
                first[name] = number
                continue
            self._doubtful.add(number)
            self._report(fault)

    def same_images(self, other: Rows[int, ValueT], kind: FaultKind) -> None:
        """A list has exactly the images that images.txt has; `kind`: what one without a row is."""
        for number in other.rows:
            self._known(number, number, other)
        for number in list(self.sound):
            if number in other.rows:
                continue
            if other.may_hold(number):
                del self.sound[number]
            else:
                self._tell(
                    self.images,
                    number,
                    kind,
                    f"is not in {other.name}",
                    f"add image {number} to {other.name}, or take it away from every list",
                )

    def labels(self, labels: Rows[int, int], names: Rows[int, str]) -> None:
        """Each image lies in its class's folder, which labels that are off by one don't tell."""
        for number, path in list(self.sound.items()):
            label, folder = labels.rows[number], path.split("/")[1]
            if label in self._doubtful or (label not in names.rows and names.may_hold(label)):
                del self.sound[number]
            elif label not in names.rows:
                known = f"{min(names.rows)} to {max(names.rows)}"
                words = f"has class {label}, which is not in {names.name} ({known})"
                self._tell(labels, number, "label", words, _FROM_1)
            elif folder != names.rows[label]:
                words = f"has class {label} ({names.rows[label]}), but it lies in images/{folder}/"
                self._tell(labels, number, "label", words, _FROM_1)

    def split(self, labels: Rows[int, int], split: Rows[int, bool], names: Rows[int, str]) -> None:
        """Each class has training images, and some image is a test image.

        Images that are left out count for their class here: their own fault is told.
        """
        learnt = {path.split("/")[1] for n, path in self.paths.items() if split.rows.get(n, True)}
        for number in self.sound:
            name = names.rows[labels.rows[number]]
            if name not in learnt:
                learnt.add(name)
                words = f"class {name} has no training image (1)"
                remedy = "mark some of its images with 1, or take them all away from every list"
                self._report(split.fault(number, "split", words, remedy=remedy))
        if all(split.rows.values()) and not split.lost:
            words = "no image is a test image (0), all are marked with 1"
            self._report(split.fault(next(iter(split.rows)), "split", words))

    def parts(self) -> dict[int, Floats] | None:
        """x, y and visible of every part (P×3, in the order of parts.txt) by image."""
        names, places = self.read_if_there(PARTS), self.read_if_there(PLACES)
        if names is None or places is None:
            return None
        self.num_parts = len(names.rows)
        unknown: set[int] = set()
        for image, part in places.rows:
            if not self._known((image, part), image, places):
                continue
            if part not in names.rows and part not in unknown and not names.may_hold(part):
                unknown.add(part)
                words = f"part {part} is not in parts.txt"
                self._report(
                    places.fault((image, part), "corrupt", words, remedy="take the line away")
                )
        for number in list(self.sound):
            self._check_places(number, names, places)
        return {
            number: np.array([places.rows[number, part] for part in names.rows])
            for number in self.sound
        }

    def _check_paths(self) -> None:
        first: dict[str, int] = {}
        for number, path in self.images.rows.items():
            steps = path.split("/")
            if len(steps) < 2 or not {"", ".", ".."}.isdisjoint(steps) or "\0" in path:
                words = f"must be a path like images/001.Name_of_class/photo.jpg, got {path!r}"
                self._tell(self.images, number, "path", words)
            elif path in first:
                words = f"is image {first[path]} and image {number}"
                remedy = "take one of them away, in every list"
                self._tell(self.images, number, "duplicate", words, remedy)
            else:
                first[path] = number

    def _check_places(
        self,
        number: int,
        names: Rows[int, str],
        places: Rows[tuple[int, int], tuple[float, ...]],
    ) -> None:
        """Whether every part of an image has a place; the first without one is told."""
        for part, name in names.rows.items():
            if (number, part) in places.rows:
                continue
            if places.may_hold(number):
                del self.sound[number]
            else:
                words = f"has no row for part {part} ({name}) in {places.name}"
                remedy = f"add it there, invisible if need be: {number} {part} 0.0 0.0 0"
                self._tell(self.images, number, "missing", words, remedy)
            return

    def _known(self, key: KeyT, number: int, other: Rows[KeyT, ValueT]) -> bool:
        """Whether images.txt has this image; it is told once if it hasn't."""
        if number in self.images.rows:
            return True
        if number not in self._strangers and not self.images.may_hold(number):
            self._strangers.add(number)
            words = f"image {number} is not in {self.images.name}"
            remedy = f"take the line away, or add the image to {self.images.name}"
            self._report(other.fault(key, "missing", words, remedy=remedy))
        return False

    def _tell(
        self,
        rows: Rows[int, ValueT],
        number: int,
        kind: FaultKind,
        words: str,
        remedy: str = MEND,
    ) -> None:
        """Report a fault of an image, told with its row in a list, and leave the image out."""
        self._report(rows.fault(number, kind, words, file=self.paths[number], remedy=remedy))
        self.sound.pop(number, None)
