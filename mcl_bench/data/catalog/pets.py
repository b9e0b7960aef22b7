"""`pets`: Oxford-IIIT Pet, photographs of 37 breeds of cats and dogs, in its official layout.

images/Name_of_breed_12.jpg
annotations/trainval.txt, test.txt    Name_of_breed_12 class species breed   class from 1
annotations/list.txt                  the same rows of both; may be absent
annotations/trimaps/                  a mask of each image; may be absent
"""

from collections.abc import Iterator
from pathlib import Path

from mcl_bench.data.catalog.image_files import identity, image_files
from mcl_bench.data.catalog.listed import (
    ListedDataset,
    ListedSource,
)
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Fault, FaultKind, Report, Split
from mcl_bench.data.catalog.split_lists import Row, list_tree
from mcl_bench.data.catalog.text_lists import MEND, read_rows
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "oxford-iiit-pet"
_PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
_MIRROR = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"
_LISTS: dict[str, Split] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}
_ALL = "annotations/list.txt"
_TRIMAPS = "annotations/trimaps"
_ROW = "Name_of_breed_12 class species breed"


class PetsOptions(Model):
    """`pets` has no options."""


class Pets(ListedDataset[ListedSource]):
    """The catalog's entry of `pets`."""

    facts = DatasetFacts(
        name="pets",
        title="Oxford-IIIT Pet: cats and dogs of 37 breeds",
        classes=37,
        images=f"images.tar.gz and annotations.tar.gz from {_PAGE}, unpacked into one folder "
        f"{_FOLDER}, which data.root names",
        citation="Parkhi, Vedaldi, Zisserman, Jawahar 2012: Cats and Dogs, IEEE Conference on "
        "Computer Vision and Pattern Recognition, doi 10.1109/CVPR.2012.6248092",
        licence="CC BY-SA 4.0",
        needs_root=True,
        notes="official split: 3,680 training (trainval) and 3,669 test images, no validation "
        "split (data.validation is cut from train); some files called .jpg are PNG or GIF, which "
        "are read as what they are; images/ also holds .mat files and 41 images that no list has, "
        "which are passed over",
        folder=_FOLDER,
        archives=(
            Archive(
                name="images.tar.gz",
                urls=(f"{_PAGE}data/images.tar.gz", f"{_MIRROR}images.tar.gz"),
                page=_PAGE,
                md5="5c4f3ee8e5d25df40f4fd59a7f44e54c",
                folder=_FOLDER,
            ),
            Archive(
                name="annotations.tar.gz",
                urls=(f"{_PAGE}data/annotations.tar.gz", f"{_MIRROR}annotations.tar.gz"),
                page=_PAGE,
                md5="95a8c909bbe2e81eed6a22bccdf3f68f",
                folder=_FOLDER,
            ),
        ),
        counts={"train": 3680, "test": 3669},
        traps=(
            "ImageNet has many of these breeds as classes: its weights know them",
            "no official validation split: settings chosen on test are chosen on what they are "
            "judged by",
        ),
        optional_files=(_ALL, _TRIMAPS),
    )
    options = PetsOptions
    lists = tuple(_LISTS)

    def listed(
        self,
        root: Path,
        data: DataSpec,  # noqa: ARG002
        *,
        cache: Path,
        report: Report,
    ) -> ListedSource | None:
        """The images of the two lists; None where a list has no row that can be read."""
        listed = list_tree(root, _LISTS, _ALL, _rows, facts=self.facts, cache=cache, report=report)
        if listed is None:
            return None
        source, named = listed
        _tell_strays(root, named, report)
        return source


def _rows(root: Path, file: str, split: Split | None, report: Report) -> Iterator[Row]:
    """The rows of one list; lines of another form are reported, `#` begins a comment."""

    def tell(kind: FaultKind, detail: str, *, place: str | None, image: str | None = None) -> None:
        report(Fault(kind=kind, file=image or file, detail=detail, place=place, remedy=MEND))

    lines = read_rows(root, file, report=report)
    if lines is None:
        return
    rows = [line for line in lines if not line.text.startswith("#")]
    if not rows:
        tell("empty", f"must have rows `{_ROW}`, got none", place=None)
    for row in rows:
        stem, *fields = row.text.split()
        name, _, count = stem.rpartition("_")
        path = f"images/{stem}.jpg"
        if not {"/", "\\", "\0"}.isdisjoint(stem):
            tell(
                "path", "must be a file of images/, by its name alone", place=row.place, image=path
            )
        elif not name or not count.isdigit():
            tell("corrupt", f"a row must be `{_ROW}`, got {row.text!r}", place=row.place)
        else:
            numbers = [int(field) for field in fields if field.isascii() and field.isdigit()]
            whole = len(numbers) == len(fields) == 3
            if not whole:
                words = f"must have a row `{_ROW}`, got {row.text!r}"
                tell("label", words, place=row.place, image=path)
            number = numbers[0] if whole else None
            yield Row(path=path, split=split, name=name, number=number, place=row.place)


def _tell_strays(root: Path, named: set[str], report: Report) -> None:
    """Report the images that are in no list and are not of the official archive either.

    That archive has 41 images that no list has; like all of its images they have a mask each, by
    which they are known where the masks are.
    """
    if not (root / _TRIMAPS).is_dir():
        return
    for path in image_files(root / "images"):
        name = identity(path, root)
        if name not in named and not (root / _TRIMAPS / f"{path.stem}.png").exists():
            report(
                Fault(
                    kind="orphan",
                    file=name,
                    detail="is named by no list",
                    remedy="add it to the lists, or take the file away",
                )
            )
