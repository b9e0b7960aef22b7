"""The lists of Stanford Cars, of either layout, read into one form."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcl_bench.data.catalog.image_files import image_files
from mcl_bench.data.catalog.listed import Listed
from mcl_bench.data.catalog.listed_checks import (
    class_label,
    keep_names,
    keep_once,
    tell_shift,
)
from mcl_bench.data.catalog.matlab import Value
from mcl_bench.data.catalog.matlab_lists import (
    Structure,
    element,
    integer,
    read_names,
    read_structures,
)
from mcl_bench.data.catalog.source import Fault, FaultKind, Report, Split

META = "devkit/cars_meta.mat"
TRAIN = "devkit/cars_train_annos.mat"
TEST = "cars_test_annos_withlabels.mat"
ANNOS = "cars_annos.mat"

_VARIABLE = "annotations"
_SIDES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_MEND = "get the list again"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels that count from 1, both ends included."""


@dataclass(frozen=True, kw_only=True)
class CarLists:
    """What the lists tell: classes with their places in the file of `names`, and images.

    `images` are those that are listed rightly, once each; `named` are all paths that a list has.
    `boxes` are by path, None where the lists have none. `folders` hold the images.
    """

    names: tuple[tuple[str, str], ...]
    names_file: str
    test_file: str
    images: tuple[Listed, ...]
    named: frozenset[str]
    boxes: Mapping[str, Box] | None
    folders: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Car:
    """One annotation as it stands: `split` and `box` are None where they are wrong or absent."""

    path: str
    number: int | None
    split: Split | None
    box: Box | None
    place: str


def required(root: Path, layout: str) -> tuple[str, ...]:
    """The lists of a layout; that of the test images may lie in `devkit/`."""
    if layout == "annos":
        return (ANNOS,)
    inner = f"devkit/{TEST}"
    return (META, TRAIN, inner if (root / inner).is_file() and not (root / TEST).exists() else TEST)


def read_devkit(root: Path, *, report: Report) -> CarLists | None:
    """The lists of the official layout; None, which is reported, where one cannot be used."""
    meta, train, test = required(root, "devkit")
    names = _names(root, meta, report)
    folders = {"train": _folder(root, "cars_train"), "test": _folder(root, "cars_test")}
    files: Mapping[Split, str] = {"train": train, "test": test}
    lists: list[tuple[str, tuple[_Car, ...]]] = []
    for split, file in files.items():
        found = read_structures(root, file, _VARIABLE, fields=("fname", "class"), report=report)
        if found is not None:
            place = element(file, _VARIABLE)
            cars = (
                _car(row, path=f"{folders[split]}/{row['fname']}", split=split, place=place(number))
                for number, row in enumerate(found, start=1)
            )
            lists.append((file, tuple(cars)))
    if names is None or len(lists) < len(files):
        return None
    folder_names = ("cars_train", "cars_test")
    return _lists(names, lists, names_file=meta, folders=folder_names, report=report)


def read_annos(root: Path, *, report: Report) -> CarLists | None:
    """The list of the later layout; None, which is reported, where it cannot be used."""
    fields = ("relative_im_path", "class", "test")
    found = read_structures(root, ANNOS, _VARIABLE, fields=fields, report=report)
    if found is None:
        return None
    names = _names(root, ANNOS, report)
    if names is None:
        return None
    place = element(ANNOS, _VARIABLE)
    splits: Mapping[int | None, Split] = {0: "train", 1: "test"}
    cars = tuple(
        _car(
            row,
            path=str(row["relative_im_path"]),
            split=splits.get(integer(row["test"])),
            place=place(number),
        )
        for number, row in enumerate(found, start=1)
    )
    return _lists(names, [(ANNOS, cars)], names_file=ANNOS, folders=("car_ims",), report=report)


def _folder(root: Path, name: str) -> str:
    """The folder of images, or the one of its name in it where a mirror has nested them."""
    nested = root / name / name
    if not nested.is_dir():
        return name
    outside = (path for path in image_files(root / name) if not path.is_relative_to(nested))
    return name if any(outside) else f"{name}/{name}"


def _names(root: Path, file: str, report: Report) -> tuple[tuple[str, str], ...] | None:
    """The names of the classes, with their places; None, which is reported, if two are alike."""
    names = read_names(root, file, "class_names", report=report)
    if names is None:
        return None
    place = element(file, "class_names")
    placed = ((name, place(number)) for number, name in enumerate(names, start=1))
    kept = keep_names(placed, file=file, report=report)
    return kept if len(kept) == len(names) else None


def _car(row: Structure, *, path: str, split: Split | None, place: str) -> _Car:
    box = _box([row.get(side, "") for side in _SIDES])
    return _Car(path=path, number=integer(row["class"]), split=split, box=box, place=place)


def _box(sides: Sequence[Value]) -> Box | None:
    """The box of four sides, None if they are none of a box."""
    numbers = [float(side[0]) for side in sides if isinstance(side, np.ndarray) and len(side) == 1]
    if len(numbers) != len(_SIDES) or not all(map(math.isfinite, numbers)):
        return None
    left, top, right, bottom = numbers
    return (left, top, right, bottom) if left <= right and top <= bottom else None


def _lists(
    names: tuple[tuple[str, str], ...],
    lists: Sequence[tuple[str, tuple[_Car, ...]]],
    *,
    names_file: str,
    folders: tuple[str, ...],
    report: Report,
) -> CarLists | None:
    """What all lists tell, by file; None where the classes of one are off by one as a whole."""
    count = len(names)
    shifted = [
        tell_shift({car.number for car in cars}, count=count, file=file, report=report)
        for file, cars in lists
    ]
    if any(shifted):
        return None
    every = [car for _, cars in lists for car in cars]
    boxed = any(car.box is not None for car in every)
    images = tuple(keep_once(_images(every, count, boxed=boxed, report=report), report=report))
    boxes = {car.path: car.box for car in reversed(every) if car.box is not None}
    return CarLists(
        names=names,
        names_file=names_file,
        test_file=lists[-1][0],
        images=images,
        named=frozenset(car.path for car in every),
        boxes=boxes if boxed else None,
        folders=folders,
    )


def _images(cars: Iterable[_Car], count: int, *, boxed: bool, report: Report) -> Iterator[Listed]:
    """The images whose class, split and (where the lists have boxes) box are right."""
    for car in cars:
        label = class_label(car.number, count=count, image=car.path, place=car.place, report=report)
        if car.split is None:
            report(_fault("split", car, "is no training image (test: 0) and no test image (1)"))
        elif boxed and car.box is None:
            report(_fault("corrupt", car, "must have a box with x1 <= x2 and y1 <= y2"))
        elif label is not None:
            yield Listed(path=car.path, label=label, split=car.split, place=car.place)


def _fault(kind: FaultKind, car: _Car, detail: str) -> Fault:
    return Fault(kind=kind, file=car.path, detail=detail, place=car.place, remedy=_MEND)
