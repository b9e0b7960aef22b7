"""`cub200`: Caltech-UCSD Birds-200-2011, photographs of 200 species, in its official layout."""

import functools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.cub200_lists import REQUIRED, ListedImage, read_lists
from mcl_bench.data.catalog.image_files import identity, image_files
from mcl_bench.data.catalog.options import no_official_validation, parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Member
from mcl_bench.data.frame import box_shares, opened, shares
from mcl_bench.data.listing import file_digests, source_digest
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_FOLDER = "CUB_200_2011"
_ARCHIVE = "CUB_200_2011.tgz"
_MD5 = "97eceeb196236b17998738112f37df78"
_PAGE = "https://data.caltech.edu/records/65de6-vp158"
_ROOT_KEY = f"${{oc.env:MCL_DATA,data}}/{_FOLDER}"


class Cub200Options(Model):
    """`cub200` has no options."""


class Cub200:
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
        "(data.validation is cut from train); boxes and 15 parts where their lists are; "
        "overlap with ImageNet: 22 of the 5,794 test images (0.38 %) are ImageNet images by md5 "
        "(the authors of Spatial Transformer Networks, on guopei.github.io, 2016), so ImageNet "
        "weights have seen them",
    )

    def check(self, data: DataSpec) -> None:
        """Raise UserError on options, DataError where the tree or one of its lists is absent."""
        parse_options(Cub200Options, data.options, dataset="cub200")
        _root(data)
        no_official_validation(data)

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        """The test split is official."""
        return ("test",)

    def open(self, data: DataSpec, *, cache: Path) -> "Cub200Source":
        """Read the lists and find their images."""
        return Cub200Source(_root(data), cache=cache)


class Cub200Source:
    """The images of one tree, listed when this is made, read when asked for.

    A class that classes.txt names and no image has is left out.
    """

    def __init__(self, root: Path, *, cache: Path) -> None:
        self._root = root
        self._cache = cache
        self._lists = read_lists(root)
        _check_images(root, self._lists.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of classes.txt, in its order: `001.Black_footed_Albatross`."""
        return self._lists.classes

    @functools.cached_property
    def members(self) -> tuple[Member, ...]:
        """All images, by their path relative to the root, with their official split."""
        return tuple(
            Member(id=image.path, label=image.label, split="train" if image.trained else "test")
            for image in self._lists.images
        )

    @functools.cached_property
    def digest(self) -> str:
        """The hash of every image's split and path, bytes and class.

        Other sets have their split in the paths; here a list has it, so the split is put in front
        of the path: two trees that differ in it only are not the same data.
        """
        digests = file_digests(
            self._root, [member.id for member in self.members], cache=self._cache
        )
        return source_digest(
            (f"{member.split}/{member.id}", digest, self.classes[member.label])
            for member, digest in zip(self.members, digests, strict=True)
        )

    @property
    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """`box`: x, y, width, height; `parts`: parts × (x, y, visible); each if its list is there.

        Positions and lengths are shares of the image.
        """
        shapes: dict[str, tuple[int, ...]] = {"box": (4,)} if self._lists.boxes else {}
        if self._lists.num_parts is not None:
            shapes["parts"] = (self._lists.num_parts, 3)
        return shapes

    def read(self, index: int) -> Example:
        """One photograph, with its box and parts; a part that is not visible is 0, 0, 0."""
        image = self._lists.images[index]
        content = (self._root / image.path).read_bytes()
        return Example(picture=content, extra=_extra(image, content))


def _extra(image: ListedImage, content: bytes) -> dict[str, npt.NDArray[np.float32]]:
    extra: dict[str, npt.NDArray[np.float32]] = {}
    if image.box is None and image.parts_P3 is None:
        return extra
    with opened(content) as file:
        if image.box is not None:
            x, y, width, height = image.box
            extra["box"] = box_shares((x, y, x + width, y + height), file)
        if image.parts_P3 is not None:
            visible_P1 = image.parts_P3[:, 2:]
            places_P2 = shares(image.parts_P3[:, :2], file) * visible_P1
            extra["parts"] = np.hstack((places_P2, visible_P1)).astype(np.float32)
    return extra


def _check_images(root: Path, images: tuple[ListedImage, ...]) -> None:
    """DataError for a listed image that is not there, and for an image that no list has."""
    found = {identity(path, root) for path in image_files(root / "images")}
    for image in images:
        if image.path not in found and not os.path.isfile(root / image.path):
            raise DataError(
                f"{root / 'images.txt'}:{image.line}: {root / image.path} does not exist",
                key="data.root",
                remedy=f"unpack {_ARCHIVE} again, or take the image away from every list",
            )
    unlisted = sorted(found - {image.path for image in images})
    if unlisted:
        more = f" (nor have {len(unlisted) - 1} more)" if len(unlisted) > 1 else ""
        raise DataError(
            f"{root / unlisted[0]} has no id in {root / 'images.txt'}{more}",
            key="data.root",
            remedy="add it to every list, or take the file away",
        )


def _root(data: DataSpec) -> Path:
    """The folder that holds the lists: `data.root`, or CUB_200_2011 in it."""
    if data.root is None:
        raise UserError(
            f"data.root must name the folder {_FOLDER}, got none",
            key="data.root",
            remedy=f"root: {_ROOT_KEY}\n  {_advice(Path('data') / _FOLDER)}",
        )
    given = Path(data.root).expanduser()
    if not given.is_dir():
        state = "is not a folder" if given.exists() else "does not exist"
        raise DataError(f"data.root {data.root!r} {state}", key="data.root", remedy=_advice(given))
    trees = [tree for tree in (given, given / _FOLDER) if _lists_of(tree)]
    if len(trees) > 1:
        raise DataError(
            f"data.root {data.root!r} holds the lists of cub200, and so does its {_FOLDER}/",
            key="data.root",
            remedy="keep one of them, or name the inner one",
        )
    if not trees:
        raise DataError(
            f"data.root {data.root!r} holds none of {', '.join(REQUIRED)}",
            key="data.root",
            remedy=_advice(given),
        )
    (root,) = trees
    for name in REQUIRED:
        if not (root / name).is_file():
            raise DataError(
                f"{root / name} does not exist",
                key="data.root",
                remedy=f"unpack {_ARCHIVE} again: {_advice(root)}",
            )
    return root


def _lists_of(tree: Path) -> list[str]:
    return [name for name in REQUIRED if (tree / name).exists()]


def _advice(root: Path) -> str:
    """What to get, and where to put it."""
    lines = (
        f"get {_ARCHIVE} (md5 {_MD5}) from {_PAGE}",
        f"and unpack it, so that {root.absolute() / 'images.txt'} exists;",
        f"where the folder {_FOLDER} lies elsewhere, name it by data.root=PATH/{_FOLDER}, or set",
        f"MCL_DATA=PATH, which experiments/cub_resnet.yaml uses: root: {_ROOT_KEY}",
    )
    return "\n  ".join(lines)
