"""`aircraft`: FGVC-Aircraft 2013b, photographs of aircraft, in its official layout.

data/variants.txt                 a class per line; families.txt, manufacturers.txt likewise
data/images_variant_train.txt     image class        the class has blanks in it
data/images_variant_val.txt       likewise, and images_variant_test.txt
data/images/0034309.jpg           its last 20 rows of pixels name the photographer
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mcl_bench.data.catalog.listed import (
    Listed,
    ListedDataset,
    ListedSource,
    find_root,
)
from mcl_bench.data.catalog.listed_checks import keep_names, keep_once, settled, tell_untrained
from mcl_bench.data.catalog.options import parse_options
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Fault, Report, Split
from mcl_bench.data.catalog.text_lists import MEND, Row, read_rows
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

BANNER = 20
"""The rows of pixels at the bottom of every photograph that are no part of it."""

_IMAGES = "data/images"
_CLASSES = {
    "variant": "data/variants.txt",
    "family": "data/families.txt",
    "manufacturer": "data/manufacturers.txt",
}
_SPLITS: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_ARCHIVE = Archive(
    name="fgvc-aircraft-2013b.tar.gz",
    urls=(
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
    ),
    page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    md5="d4acdd33327262359767eeaa97a4f732",
)


class AircraftOptions(Model):
    """What a class is: one of 100 variants, 70 families or 30 manufacturers."""

    level: Literal["variant", "family", "manufacturer"] = "variant"


class Aircraft(ListedDataset[ListedSource]):
    """The catalog's entry of `aircraft`."""

    facts = DatasetFacts(
        name="aircraft",
        title="FGVC-Aircraft 2013b: aircraft of 100 variants",
        classes=100,
        images=f"{_ARCHIVE.name} (md5 {_ARCHIVE.md5}) from {_ARCHIVE.page}, unpacked; data.root is "
        "its folder fgvc-aircraft-2013b",
        citation="Maji, Rahtu, Kannala, Blaschko, Vedaldi 2013: Fine-Grained Visual "
        "Classification of Aircraft, arXiv:1306.5151",
        licence="non-commercial research only; the photographers keep their copyright",
        needs_root=True,
        notes="data.options: level (variant: 100 classes, family: 70, manufacturer: 30); "
        "data.validation: official (the default) is the official one, a share is cut from train "
        "and validation together",
        folder="fgvc-aircraft-2013b",
        archives=(_ARCHIVE,),
        counts={"train": 3334, "validation": 3333, "test": 3333},
        traps=(
            f"the last {BANNER} rows of pixels name the photographer: they are cut away here, not "
            "in every published result",
            "most papers train on train and validation (6,667 images) and test on 3,333",
            "the archive's README counts 102 variants, 41 manufacturers and 10,200 images; its "
            "lists have 100, 30 and 10,000",
        ),
        optional_files=("data/images_box.txt",),
    )
    options = AircraftOptions

    def root(self, data: DataSpec) -> Path:
        """The folder that holds `data/`; one list of any level is enough to know it."""
        names = [name for level in _CLASSES for name in _required(level)]
        return find_root(data, facts=self.facts, required=names)

    def needed(self, root: Path, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """The lists of the level."""
        return _required(_level(data))

    def listed(
        self, root: Path, data: DataSpec, *, cache: Path, report: Report
    ) -> ListedSource | None:
        """The images that are listed and there; None where one of the lists cannot be read."""
        level = _level(data)
        rows = read_rows(root, _CLASSES[level], report=report)
        lists = {
            split: read_rows(root, _split_list(level, split), report=report) for split in _SPLITS
        }
        read = {split: found for split, found in lists.items() if found is not None}
        if rows is None or len(read) < len(lists):
            return None
        names = keep_names(
            ((row.text, row.place) for row in rows), file=_CLASSES[level], report=report
        )
        labels = {name: label for label, (name, _) in enumerate(names)}
        named = {_path(row) for found in read.values() for row in found}
        images = tuple(
            keep_once(
                (
                    image
                    for split, found in read.items()
                    for image in _images(found, split, labels, _CLASSES[level], report)
                ),
                report=report,
            )
        )
        tell_untrained(names, images, file=_CLASSES[level], report=report)
        kept = settled(
            images, root=root, folders=(_IMAGES,), named=named, facts=self.facts, report=report
        )
        return ListedSource(root, classes=tuple(labels), images=kept, cache=cache) if kept else None


def _level(data: DataSpec) -> str:
    return parse_options(AircraftOptions, data.options, dataset="aircraft").level


def _required(level: str) -> tuple[str, ...]:
    return (_CLASSES[level], *(_split_list(level, split) for split in _SPLITS))


def _split_list(level: str, split: Split) -> str:
    return f"data/images_{level}_{_SPLITS[split]}.txt"


def _path(row: Row) -> str:
    return f"{_IMAGES}/{row.text.split(maxsplit=1)[0]}.jpg"


def _images(
    rows: tuple[Row, ...], split: Split, labels: dict[str, int], classes: str, report: Report
) -> Iterator[Listed]:
    """The images of one list whose class is known."""
    for row in rows:
        name = row.text.split(maxsplit=1)[1:]
        if name and name[0] in labels:
            yield Listed(
                path=_path(row),
                label=labels[name[0]],
                split=split,
                place=row.place,
                trim_bottom=BANNER,
            )
        else:
            wrong = f"has class {name[0]!r}, which is not in {classes}" if name else "has no class"
            report(Fault(kind="label", file=_path(row), detail=wrong, place=row.place, remedy=MEND))
