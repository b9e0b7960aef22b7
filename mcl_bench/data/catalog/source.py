"""What a dataset is: facts about it, and a source that lists and reads its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from mcl_bench.spec.schema import DataSpec

Split = Literal["train", "validation", "test"]

Picture = bytes | npt.NDArray[np.uint8]
"""An image file's bytes, or H×W×3 RGB pixels."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What `data list` tells of a dataset.

    `classes` is None where the images decide; `images` says where they come from.
    """

    name: str
    title: str
    classes: int | None
    images: str
    citation: str
    licence: str
    needs_root: bool
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One image of a dataset: its id (a relative path), its class and its official split.

    `split` is None where the dataset has no official test split.
    """

    id: str
    label: int
    split: Split | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image as its source gives it.

    `extra` holds what else is known of it: arrays of one shape over the whole set.
    """

    picture: Picture
    extra: Mapping[str, npt.NDArray[np.float32]]


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
        """64 hex digits that change with any image, path or label, and with nothing else."""
        ...

    @property
    def extra_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each array of an example's `extra`."""
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
