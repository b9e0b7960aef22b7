"""`folder`: any tree of class folders, with `train/` and `test/` or without.

A class is a folder; all image files below it, at any depth, are its images. Hidden files, files
of the desktop (`Thumbs.db`, `__MACOSX`) and files that are no images by their extension are
passed over. A file `groups.csv` in the root may say which images show one object.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mcl_bench.data.catalog.group_list import with_groups
from mcl_bench.data.catalog.image_files import EXTENSIONS, identity, image_files, passed_over
from mcl_bench.data.catalog.listed import refuse
from mcl_bench.data.catalog.options import parse_options
from mcl_bench.data.catalog.source import DatasetFacts, Example, Fault, Member, Report, Split
from mcl_bench.data.listing import file_digests, source_digest
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

_SPLIT_FOLDERS: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_NAMED_AT_MOST = 5


class FolderOptions(Model):
    """`folder` has no options."""


class Folder:
    """The catalog's entry of `folder`."""

    facts = DatasetFacts(
        name="folder",
        title="A folder of images, one folder per class",
        classes=None,
        images="yours, at data.root: class folders under train/ and test/ (and val/), or alone",
        citation="yours",
        licence="yours",
        needs_root=True,
        notes="without train/ and test/ a stratified test split (data.test) is cut once; with a "
        "groups.csv (path,group) photographs of one object are on one side of every cut",
    )

    def check(self, data: DataSpec) -> None:
        """Raise UserError on options, DataError where the tree is absent or has no classes."""
        parse_options(FolderOptions, data.options, dataset="folder")
        there = has_validation(data)
        if data.validation == "official" and not there:
            raise UserError(
                f"data.validation: official needs a folder val/ in {data.root}, which has none",
                key="data.validation",
                remedy="give a share of the training images, such as 0.1",
            )

    def unused(self, data: DataSpec) -> tuple[str, ...]:
        """The test split is the folder `test/`, where there is one."""
        return ("test",) if "test" in _split_folders(_root(data)) else ()

    def open(self, data: DataSpec, *, cache: Path) -> "FolderSource":
        """List the tree's images; DataError where one could not be used."""
        return FolderSource(_root(data), cache=cache)

    def inspect(
        self, data: DataSpec, *, cache: Path, report: Report
    ) -> "tuple[Path, FolderSource] | None":
        """The root and what is right of its images, every fault of the tree being reported."""
        root = _root(data)
        if not _split_folders(root, report):
            return None
        return root, FolderSource(root, cache=cache, report=report)


def has_validation(data: DataSpec) -> bool:
    """Whether the tree has a `val/` of its own; DataError where it is absent or has no classes."""
    return "validation" in _split_folders(_root(data))


class FolderSource:
    """The images of one tree, listed when this is made, read when asked for.

    What is wrong is told to `report`; without one it is a DataError.
    """

    def __init__(self, root: Path, *, cache: Path, report: Report | None = None) -> None:
        self._root = root
        self._cache = cache
        splits = _split_folders(root)
        found = {
            (split, folder.name): list(image_files(folder))
            for split, place in splits.items()
            for folder in _folders(place)
        }
        faults = list(_faults(found, root, splits))
        if faults and report is None:
            raise _refusal(root, faults)
        for fault in faults:
            assert report is not None, "faults have been refused"
            report(fault)
        trained = _trained(found)
        self._classes = tuple(sorted(name for name in trained if found[trained[name], name]))
        number = {name: label for label, name in enumerate(self._classes)}
        self._paths: dict[str, Path] = {}
        members = []
        for (split, name), files in found.items():
            for path in files if name in number else ():
                member = Member(id=identity(path, root), label=number[name], split=split)
                self._paths[member.id] = path
                members.append(member)
        members.sort(key=lambda member: member.id)
        self._members = with_groups(members, root=root, report=report or refuse(root))

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders' names, sorted."""
        return self._classes

    @property
    def members(self) -> tuple[Member, ...]:
        """All images, sorted by their path relative to the root."""
        return self._members

    @functools.cached_property
    def digest(self) -> str:
        """The hash of every image's path, bytes and class, and of its group where there are any."""
        names = [
            os.fspath(self._paths[member.id].relative_to(self._root)) for member in self.members
        ]
        digests = file_digests(self._root, names, cache=self._cache)
        return source_digest(
            (member.id, digest, _told(self._classes[member.label], member.group))
            for member, digest in zip(self._members, digests, strict=True)
        )

    @property
    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """Nothing else is known of an image."""
        return {}

    @property
    def extra_digests(self) -> dict[str, str]:
        """Nothing else is known of an image."""
        return {}

    def read(self, index: int) -> Example:
        """One image file."""
        return Example(picture=self._paths[self._members[index].id].read_bytes(), extra={})


