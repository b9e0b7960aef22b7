"""Datasets whose images are named by lists: what all of them have in common.

A catalog entry is a `ListedDataset`: it finds its root, reads its lists, and makes a `ListedSource`
of them. It tells what is wrong to a `Report`: `refuse` where the images are to be used, a collector
where they are verified.
"""

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.image_files import identity, image_files
from mcl_bench.data.catalog.options import no_official_validation, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Fault, Member, Report, Split
from mcl_bench.data.listing import file_digests, source_digest
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

SourceT = TypeVar("SourceT", bound="ListedSource")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One image as the lists have it: `path` relative to the root, `place` where it is named."""

    path: str
    label: int
    split: Split
    place: str
    trim_bottom: int = 0


class ListedSource:
    """The images of one tree, listed when this is made, read when asked for."""

    def __init__(
        self, root: Path, *, classes: Sequence[str], images: Iterable[Listed], cache: Path
    ) -> None:
        self._root = root
        self._cache = cache
        self._classes = tuple(classes)
        self._images = tuple(sorted(images, key=lambda image: image.path))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of their numbers."""
        return self._classes

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """All images, by their path relative to the root, with their official split."""
        return tuple(
            Member(id=image.path, label=image.label, split=image.split) for image in self._images
        )

    @functools.cached_property
    def digest(self) -> str:
        """The hash of every image's split and path, bytes and class.

        A list has the split, so it is put in front of the path: two trees that differ in it only
        are not the same data.
        """
        digests = file_digests(
            self._root, [image.path for image in self._images], cache=self._cache
        )
        return source_digest(
            (f"{image.split}/{image.path}", digest, self._classes[image.label])
            for image, digest in zip(self._images, digests, strict=True)
        )

    @property
    def extra_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each array of an example's `extra`: nothing else is known of an image."""
        return {}

    @property
    def extra_digests(self) -> Mapping[str, str]:
        """The digest of each list that `extra` comes from."""
        return {}

    def read(self, index: int) -> Example:
        """One photograph; OSError if it cannot be read."""
        image = self._images[index]
        content = (self._root / image.path).read_bytes()
        return Example(
            picture=content, extra=self.extra(index, content), trim_bottom=image.trim_bottom
        )

    def extra(self, index: int, content: bytes) -> Mapping[str, npt.NDArray[np.float32]]:  # noqa: ARG002
        """What else is known of one image, whose file's bytes are `content`."""
        return {}


