"""`cars`: Stanford Cars, in either of the layouts that it is found in.

devkit, the official one of the competition:

    devkit/cars_meta.mat               class_names
    devkit/cars_train_annos.mat        annotations: bbox_x1 bbox_y1 bbox_x2 bbox_y2 class fname
    cars_test_annos_withlabels.mat     likewise, of the test images; devkit/ may hold it
    cars_train/00001.jpg               cars_train/cars_train/ in a mirror, and cars_test likewise

annos, the later one of the same images under other numbers:

    cars_annos.mat                     class_names; annotations: relative_im_path bbox_x1 bbox_y1
                                       bbox_x2 bbox_y2 class test
    car_ims/000001.jpg

Classes count from 1, and so do the pixels of the boxes, whose ends are in them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.cars_lists import CarLists, read_annos, read_devkit, required
from mcl_bench.data.catalog.listed import Listed, ListedDataset, ListedSource
from mcl_bench.data.catalog.listed_checks import settled, tell_untested, tell_untrained
from mcl_bench.data.catalog.options import parse_options
from mcl_bench.data.catalog.source import Archive, DatasetFacts, Report
from mcl_bench.data.frame import box_shares, opened
from mcl_bench.data.listing import rows_digest
from mcl_bench.records import UserError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "stanford_cars"
_PAGE = "https://github.com/pytorch/vision/issues/7545"

Layout = Literal["devkit", "annos"]


def _archive(name: str, md5: str, *, unpacked: bool = True) -> Archive:
    return Archive(name=name, page=_PAGE, md5=md5, unpacked=unpacked, folder=_FOLDER)


class CarsOptions(Model):
    """Which layout is read where a tree has both."""

    layout: Literal["auto", "devkit", "annos"] = "auto"


class Cars(ListedDataset["CarsSource"]):
    """The catalog's entry of `cars`."""

    facts = DatasetFacts(
        name="cars",
        title="Stanford Cars: cars of 196 makes, models and years",
        classes=196,
        images="cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat, "
        f"unpacked into one folder {_FOLDER}, or car_ims.tgz and cars_annos.mat; data.root is the "
        f"folder. The official links are dead since 2023: {_PAGE} tells where copies are",
        citation="Krause, Stark, Deng, Fei-Fei 2013: 3D Object Representations for Fine-Grained "
        "Categorization, 4th IEEE Workshop on 3D Representation and Recognition",
        licence="none found; photographs from the web, treat as non-commercial research",
        needs_root=True,
        notes="data.options: layout (auto, devkit, annos); no official validation split "
        "(data.validation is cut from train); boxes where the lists have them",
        folder=_FOLDER,
        archives=(
            _archive("car_devkit.tgz", "c3b158d763b6e2245038c8ad08e45376"),
            _archive("cars_train.tgz", "065e5b463ae28d29e77c1b4b166cfe61"),
            _archive("cars_test.tgz", "4ce7ebf6a94d07f1952d94dd34c4d501"),
            _archive(
                "cars_test_annos_withlabels.mat",
                "b0a2b23655a3edd16d84508592a98d10",
                unpacked=False,
            ),
        ),
        counts={"train": 8144, "test": 8041},
        traps=(
            "two layouts number the same images differently: car_ims.tgz (md5 "
            "d5c8f0aa497503f355e17dc7886c3f14) with cars_annos.mat (md5 "
            "b407c6086d669747186bd1d764ff9dbc) is the other one, so paths of the two cannot be "
            "compared",
            "devkit/cars_test_annos.mat has no classes; cars_test_annos_withlabels.mat has them",
            "a mirror nests the folders: cars_test/cars_test/; both forms are read",
        ),
    )
    options = CarsOptions
    lists = (*required(Path(), "devkit"), *required(Path(), "annos"))

    def needed(self, root: Path, data: DataSpec) -> tuple[str, ...]:
        """The lists of the layout."""
        return required(root, _layout(root, data))

    def listed(
        self, root: Path, data: DataSpec, *, cache: Path, report: Report
    ) -> "CarsSource | None":
        """The images that are listed and there; None where a list cannot be used."""
        layout = _layout(root, data)
        lists = (read_devkit if layout == "devkit" else read_annos)(root, report=report)
        if lists is None:
            return None
        tell_untrained(lists.names, lists.images, file=lists.names_file, report=report)
        tell_untested(lists.images, file=lists.test_file, report=report)
        images = settled(
            lists.images,
            root=root,
            folders=lists.folders,
            named=lists.named,
            facts=self.facts,
            report=report,
        )
        return CarsSource(root, lists=lists, images=images, cache=cache) if images else None


class CarsSource(ListedSource):
    """The images of one tree, with their boxes where the lists have them."""

    def __init__(
        self, root: Path, *, lists: CarLists, images: Sequence[Listed], cache: Path
    ) -> None:
        classes = [name for name, _ in lists.names]
        super().__init__(root, classes=classes, images=images, cache=cache)
        self._boxes = lists.boxes

    @property
    def extra_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """`box`: x, y, width, height as shares of the image, if the lists have boxes."""
        return {} if self._boxes is None else {"box": (4,)}

    @property
    def extra_digests(self) -> Mapping[str, str]:
        """The digest of the boxes, if the lists have them."""
        return {} if self._boxes is None else {"box": rows_digest(self._boxes)}

    def extra(self, index: int, content: bytes) -> Mapping[str, npt.NDArray[np.float32]]:
        """The image's box."""
        if self._boxes is None:
            return {}
        left, top, right, bottom = self._boxes[self.members[index].id]
        with opened(content) as file:
            return {"box": box_shares((left - 1, top - 1, right, bottom), file)}


def _layout(root: Path, data: DataSpec) -> Layout:
    """The layout that is asked for, or the one that is there; UserError if both are."""
    asked = parse_options(CarsOptions, data.options, dataset="cars").layout
    if asked != "auto":
        return asked
    there: list[Layout] = [
        layout
        for layout in get_args(Layout)
        if any((root / name).exists() for name in required(root, layout))
    ]
    if len(there) > 1:
        raise UserError(
            f"data.root {data.root!r} holds the lists of both layouts of cars",
            key="data.options.layout",
            remedy="data.options: {layout: devkit} or {layout: annos}",
        )
    return there[0] if there else "devkit"
