"""`cub200`: Caltech-UCSD Birds-200-2011, photographs of 200 species, in its official layout."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.cub200_lists import REQUIRED, Lists, read_lists
from mcl_bench.data.catalog.cub200_rows import BOXES, PARTS, PLACES
from mcl_bench.data.catalog.listed import (
    Listed,
    ListedDataset,
    ListedSource,
    keep_present,
    tell_orphans,
)
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Report
from mcl_bench.data.frame import box_shares, opened, shares
from mcl_bench.data.listing import rows_digest
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "CUB_200_2011"
_ARCHIVE = "CUB_200_2011.tgz"
_MD5 = "97eceeb196236b17998738112f37df78"
_PAGE = "https://data.caltech.edu/records/65de6-vp158"


class Cub200Options(Model):
    """`cub200` has no options."""


class Cub200(ListedDataset["Cub200Source"]):
    """The catalog's entry of `cub200`."""

    facts = DatasetFacts(
        name="cub200",
        title="Caltech-UCSD Birds-200-2011: birds of 200 species",
        classes=200,
        images=f"{_ARCHIVE} (md5 {_MD5}) from {_PAGE}, unpacked; data.root is its folder {_FOLDER}",
        citation="Wah, Branson, Welinder, Perona, Belongie 2011: The Caltech-UCSD Birds-200-2011 "
        "Dataset, California Institute of Technology, CNS-TR-2011-001",
        licence="none found; photographs from Flickr, treat as non-commercial research",
        needs_root=True,
        notes="official split: 5,994 training and 5,794 test images, no validation split "
        "(data.validation is cut from train); boxes and 15 parts where their lists are",
        folder=_FOLDER,
        archives=(
            Archive(
                name=_ARCHIVE,
                urls=(f"{_PAGE}/files/{_ARCHIVE}",),
                page=_PAGE,
                md5=_MD5,
            ),
        ),
        counts={"train": 5994, "test": 5794},
        traps=(
            "overlap with ImageNet: 22 of the 5,794 test images (0.38 %) are ImageNet images by "
            "md5 (the authors of Spatial Transformer Networks, on guopei.github.io, 2016), so "
            "ImageNet weights have seen them",
            "no official validation split: settings chosen on test are chosen on what they are "
            "judged by",
        ),
        optional_files=(BOXES.name, PARTS.name, PLACES.name),
    )
    options = Cub200Options
    lists = REQUIRED

    def listed(
        self,
        root: Path,
        data: DataSpec,  # noqa: ARG002
        *,
        cache: Path,
        report: Report,
    ) -> "Cub200Source | None":
        """The photographs that every list has; None where a list can't be read."""
        lists = read_lists(root, report)
        if lists is None:
            return None
        images = keep_present(lists.images, root=root, facts=self.facts, report=report)
        source = Cub200Source(root, lists=lists, images=tuple(images), cache=cache)
        tell_orphans(root / "images", named=lists.named, root=root, report=report)
        return source


class Cub200Source(ListedSource):
    """The images of one tree, listed when this is made, read when asked for.

    Classes are named as in classes.txt, in its order: `001.Black_footed_Albatross`. A class that
    classes.txt names and no image has is left out.
    """

    def __init__(
        self, root: Path, *, lists: Lists, images: tuple[Listed, ...], cache: Path
    ) -> None:
        super().__init__(root, classes=lists.classes, images=images, cache=cache)
        self._boxes = lists.boxes
        self._parts = lists.parts
        self._num_parts = lists.num_parts

    @property
    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """`box`: x, y, width, height; `parts`: parts × (x, y, visible); each if its list is there.

        Positions and lengths are shares of the image.
        """
        shapes: dict[str, tuple[int, ...]] = {} if self._boxes is None else {"box": (4,)}
        if self._num_parts is not None:
            shapes["parts"] = (self._num_parts, 3)
        return shapes

    @property
    def extra_digests(self) -> dict[str, str]:
        """The digest of the boxes and of the parts, each if its list is there."""
        lists = {"box": self._boxes, "parts": self._parts}
        return {name: rows_digest(rows) for name, rows in lists.items() if rows is not None}

    def extra(self, index: int, content: bytes) -> Mapping[str, npt.NDArray[np.float32]]:
        """The photograph's box and parts; a part that is not visible is 0, 0, 0."""
        path = self.members[index].id
        extra: dict[str, npt.NDArray[np.float32]] = {}
        if self._boxes is None and self._parts is None:
            return extra
        with opened(content) as file:
            if self._boxes is not None:
                x, y, width, height = self._boxes[path]
                extra["box"] = box_shares((x, y, x + width, y + height), file)
            if self._parts is not None:
                parts_P3 = self._parts[path]
                visible_P1 = parts_P3[:, 2:]
                places_P2 = shares(parts_P3[:, :2], file) * visible_P1
                extra["parts"] = np.hstack((places_P2, visible_P1)).astype(np.float32)
        return extra