class ListedDataset(ABC, Generic[SourceT]):
    """A catalog entry whose images are named by lists; a subclass says where and how.

    `lists` are files relative to the root: any of them tells the root, and all are needed, unless
    `root` and `needed` say otherwise.
    """

    facts: DatasetFacts
    options: type[Model]
    lists: tuple[str, ...]

    def check(self, data: DataSpec) -> None:
        """Raise UserError on options, DataError where the tree or one of its lists is absent."""
        parse_options(self.options, data.options, dataset=self.facts.name)
        root = self.root(data)
        tell_absent(root, self.needed(root, data), facts=self.facts, report=refuse(root))
        if "validation" not in self.facts.counts:
            no_official_validation(data)

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """The test split is official."""
        return ("test",)

    def open(self, data: DataSpec, *, cache: Path) -> SourceT:
        """Read the lists and find their images; DataError at the first fault."""
        root = self.root(data)
        source = self._read(root, data, cache=cache, report=refuse(root))
        assert source is not None, "what can't be listed has been refused"
        return source

    def inspect(
        self, data: DataSpec, *, cache: Path, report: Report
    ) -> tuple[Path, SourceT] | None:
        """The root and what is right of its images, every fault of the lists being reported."""
        root = self.root(data)
        source = self._read(root, data, cache=cache, report=report)
        return None if source is None else (root, source)

    def _read(self, root: Path, data: DataSpec, *, cache: Path, report: Report) -> SourceT | None:
        if not tell_absent(root, self.needed(root, data), facts=self.facts, report=report):
            return None
        return self.listed(root, data, cache=cache, report=report)

    def root(self, data: DataSpec) -> Path:
        """The folder that holds the lists; UserError or DataError where there is none."""
        return find_root(data, facts=self.facts, required=self.lists)

    def needed(self, root: Path, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """The lists that must be there."""
        return self.lists

    @abstractmethod
    def listed(self, root: Path, data: DataSpec, *, cache: Path, report: Report) -> SourceT | None:
        """The images that are listed and there; None where a list cannot be used (reported)."""


def refuse(root: Path) -> Report:
    """A report that raises the first fault it is told as a DataError."""

    def raise_it(fault: Fault) -> None:
        where = root / (fault.place or fault.file)
        named = f"{root / fault.file} " if fault.place and fault.file not in fault.place else ""
        raise DataError(f"{where}: {named}{fault.detail}", key="data.root", remedy=fault.remedy)

    return raise_it


def find_root(data: DataSpec, *, facts: DatasetFacts, required: Sequence[str]) -> Path:
    """The folder that holds the lists: `data.root`, or the official folder in it.

    `required` are the files, relative to that folder, of which each must be there for the data to
    be used; one of them is enough to know the folder. UserError without a root, DataError where
    the folder isn't there.
    """
    if data.root is None:
        raise UserError(
            f"data.root must name the folder {facts.folder}, got none",
            key="data.root",
            remedy=f"root: ${{oc.env:MCL_DATA,data}}/{facts.folder}\n  {advice(facts)}",
        )
    given = Path(data.root).expanduser()
    remedy = (
        f"{advice(facts)}, so that {given.absolute() / required[0]} exists;\n  where it lies "
        f"elsewhere, name it by data.root=PATH/{facts.folder}, or set MCL_DATA=PATH and have\n  "
        f"root: ${{oc.env:MCL_DATA,data}}/{facts.folder}"
    )
    if not given.is_dir():
        state = "is not a folder" if given.exists() else "does not exist"
        raise DataError(f"data.root {data.root!r} {state}", key="data.root", remedy=remedy)
    inner = given / str(facts.folder)
    trees = [tree for tree in (given, inner) if any((tree / name).exists() for name in required)]
    if len(trees) > 1:
        raise DataError(
            f"data.root {data.root!r} holds the lists of {facts.name}, and so does its "
            f"{facts.folder}/",
            key="data.root",
            remedy="keep one of them, or name the inner one",
        )
    if not trees:
        raise DataError(
            f"data.root {data.root!r} holds none of {', '.join(required)}",
            key="data.root",
            remedy=remedy,
        )
    return trees[0]


def tell_absent(
    root: Path, required: Sequence[str], *, facts: DatasetFacts, report: Report
) -> bool:
    """Report each required list that isn't there, and whether all are."""
    absent = [name for name in required if not (root / name).is_file()]
    for name in absent:
        report(Fault(kind="missing", file=name, detail="does not exist", remedy=advice(facts)))
    return not absent


def keep_present(
    images: Iterable[Listed], *, root: Path, facts: DatasetFacts, report: Report
) -> Iterator[Listed]:
    """The images that are there; others are reported as missing, or as no path below the root."""
    for image in images:
        path = root / image.path
        if not _below(image.path):
            report(
                Fault(
                    kind="path",
                    file=image.path,
                    detail="leads out of the data set's folder",
                    place=image.place,
                    remedy="mend the list, or unpack the archive again",
                )
            )
        elif not os.path.isfile(path):
            report(
                Fault(
                    kind="missing",
                    file=image.path,
                    detail="does not exist",
                    place=image.place,
                    remedy=f"unpack the archive again, or take the image away from every list; "
                    f"{advice(facts)}",
                )
            )
        else:
            yield image


def tell_orphans(folder: Path, *, named: Collection[str], root: Path, report: Report) -> None:
    """Report each image file below `folder` that is not among the paths `named`."""
    for path in image_files(folder):
        name = identity(path, root)
        if name not in named:
            report(
                Fault(
                    kind="orphan",
                    file=name,
                    detail="is named by no list",
                    remedy="add it to the lists, or take the file away",
                )
            )


def advice(facts: DatasetFacts) -> str:
    """What to get, and where to put it."""
    lines = [f"mcl-bench data fetch {facts.name}, or get by hand:"]
    for archive in facts.archives:
        md5 = f" (md5 {archive.md5})" if archive.md5 else ""
        verb = "unpack it" if archive.unpacked else "put it"
        place = "/".join(part for part in ("DIR", archive.folder) if part)
        lines.append(f"{archive.name}{md5} from {archive.page}: {verb} into {place}")
    lines.append(f"then data.root is DIR/{facts.folder}")
    return "\n  ".join(lines)


def _below(name: str) -> bool:
    """Whether a path of a list stays below the folder it is relative to, links apart."""
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts and "\0" not in name
