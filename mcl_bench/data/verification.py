"""Verifying a dataset: its lists held against one another, and every image of it read."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.data.catalog import Dataset, DatasetFacts, Member, Source
from mcl_bench.data.catalog.image_files import EXTENSIONS
from mcl_bench.data.catalog.source import Archive, Fault, FaultKind
from mcl_bench.data.decode import UNREADABLE, planar
from mcl_bench.data.frame import EmptyFile
from mcl_bench.data.listing import file_md5
from mcl_bench.data.store import dataset_named
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec

Progress = Callable[[int, int], None]
"""Told how many images have been read, of how many."""

TELLING: tuple[FaultKind, ...] = (
    "path",
    "missing",
    "empty",
    "corrupt",
    "checksum",
    "label",
    "split",
    "duplicate",
    "orphan",
)
"""The kinds of fault, the most telling first: an image with several is named by the first."""

_MAKE_UP = {"train": "a training image", "validation": "a validation image", "test": "a test image"}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found: images and classes as listed, images by split, what is wrong, and notes.

    `splits` is empty where a set has no official test split. A note tells what differs from the
    official set without being wrong. Faults are in the order of their files; an image has at most
    one, a list one for each of its places.
    """

    images: int
    classes: int
    splits: Mapping[str, int]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What reading one image told: its digests, or what is wrong with it."""

    content: bytes = b""
    pixels: bytes = b""
    fault: Fault | None = None


def verify(data: DataSpec, *, cache: Path, progress: Progress | None = None) -> Verification:
    """Look at every list and every image of `data`, and tell all that is wrong.

    Reads each image once, on several threads, and keeps only its hashes. Data that cannot be
    listed at all is one fault. Raises UserError for a call that makes no sense, such as one
    without a root, or with options that the dataset does not have.
    """
    dataset = dataset_named(data.name)
    with contextlib.suppress(DataError):  # which is told below, beside all else
        dataset.check(data)
    faults: list[Fault] = []
    found = _listed(dataset, data, cache=cache, report=faults.append)
    if found is None:
        return Verification(images=0, classes=0, splits={}, faults=_settled(faults, ()), notes=())
    root, source = found
    if root is not None:
        faults += _wrong_archives(dataset.facts.archives, root)
    faults += _wrong_images(source, progress)
    members = source.members
    return Verification(
        images=len(members),
        classes=len(source.classes),
        splits={
            split: count
            for split in ("train", "validation", "test")
            if (count := sum(member.split == split for member in members))
        },
        faults=_settled(faults, [member.id for member in members]),
        notes=tuple(_notes(dataset.facts, source, root)),
    )


def _listed(
    dataset: Dataset, data: DataSpec, *, cache: Path, report: Callable[[Fault], None]
) -> tuple[Path | None, Source] | None:
    """The root, where there is one, and the images; None if they can't be listed (reported)."""
    inspect = getattr(dataset, "inspect", None)
    try:
        if inspect is not None:
            found: tuple[Path, Source] | None = inspect(data, cache=cache, report=report)
            return found
        source = dataset.open(data, cache=cache)
    except DataError as error:
        report(
            Fault(
                kind="missing",
                file=".",
                detail=error.rule,
                remedy=error.remedy,
            )
        )
        return None
    return (None if data.root is None else Path(data.root).expanduser()), source


def _wrong_images(source: Source, progress: Progress | None) -> Iterator[Fault]:
    """The images that can't be read, and those that are there twice."""
    members = source.members
    first: dict[bytes, tuple[int, bytes]] = {}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        looked = pool.map(lambda index: _look(source, index), range(len(members)))
        for index, seen in enumerate(looked):
            if seen.fault is not None:
                yield seen.fault
            elif seen.pixels in first:
                other, content = first[seen.pixels]
                yield _duplicate(members[index], members[other], bytewise=content == seen.content)
            else:
                first[seen.pixels] = (index, seen.content)
            if progress is not None:
                progress(index + 1, len(members))


