"""`dogs`: Stanford Dogs, photographs of 120 breeds out of ImageNet, in their official layout.

Images/n02085620-Chihuahua/n02085620_5927.jpg
train_list.mat, test_list.mat    file_list (paths below Images/) and labels (from 1)
file_list.mat                    the same of both; may be absent
"""

from collections.abc import Iterator
from pathlib import Path

from mcl_bench.data.catalog.listed import (
    ListedDataset,
    ListedSource,
    tell_orphans,
)
from mcl_bench.data.catalog.matlab_lists import element, numbers, read_variables, texts
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Fault, FaultKind, Report, Split
from mcl_bench.data.catalog.split_lists import Row, list_tree
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "stanford_dogs"
_PAGE = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
_LISTS: dict[str, Split] = {"train_list.mat": "train", "test_list.mat": "test"}
_ALL = "file_list.mat"
_MEND = "unpack lists.tar again"


class DogsOptions(Model):
    """`dogs` has no options."""


class Dogs(ListedDataset[ListedSource]):
    """The catalog's entry of `dogs`."""

    facts = DatasetFacts(
        name="dogs",
        title="Stanford Dogs: dogs of 120 breeds",
        classes=120,
        images=f"images.tar and lists.tar from {_PAGE}, unpacked into one folder, which data.root "
        "names",
        citation="Khosla, Jayadevaprakash, Yao, Fei-Fei 2011: Novel Dataset for Fine-Grained Image "
        "Categorization, First Workshop on Fine-Grained Visual Categorization, IEEE Conference on "
        "Computer Vision and Pattern Recognition",
        licence="none found; photographs from ImageNet, treat as non-commercial research",
        needs_root=True,
        notes="official split: 12,000 training images (100 a class) and 8,580 test images, no "
        "validation split (data.validation is cut from train)",
        folder=_FOLDER,
        archives=tuple(
            Archive(
                name=name, urls=(f"{_PAGE}{name}",), page=_PAGE, folder=_FOLDER, optional=optional
            )
            for name, optional in (
                ("images.tar", False),
                ("lists.tar", False),
                ("annotation.tar", True),
            )
        ),
        counts={"train": 12_000, "test": 8_580},
        traps=(
            "built from images of ImageNet, test images too: weights trained on ImageNet have "
            "seen them with their labels, so results with such weights say little",
            "no official validation split: settings chosen on test are chosen on what they are "
            "judged by",
        ),
        optional_files=(_ALL,),
    )
    options = DogsOptions
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
        tell_orphans(root / "Images", named=named, root=root, report=report)
        return source


def _rows(root: Path, file: str, split: Split | None, report: Report) -> Iterator[Row]:
    """The rows of one list; those that are no path with a number are reported."""
    variables = read_variables(root, file, ("file_list", "labels"), report=report)
    if variables is None:
        return
    paths = texts(variables["file_list"], file=file, name="file_list", report=report)
    labels = numbers(variables["labels"], file=file, name="labels", report=report)
    if paths is None or labels is None:
        return

    def tell(kind: FaultKind, detail: str, *, image: str = file, place: str | None = None) -> None:
        report(Fault(kind=kind, file=image, detail=detail, place=place, remedy=_MEND))

    if len(paths) != len(labels):
        tell("corrupt", f"has {len(paths)} files, but {len(labels)} labels")
        return
    path_place, label_place = element(file, "file_list"), element(file, "labels")
    for row, (path, number) in enumerate(zip(paths, labels, strict=True), start=1):
        steps = path.split("/")
        image = f"Images/{path}"
        if len(steps) != 2 or not {"", ".", ".."}.isdisjoint(steps) or "\0" in path:
            words = (
                f"must be a path like Images/n02085620-Chihuahua/n02085620_5927.jpg, got {path!r}"
            )
            tell("path", words, image=image, place=path_place(row))
            continue
        if number is None:
            words = "must have a whole number for a label"
            tell("label", words, image=image, place=label_place(row))
        yield Row(path=image, split=split, name=steps[0], number=number, place=path_place(row))