def _told(name: str, group: str | None) -> str:
    """A class's name, and an image's group behind a slash, which no folder's name has."""
    return name if group is None else f"{name}/{group}"


def _root(data: DataSpec) -> Path:
    if data.root is None:
        raise UserError(
            "data.root must name the folder of images, got none",
            key="data.root",
            remedy="root: path/to/images, which holds one folder per class",
        )
    root = Path(data.root).expanduser()
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.root {data.root!r} {state}", key="data.root")
    return root


def _split_folders(root: Path, report: Report | None = None) -> dict[Split | None, Path]:
    """The folder of each split; {None: root} where the class folders lie in the root itself.

    Folders that lie otherwise are reported, and none is known then; without `report` they are a
    DataError.
    """
    report = report or refuse(root)
    folders = _folders(root)
    named = {folder.name.lower(): folder for folder in folders}
    known = set(_SPLIT_FOLDERS.values())
    nested = [name for name in known & set(named) if _folders(named[name])]
    if not nested and not (named and set(named) <= known):
        return {None: root} if _hold_classes([root], root, report) else {}
    missing = {"train", "test"} - set(named)
    strangers = sorted(
        f"{folder.name}/"
        for folder in folders
        if folder.name.lower() not in known or named[folder.name.lower()] != folder
    )
    if missing or strangers:
        lacks = [f"has no {name}/" for name in sorted(missing)]
        also = [f"has {_some(strangers)} beside them"]
        report(
            Fault(
                kind="missing",
                file=".",
                detail="must hold train/ and test/ (and may hold val/), or class folders only; "
                f"it {' and '.join(lacks or also)}",
                remedy="without train/ and test/, a test split is cut from the class folders",
            )
        )
        return {}
    places: dict[Split | None, Path] = {
        split: named[name] for split, name in _SPLIT_FOLDERS.items() if name in named
    }
    return places if _hold_classes(places.values(), root, report) else {}


def _hold_classes(places: Iterable[Path], root: Path, report: Report) -> bool:
    """Whether each place holds two class folders or more; one that doesn't is reported."""
    scant = [place for place in places if len(_folders(place)) < 2]
    for place in scant:
        report(
            Fault(
                kind="missing",
                file=identity(place, root),
                detail=f"must hold at least two class folders, got {len(_folders(place))}",
                remedy="put the images of each class into a folder of its own",
            )
        )
    return not scant


def _folders(place: Path) -> list[Path]:
    """The folders in `place`, sorted by name; DataError if it can't be read."""
    try:
        return sorted(
            entry for entry in place.iterdir() if entry.is_dir() and not passed_over(entry.name)
        )
    except OSError as error:
        raise DataError(
            f"the folder {place} can't be read: {error.strerror}", key="data.root"
        ) from error


def _trained(found: Mapping[tuple[Split | None, str], object]) -> dict[str, Split | None]:
    """The classes that can be trained, by name, with the split that their images lie in."""
    return {name: split for split, name in found if split in (None, "train")}


def _faults(
    found: Mapping[tuple[Split | None, str], list[Path]],
    root: Path,
    splits: Mapping[Split | None, Path],
) -> Iterator[Fault]:
    """Each class folder without an image, and each class that can't be trained or be scored."""
    trained = _trained(found)
    for (split, name), files in found.items():
        folder = identity(splits[split] / name, root)
        if not files:
            yield Fault(
                kind="empty",
                file=folder,
                detail="is a class folder without an image",
                remedy=f"take it away; images end in {' '.join(sorted(EXTENSIONS))}",
            )
        if name not in trained:
            yield Fault(
                kind="label",
                file=folder,
                detail="is the folder of a class that has no folder in train/",
                remedy="add one with images to train/, or take this one away",
            )
        if split is None and len(files) == 1:
            yield Fault(
                kind="split",
                file=identity(files[0], root),
                detail="is the only 1 image of its class, which cannot be both trained and tested",
                remedy="add images or take the folder away; 3 images serve train, validation "
                "and test",
            )


def _refusal(root: Path, faults: Sequence[Fault]) -> DataError:
    """The first fault, and the names of those like it."""
    first = faults[0]
    alike = [fault.file for fault in faults[1:] if fault.kind == first.kind]
    also = f"; the same goes for {_some(alike)}" if alike else ""
    return DataError(
        f"{root / first.file} {first.detail}{also}", key="data.root", remedy=first.remedy
    )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