def _look(source: Source, index: int) -> _Seen:
    """Read and decode one image."""
    name = source.members[index].id
    try:
        example = source.read(index)
        pixels = planar(example.picture, size=None, trim_bottom=example.trim_bottom)
    except EmptyFile:
        return _Seen(fault=Fault(kind="empty", file=name, detail="has no bytes"))
    except FileNotFoundError:
        return _Seen(
            fault=Fault(
                kind="missing",
                file=name,
                detail="does not exist: it is a link that leads to no file, or was just taken away",
                remedy="mend the link, or take it away",
            )
        )
    except UNREADABLE as error:
        reason = str(error) or type(error).__name__
        return _Seen(
            fault=Fault(
                kind="corrupt",
                file=name,
                detail=f"cannot be read: {reason}",
                remedy="unpack the archive again",
            )
        )
    picture = example.picture
    content = picture if isinstance(picture, bytes) else picture.tobytes()
    shape = repr(pixels.shape).encode()
    return _Seen(
        content=hashlib.sha256(content).digest(),
        pixels=hashlib.sha256(shape + pixels.tobytes()).digest(),
    )


def _duplicate(member: Member, other: Member, *, bytewise: bool) -> Fault:
    what = "has the same bytes as" if bytewise else "shows the same pixels as"
    words = f"{what} {other.id}"
    if member.split != other.split:
        words += f", {_MAKE_UP[str(other.split)]}; this is {_MAKE_UP[str(member.split)]}"
    if member.label != other.label:
        words += "; they are of two classes"
    return Fault(
        kind="duplicate",
        file=member.id,
        detail=words,
        remedy="keep one of them, and take the other away from every list",
    )


def _wrong_archives(archives: Iterable[Archive], root: Path) -> Iterator[Fault]:
    """The archives that lie beside the images and aren't the official ones."""
    for archive in archives:
        for path in archive_places(archive, root.parent, root):
            if archive.md5 is None or not path.is_file():
                continue
            if (md5 := file_md5(path)) != archive.md5:
                yield Fault(
                    kind="checksum",
                    file=Path(os.path.relpath(path, root)).as_posix(),
                    detail=f"its md5 must be {archive.md5}, got {md5}",
                    remedy=f"get it again from {archive.page}",
                )


def archive_places(archive: Archive, holder: Path, root: Path) -> list[Path]:
    """Where an archive may lie: in the folder that holds the data set's own, or in that one."""
    places = [root / archive.name, holder / archive.name, holder / archive.folder / archive.name]
    return list({os.path.realpath(place): place for place in places}.values())


def _notes(facts: DatasetFacts, source: Source, root: Path | None) -> Iterator[str]:
    """What differs from the official set, or is left out of it, without being wrong."""
    members = source.members
    if facts.classes is not None and len(source.classes) != facts.classes:
        yield f"{len(source.classes)} classes, the official set has {facts.classes}"
    counts = Counter(member.split for member in members)
    for split, official in facts.counts.items():
        if counts[split] != official:
            yield f"{split}: {counts[split]:,} images, the official set has {official:,}"
    if None in counts:
        yield "no test split of its own: data.test says what share of the images is cut for it"
    if root is None:
        return
    for name in facts.optional_files:
        if not (root / name).exists():
            yield f"{name} is absent; it is optional"
    for archive in facts.archives:
        place = root.parent / archive.folder / archive.name
        if archive.optional and not archive.unpacked and not place.exists():
            yield f"{archive.name} is absent; it is optional"


def _settled(faults: Iterable[Fault], images: Sequence[str]) -> tuple[Fault, ...]:
    """The faults in the order of their files, with one for each image, its most telling one."""
    named = frozenset(images)
    chosen: dict[tuple[str, str | None], Fault] = {}
    for fault in sorted(faults, key=lambda fault: TELLING.index(fault.kind)):
        is_image = fault.file in named or Path(fault.file).suffix.lower() in EXTENSIONS
        place = None if is_image else f"{fault.place} {fault.detail}"
        chosen.setdefault((fault.file, place), fault)
    return tuple(sorted(chosen.values(), key=lambda fault: (fault.file, fault.place or "")))
