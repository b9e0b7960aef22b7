"""The lists of Stanford Cars, of either layout, read into one form."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.data.catalog.image_files import image_files
from mcl_bench.data.catalog.listed import Listed
from mcl_bench.data.catalog.listed_checks import (
    class_label,
    element,
    keep_names,
    keep_once,
    tell_shift,
)
from mcl_bench.data.catalog.mat_files import Values, has_fields, integer, read_mat
from mcl_bench.data.catalog.source import Fault, FaultKind, Report, Split

META = "devkit/cars_meta.mat"
TRAIN = "devkit/cars_train_annos.mat"
TEST = "cars_test_annos_withlabels.mat"
ANNOS = "cars_annos.mat"

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
    names = read_mat(root, meta, variables=("class_names",), report=report)
    lists: list[tuple[str, Split, Values | None]] = [
        (train, "train", _annotations(root, train, ("fname", "class"), report)),
        (test, "test", _annotations(root, test, ("fname", "class"), report)),
    ]
    folders = {"train": _folder(root, "cars_train"), "test": _folder(root, "cars_test")}
    cars: list[tuple[str, tuple[_Car, ...]]] = []
    for file, split, values in lists:
        if values is not None:
            place = element(file, "annotations")
            rows = (
                _car(value, path=f"{folders[split]}/{value['fname']}", split=split, place=place(i))
                for i, value in enumerate(values, start=1)
            )
            cars.append((file, tuple(rows)))
    if names is None or len(cars) < len(lists):
        return None
    return _lists(
        _names(names["class_names"], meta, report),
        cars,
        names_file=meta,
        folders=("cars_train", "cars_test"),
        report=report,
    )


def read_annos(root: Path, *, report: Report) -> CarLists | None:
    """The list of the later layout; None, which is reported, where it cannot be used."""
    values = _annotations(root, ANNOS, ("relative_im_path", "class", "test"), report)
    names = read_mat(root, ANNOS, variables=("class_names",), report=report)
    if values is None or names is None:
        return None
    place = element(ANNOS, "annotations")
    splits: Mapping[int | None, Split] = {0: "train", 1: "test"}
    cars = tuple(
        _car(
            value,
            path=str(value["relative_im_path"]),
            split=splits.get(integer(value["test"])),
            place=place(number),
        )
        for number, value in enumerate(values, start=1)
    )
    return _lists(
        _names(names["class_names"], ANNOS, report),
        [(ANNOS, cars)],
        names_file=ANNOS,
        folders=("car_ims",),
        report=report,
    )


def _annotations(root: Path, file: str, fields: Sequence[str], report: Report) -> Values | None:
    found = read_mat(root, file, variables=("annotations",), report=report)
    if found is None:
        return None
    values = found["annotations"]
    whole = has_fields(values, fields, variable="annotations", file=file, report=report)
    return values if whole else None


def _folder(root: Path, name: str) -> str:
    """The folder of images, or the one of its name in it where a mirror has nested them."""
    nested = root / name / name
    if not nested.is_dir():
        return name
    outside = (path for path in image_files(root / name) if not path.is_relative_to(nested))
    return name if any(outside) else f"{name}/{name}"


def _names(values: Values, file: str, report: Report) -> tuple[tuple[str, str], ...]:
    place = element(file, "class_names")
    names = ((str(value), place(number)) for number, value in enumerate(values, start=1))
    return keep_names(names, file=file, report=report)


def _car(value: Values, *, path: str, split: Split | None, place: str) -> _Car:
    box = None
    if set(_SIDES) <= set(value.dtype.names or ()):
        box = _box([value[side] for side in _SIDES])
    return _Car(path=path, number=integer(value["class"]), split=split, box=box, place=place)


def _box(sides: Sequence[object]) -> Box | None:
    """The box of four sides, None if they are none of a box."""
    try:
        left, top, right, bottom = (float(str(side)) for side in sides)
    except ValueError:
        return None
    sound = all(map(math.isfinite, (left, top, right, bottom))) and left <= right and top <= bottom
    return (left, top, right, bottom) if sound else None


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
