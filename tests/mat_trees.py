"""Trees whose lists are MATLAB files: Stanford Cars in both layouts, and Oxford 102 Flowers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from photographs import Photograph, draw
from scipy.io import loadmat, savemat

from mcl_bench.data.catalog.source import Split

CARS = (
    "AM General Hummer SUV 2000",
    "Ram C/V Cargo Van Minivan 2012",
    "smart fortwo Convertible 2012",
    "Fisker Karma Sedan 2012",
    "BMW M3 Coupe 2012",
)
FLOWERS = {1: "pink primrose", 12: "colt's foot", 60: "pink-yellow dahlia?", 102: "blackberry lily"}
"""Names of the classes that a small tree has, by their number."""
CAR_COUNTS: Mapping[Split, int] = {"train": 4, "test": 3}
FLOWER_COUNTS: Mapping[Split, int] = {"train": 2, "validation": 2, "test": 4}

_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_VARIABLES: Mapping[Split, str] = {"train": "trnid", "validation": "valid", "test": "tstid"}


def write_cars_devkit(
    root: Path, *, classes: int = 4, counts: Mapping[Split, int] = CAR_COUNTS, nested: bool = False
) -> list[Photograph]:
    """Draw a tree in the layout of the competition at `root`, which stands for stanford_cars.

    `nested` puts the images into folders of their folder's name, as a mirror does.
    """
    photographs = []
    for split, count in counts.items():
        folder = f"cars_{split}/cars_{split}" if nested else f"cars_{split}"
        for number in range(classes * count):
            path = f"{folder}/{number + 1:05d}.jpg"
            photographs.append(
                draw(root, path, label=number % classes, split=split, number=len(photographs))
            )
    (root / "devkit").mkdir()
    (root / "devkit/README.txt").write_text("This file gives documentation for the cars dataset.")
    _save(root / "devkit/cars_meta.mat", class_names=_cells(CARS[:classes]))
    for split in counts:
        rows = [
            (*_box(one), one.label + 1, Path(one.path).name)
            for one in photographs
            if one.split == split
        ]
        blind = [(*row[:4], row[5]) for row in rows]
        if split == "train":
            _annotate(root / "devkit/cars_train_annos.mat", (*_BOX, "class", "fname"), rows)
        else:
            _annotate(root / "cars_test_annos_withlabels.mat", (*_BOX, "class", "fname"), rows)
            _annotate(root / "devkit/cars_test_annos.mat", (*_BOX, "fname"), blind)
    return photographs


def write_cars_annos(
    root: Path, *, classes: int = 4, counts: Mapping[Split, int] = CAR_COUNTS
) -> list[Photograph]:
    """Draw a tree in the later layout at `root`: car_ims/ and cars_annos.mat."""
    photographs = []
    for label in range(classes):
        for split, count in counts.items():
            for _ in range(count):
                number = len(photographs)
                path = f"car_ims/{number + 1:06d}.jpg"
                photographs.append(draw(root, path, label=label, split=split, number=number))
    rows = [(one.path, *_box(one), one.label + 1, int(one.split == "test")) for one in photographs]
    fields = ("relative_im_path", *_BOX, "class", "test")
    _annotate(root / "cars_annos.mat", fields, rows, class_names=_cells(CARS[:classes]))
    return photographs


def write_flowers102(
    root: Path,
    *,
    classes: Sequence[int] = tuple(FLOWERS),
    counts: Mapping[Split, int] = FLOWER_COUNTS,
) -> list[Photograph]:
    """Draw a tree at `root`, which holds jpg/, imagelabels.mat and setid.mat.

    `classes` are the numbers (1 to 102) of those that have images; labels count from 0 over them.
    The images of a class and of a split do not lie side by side, as in the real set.
    """
    rows = [
        (label, split)
        for split, count in counts.items()
        for _ in range(count)
        for label in range(len(classes))
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    photographs = [
        draw(
            root,
            f"jpg/image_{number:05d}.jpg",
            label=rows[place][0],
            split=rows[place][1],
            number=number,
        )
        for number, place in enumerate(order, start=1)
    ]
    labels = [classes[one.label] for one in photographs]
    _save(root / "imagelabels.mat", labels=np.array([labels], dtype=np.uint8))
    sets = {
        variable: np.array(
            [[i for i, one in enumerate(photographs, start=1) if one.split == split]],
            dtype=np.uint16,
        )
        for split, variable in _VARIABLES.items()
    }
    _save(root / "setid.mat", **sets)
    return photographs


def box_of(photograph: Photograph) -> tuple[float, float, float, float]:
    """The box of a car as x, y, width and height in shares of its image."""
    (left, top, right, bottom), (width, height) = _box(photograph), photograph.size
    return (
        (left - 1) / width,
        (top - 1) / height,
        (right - left + 1) / width,
        (bottom - top + 1) / height,
    )


def change(path: Path, **changes: Callable[[npt.NDArray[Any]], npt.NDArray[Any] | None]) -> None:
    """Write a MATLAB file again with some variables changed; None takes one away."""
    found = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    for name, edit in changes.items():
        edited = edit(found[name])
        if edited is None:
            del found[name]
        else:
            found[name] = edited
    _save(path, **found)


def annotate(path: Path, number: int, **values: Any) -> None:
    """Change fields of one annotation, counted from 1."""

    def edit(annotations: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for field, value in values.items():
            annotations[field][0, number - 1] = value
        return annotations

    change(path, annotations=edit)


def _box(photograph: Photograph) -> tuple[int, int, int, int]:
    width, height = photograph.size
    return 3, 5, width - 2, height - 4


def _annotate(path: Path, fields: Sequence[str], rows: Sequence[Any], **others: Any) -> None:
    annotations = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for index, row in enumerate(rows):
        for field, value in zip(fields, row, strict=True):
            small = isinstance(value, int)
            annotations[field][0, index] = (
                np.array([[value]], dtype=np.uint16) if small else np.array([value])
            )
    _save(path, annotations=annotations, **others)


def _cells(names: Sequence[str]) -> npt.NDArray[np.object_]:
    cells = np.empty((1, len(names)), dtype=object)
    for index, name in enumerate(names):
        cells[0, index] = np.array([name])
    return cells


def _save(path: Path, **variables: Any) -> None:
    savemat(path, variables, do_compression=True)
