"""`flowers102`: Oxford 102 Category Flower Dataset, in its official layout.

jpg/image_00001.jpg     the images, numbered from 1
imagelabels.mat         labels: the class of each image, from 1
setid.mat               trnid, valid, tstid: numbers of images
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mcl_bench.data.catalog.flowers102_names import FLOWERS
from mcl_bench.data.catalog.listed import Listed, ListedDataset, ListedSource
from mcl_bench.data.catalog.listed_checks import (
    class_label,
    keep_once,
    settled,
    tell_shift,
    tell_untested,
    tell_untrained,
)
from mcl_bench.data.catalog.matlab_lists import element, read_numbers
from mcl_bench.data.catalog.options import parse_options
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Fault, Report, Split
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "flowers-102"
_IMAGES = "jpg"
_LABELS = "imagelabels.mat"
_SETS = "setid.mat"
_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_VARIABLES: dict[str, dict[str, Split]] = {
    "official": {"trnid": "train", "valid": "validation", "tstid": "test"},
    "swapped": {"tstid": "train", "valid": "validation", "trnid": "test"},
}


def _archive(name: str, md5: str, *, unpacked: bool) -> Archive:
    return Archive(
        name=name, urls=(_PAGE + name,), page=_PAGE, md5=md5, unpacked=unpacked, folder=_FOLDER
    )


class Flowers102Options(Model):
    """Which images are trained on: trnid (official: 10 of each class) or tstid (swapped)."""

    split: Literal["official", "swapped"] = "official"


class Flowers102(ListedDataset[ListedSource]):
    """The catalog's entry of `flowers102`."""

    facts = DatasetFacts(
        name="flowers102",
        title="Oxford 102 Category Flower Dataset: flowers of 102 species",
        classes=102,
        images=f"102flowers.tgz, imagelabels.mat and setid.mat from {_PAGE}, in one folder; "
        "data.root is the folder, which holds jpg/",
        citation="Nilsback, Zisserman 2008: Automated Flower Classification over a Large Number "
        "of Classes, Indian Conference on Computer Vision, Graphics and Image Processing",
        licence="none found; photographs from the web, treat as non-commercial research",
        needs_root=True,
        notes="data.options: split (official, or swapped: tstid is trained on, trnid is the test "
        "split); data.validation: official (the default) is valid, a share is cut from train and "
        "validation together; the files do not name the classes: these are the names in common use",
        folder=_FOLDER,
        archives=(
            _archive("102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", unpacked=True),
            _archive(_LABELS, "e0620be6f572b9609742df49c70aed4d", unpacked=False),
            _archive(_SETS, "a5357ecc9cb78c4bef273ce3793fc85c", unpacked=False),
        ),
        counts={"train": 1020, "validation": 1020, "test": 6149},
        traps=(
            "the official training split is the small one, 10 images of each class; some papers "
            "swap trnid and tstid, others train on train and validation (2,040): ask which",
            "classes are of unequal size in test (20 to 238 images), so top-1 and the mean over "
            "classes differ",
        ),
    )
    options = Flowers102Options
    lists = (_LABELS, _SETS)

    def listed(
        self, root: Path, data: DataSpec, *, cache: Path, report: Report
    ) -> ListedSource | None:
        """The images that are listed and there; None where a list can't be read or is off by one.

        A class that no image has is left out.
        """
        options = parse_options(Flowers102Options, data.options, dataset="flowers102")
        split_of = _VARIABLES[options.split]
        found = read_numbers(root, _LABELS, ("labels",), report=report)
        sets = read_numbers(root, _SETS, tuple(split_of), report=report)
        if found is None or sets is None:
            return None
        numbers = found["labels"]
        if tell_shift(numbers, count=len(FLOWERS), file=_LABELS, report=report):
            return None
        images = tuple(
            keep_once(_images(_labels(numbers, report), sets, split_of, report), report=report)
        )
        used = sorted({image.label for image in images})
        order = {label: rank for rank, label in enumerate(used)}
        images = tuple(replace(image, label=order[image.label]) for image in images)
        classes = [FLOWERS[label] for label in used]
        tell_untrained([(name, _SETS) for name in classes], images, file=_SETS, report=report)
        tell_untested(images, file=_SETS, report=report)
        split = {number for numbers in sets.values() for number in numbers}
        _tell_unsplit(len(numbers), split, report)
        named = {
            _path(number) for number in {*range(1, len(numbers) + 1), *split} if number is not None
        }
        kept = settled(
            images, root=root, folders=(_IMAGES,), named=named, facts=self.facts, report=report
        )
        return ListedSource(root, classes=classes, images=kept, cache=cache) if kept else None


def _path(number: int) -> str:
    return f"{_IMAGES}/image_{number:05d}.jpg"


def _labels(numbers: Sequence[int | None], report: Report) -> dict[int, int | None]:
    """The label of each image, by its number; None, which is reported, where it has no class."""
    place = element(_LABELS, "labels")
    return {
        image: class_label(
            number, count=len(FLOWERS), image=_path(image), place=place(image), report=report
        )
        for image, number in enumerate(numbers, start=1)
    }


def _images(
    labels: Mapping[int, int | None],
    sets: Mapping[str, Sequence[int | None]],
    split_of: Mapping[str, Split],
    report: Report,
) -> Iterator[Listed]:
    """The images of all splits that have a class."""
    for variable, split in split_of.items():
        place = element(_SETS, variable)
        for index, number in enumerate(sets[variable], start=1):
            if number is None or number not in labels:
                report(_unknown(number, len(labels), place(index)))
                continue
            label = labels[number]
            if label is not None:
                yield Listed(path=_path(number), label=label, split=split, place=place(index))


def _unknown(number: int | None, count: int, place: str) -> Fault:
    named = "an image whose number is no integer" if number is None else f"image {number}"
    return Fault(
        kind="label",
        file=_SETS if number is None else _path(number),
        detail=f"{named} has no class: {_LABELS} has those of images 1 to {count}",
        place=place,
        remedy="images count from 1; get the lists again",
    )


def _tell_unsplit(count: int, split: Collection[int | None], report: Report) -> None:
    """Report the images that have a class and are in no split."""
    for number in range(1, count + 1):
        if number not in split:
            report(
                Fault(
                    kind="split",
                    file=_path(number),
                    detail=f"is in none of the splits of {_SETS}",
                    place=element(_LABELS, "labels")(number),
                    remedy="get the lists again",
                )
            )
