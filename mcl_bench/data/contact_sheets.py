"""Contact sheets: the training images of each class, as a model sees them.

Legend: N images, c cropped pixels a side.
"""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mcl_bench.data.batches import Batches
from mcl_bench.data.images import ImageSet
from mcl_bench.data.splits import Split, cut
from mcl_bench.data.store import Packed, open_train
from mcl_bench.files import write_whole
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec

Progress = Callable[[int, int], None]
"""Told how many classes have a sheet, of how many."""

IMAGES_PER_CLASS = 12
_COLUMNS = 6
_LARGEST = 192
"""Images are shown with at most so many pixels a side."""

_GAP = 4
_BREAK = 20
"""Pixels between the images as they are evaluated and as they are augmented."""

_PAPER = "white"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One class's sheet: its file, how many training images the class has, and those shown."""

    name: str
    path: Path
    train: int
    validation: int
    shown: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sheets:
    """The page that shows all sheets, and the sheets, in the order of the classes."""

    page: Path
    sheets: tuple[Sheet, ...]


def write_sheets(
    packed: Packed,
    data: DataSpec,
    *,
    folder: Path,
    classes: int | None = None,
    progress: Progress | None = None,
) -> Sheets:
    """Write a PNG for each of the first `classes` classes (None: all) and an index.html.

    Above are at most a dozen of the images that are trained on, cropped as for evaluation; below
    the same ones as `data.augment` makes them. Only the training file is opened: no image of the
    test set is shown.
    """
    images = open_train(packed)
    split = cut(
        images.labels,
        digest=packed.digest,
        data=data,
        official=images.official,
        groups=images.groups,
    )
    names = packed.classes[:classes]
    sheets = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for label, name in enumerate(names):
            chosen = split.train[images.labels[split.train] == label]
            path = folder / f"{label:03d}-{_file_name(name)}.png"
            shown = chosen[:IMAGES_PER_CLASS]
            _compose(images, shown, data).save(path)
            sheets.append(
                Sheet(
                    name=name,
                    path=path,
                    train=len(chosen),
                    validation=_count(images, split, label),
                    shown=tuple(images.ids[index] for index in shown.tolist()),
                )
            )
            if progress is not None:
                progress(label + 1, len(names))
        write_whole(folder / "index.html", _page(data, packed, sheets))
    except OSError as error:
        raise DataError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return Sheets(page=folder / "index.html", sheets=tuple(sheets))


def _count(images: ImageSet, split: Split, label: int) -> int:
    return int((images.labels[split.validation] == label).sum())


def _file_name(name: str) -> str:
    """The part of a class's name that any file system can take."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60] or "class"


def _compose(images: ImageSet, indices: Tensor, data: DataSpec) -> Image.Image:
    """The sheet of the images at `indices`: as evaluated, and below as augmented."""
    rows = [
        shown[first : first + _COLUMNS]
        for shown in (_seen(images, indices, data, train=train) for train in (False, True))
        for first in range(0, len(shown), _COLUMNS)
    ]
    side = rows[0][0].width + _GAP
    width = _GAP + side * max(map(len, rows))
    sheet = Image.new("RGB", (width, _GAP + side * len(rows) + _BREAK), _PAPER)
    for number, row in enumerate(rows):
        top = _GAP + side * number + (_BREAK if number >= len(rows) // 2 else 0)
        for column, image in enumerate(row):
            sheet.paste(image, (_GAP + side * column, top))
    return sheet


def _seen(images: ImageSet, indices: Tensor, data: DataSpec, *, train: bool) -> list[Image.Image]:
    """The images as a network gets them, but for its normalisation, in the order of `indices`.

    An image alone makes no training batch, so it goes in twice.
    """
    asked = indices.repeat(2) if len(indices) == 1 else indices
    batches = Batches(
        images,
        asked,
        data=data.model_copy(update={"balance": "none"}),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        batch_size=len(asked),
        seed=0,
        device="cpu",
        train=train,
    )
    (batch,) = batches.epoch(0)
    place = {int(index): row for row, index in enumerate(batch.indices)}
    return [_picture(batch.images[place[int(index)]]) for index in indices]


def _picture(pixels_3cc: Tensor) -> Image.Image:
    levels = pixels_3cc.mul(255).round().clamp(0, 255).to(torch.uint8)
    image = Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((_LARGEST, _LARGEST))
    return image


def _page(data: DataSpec, packed: Packed, sheets: Sequence[Sheet]) -> str:
    title = html.escape(f"{data.name}: {len(packed.classes)} classes")
    facts = (
        f"{packed.num_train:,} images to train and validate on; at most {IMAGES_PER_CLASS} of each "
        f"class are shown, cropped to {data.crop} pixels as for evaluation, and below them as "
        f"data.augment: {data.augment} makes them. Test images are not shown."
    )
    if len(sheets) < len(packed.classes):
        facts += f" {len(packed.classes) - len(sheets)} classes are left out."
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n"
        "<style>body { font-family: sans-serif; margin: 2em; } "
        "img { max-width: 100%; border: 1px solid #ccc; }</style>\n"
        f"<h1>{title}</h1>\n<p>{html.escape(facts)}</p>\n"
        + "".join(_sections(sheets))
        + "</html>\n"
    )


def _sections(sheets: Sequence[Sheet]) -> Iterator[str]:
    for sheet in sheets:
        name = html.escape(sheet.name)
        shown = html.escape(", ".join(sheet.shown))
        yield (
            f"<h2>{name}</h2>\n<p>{sheet.train:,} to train on, {sheet.validation:,} to validate "
            f'on</p>\n<img loading="lazy" src="{sheet.path.name}" alt="{name}" title="{shown}">\n'
        )
