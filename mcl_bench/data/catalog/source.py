"""What a dataset is: facts about it, and a source that lists and reads its images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from mcl_bench.spec.schema import DataSpec

Split = Literal["train", "validation", "test"]

Picture = bytes | npt.NDArray[np.uint8]
"""An image file's bytes, or H×W×3 RGB pixels."""


FaultKind = Literal[
    "missing", "corrupt", "empty", "duplicate", "label", "split", "orphan", "path", "checksum"
]
"""What can be wrong with an image, or with a list of images.

missing: a list names it and it isn't there, or a list is absent that must be. corrupt: it can't
be decoded, or a list can't be read. empty: a file of no bytes, a class without images. duplicate:
equal bytes or pixels, or listed twice. label: its class is unknown, out of range or another than
its folder's. split: in none, or in two that exclude one another. orphan: no list names it. path:
it leads out of the root, or can't be a path. checksum: an archive other than the official one.
"""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with the images of a dataset.

    `file` is the image concerned, relative to the root, or else the list, or `.` where it is the
    root itself. `detail` says what is
    wrong in words that stand after the file's name; `place` is where it is told (`images.txt:7`).
    """

    kind: FaultKind
    file: str
    detail: str
    place: str | None = None
    remedy: str | None = None

    @property
    def told(self) -> str:
        """What is wrong and where it is told, in words that stand beside the file's name."""
        return self.detail if self.place is None else f"{self.detail} ({self.place})"


Report = Callable[[Fault], None]
"""Told each fault while a dataset is listed: `refuse` raises at the first, `verify` collects."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file that a dataset is published as.

    `urls` are tried in their order; none means that no link is known to live, and that a person
    gets it from `page`. `folder`, relative to the folder that holds the dataset's own, is where it
    is unpacked, or, if it isn't to be `unpacked`, where it lies. `md5` and `nbytes` are the
    official ones, where known.
    """

    name: str
    urls: tuple[str, ...] = ()
    page: str
    md5: str | None = None
    nbytes: int | None = None
    unpacked: bool = True
    folder: str = ""
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What `data list` tells of a dataset.

    `classes` is None where the images decide; `images` says where they come from. `folder` is the
    official name of the folder that `data.root` names, `archives` what it is made of, `counts` the
    official number of images by split, `traps` what a sceptic should know of the results.
    `optional_files`, relative to `data.root`, add something where they are there.
    """

    name: str
    title: str
    classes: int | None
    images: str
    citation: str
    licence: str
    needs_root: bool
    notes: str = ""
    folder: str | None = None
    archives: tuple[Archive, ...] = ()
    counts: Mapping[Split, int] = field(default_factory=dict)
    traps: tuple[str, ...] = ()
    optional_files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a dataset: its id (a relative path), its class and its official split.

    `split` is None where the dataset has no official test split. Images of one `group` show one
    object and are never cut apart; either all images of a dataset have one, or none.
    """

    id: str
    label: int
    split: Split | None
    group: str | None = None


def groups_of(members: Sequence[Member]) -> tuple[str, ...] | None:
    """Each image's group, or None where the dataset has none."""
    groups = tuple(member.group for member in members if member.group is not None)
    assert len(groups) in {0, len(members)}, "all images have a group, or none has"
    return groups or None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image as its source gives it.

    `extra` holds what else is known of it: arrays of one shape over the whole set. `trim_bottom`
    rows of pixels are no part of the photograph and are cut away before anything else.
    """

    picture: Picture
    extra: Mapping[str, npt.NDArray[np.float32]]
    trim_bottom: int = 0


class Source(Protocol):
    """The images of one dataset, listed but not read."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of their numbers."""
        ...

    @property
    def members(self) -> Sequence[Member]:
        """All images, sorted by id."""
        ...

    @property
    def digest(self) -> str:
        """64 hex digits that change with any image, path, label or group, and with nothing else."""
        ...

    @property
    def extra_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each array of an example's `extra`."""
        ...

    @property
    def extra_digests(self) -> Mapping[str, str]:
        """For each array of `extra` that a list can change, 64 hex digits that change with it."""
        ...

    def read(self, index: int) -> Example:
        """The image of `members[index]`; OSError if it cannot be read."""
        ...


class Dataset(Protocol):
    """One entry of the catalog."""

    facts: DatasetFacts

    def check(self, data: DataSpec) -> None:
        """Raise UserError or DataError where this dataset cannot serve `data`; reads no image."""
        ...

    def unused(self, data: DataSpec) -> tuple[str, ...]:
        """The keys of `data`, of `test` and `max_faults`, that say nothing of these images."""
        ...

    def open(self, data: DataSpec, *, cache: Path) -> Source:
        """The source of these images; DataError if it is missing or cannot be used.

        `cache` is a folder for what need not be worked out again, such as hashes of files.
        """
        ...


class Inspected(Protocol):
    """A catalog entry whose images lie in files that can be wrong."""

    def inspect(self, data: DataSpec, *, cache: Path, report: Report) -> tuple[Path, Source] | None:
        """The root, and a source of what is right, every fault of the listing being reported.

        None where nothing can be listed (which has been reported too). What only reading the images
        would tell (corrupt, duplicate) is not looked at.
        """
        ...
