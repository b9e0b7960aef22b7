"""The store: every set is packed once per content, size, mode and test share, then only mapped.

Two files: the training images, and the test images apart. Files appear whole or not at all, under
a lock; a builder that finds them there does nothing. The lock is the kernel's (`flock`), which ends
with its process; nodes that share the folder share it where their file system passes `flock` on, as
NFS, Lustre (mounted with `flock`), CephFS and GPFS do. Without it two nodes may both build, each
file still appearing whole.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mcl_bench.data import packed_file
from mcl_bench.data.catalog import DATASETS, Dataset, Source
from mcl_bench.data.catalog.options import nearest
from mcl_bench.data.images import ImageSet
from mcl_bench.data.listing import unwritable
from mcl_bench.data.mode import Mode, mode_of
from mcl_bench.data.packed_file import read_facts, read_images
from mcl_bench.data.packing import Progress, check_faults, pack, unfinished
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.defaults import SIZES
from mcl_bench.spec.schema import DataSpec, ShortSide


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A packed set: its source digest, mode, files, classes and sizes (`nbytes` of both files)."""

    digest: str
    mode: Mode
    train_path: Path
    test_path: Path
    classes: tuple[str, ...]
    num_train: int
    num_test: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class _Paths:
    train: Path
    test: Path
    lock: Path


def prepare(
    data: DataSpec, *, store: Path, digest: str | None = None, progress: Progress | None = None
) -> Packed:
    """The packed set of `data` under the folder `store`, made if it is not there yet.

    With the source `digest` and a packed training file the source is not touched, nor is the test
    file asked for. Otherwise the source is listed, its digest worked out (or compared with
    `digest`), and what is missing, damaged, of another version or without what is now known of its
    images (the source's extra, such as boxes, which is no part of its digest) is packed again.

    Raises UserError or DataError: an unknown name, a source that is missing or has changed, more
    unreadable images than `data.max_faults`, a store that cannot be written.
    """
    size = stored_size(data)
    if digest is not None:
        found = _found(data, store, digest, size)
        if found is not None:
            return found
    _make(store)
    source = _source(data, store, digest, size)
    share = None if source.members[0].split is not None else data.test
    mode = mode_of(data, num_images=len(source.members), size=size)
    paths = _paths(store, source.digest, size, share, mode)
    with _held(paths.lock):
        facts = _facts(paths.train)
        if (
            facts is None
            or _facts(paths.test) is None
            or len(facts["faults"]) > data.max_faults
            or _lacks_extra(facts, source)
        ):
            _remove_leftovers(store)
            pack(
                source,
                data,
                size=size,
                mode=mode,
                train_path=paths.train,
                test_path=paths.test,
                progress=progress,
            )
            facts = read_facts(paths.train)
    return _packed(paths, source.digest, facts)


def find(data: DataSpec, *, store: Path, digest: str) -> Packed | None:
    """The packed set of this source digest, if it lies under `store`; nothing is read or made.

    DataError if more of its images could not be read than `data.max_faults`.
    """
    return _found(data, store, digest, stored_size(data))


def open_train(packed: Packed) -> ImageSet:
    """The training images, validation included; DataError if their file is absent or damaged."""
    return read_images(packed.train_path)


def dataset_named(name: str) -> Dataset:
    """The catalog's entry; UserError for a name that it does not have."""
    if name not in DATASETS:
        raise UserError(
            f"data.name must be one of {', '.join(sorted(DATASETS))}, got {name!r}",
            key="data.name",
            remedy=nearest(name, DATASETS).strip() or None,
        )
    return DATASETS[name]


def stored_size(data: DataSpec) -> int:
    """The side in pixels that images are stored with (None: the usual one of the set).

    UserError for what the store cannot keep.
    """
    if isinstance(data.resize, ShortSide):
        raise UserError(
            f"data.resize must be an integer, got {{short: {data.resize.short}}}: stored images "
            "share one square shape, so keeping the aspect ratio is not supported",
            key="data.resize",
            remedy=f"resize: {data.resize.short}",
        )
    usual = SIZES[dataset_named(data.name).facts.name].resize
    return usual if data.resize is None else data.resize


def _make(store: Path) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(store, error) from error


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock of a set's packed files; UserError where a lock cannot be written."""
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(store: Path) -> None:
    """Remove what builders left that were killed half-way: unfinished files that nobody writes."""
    for part in store.glob(unfinished(store / "*.arrow").name):
        lock = FileLock(store / f"{part.name.split('.')[1]}.lock", timeout=0)
        with contextlib.suppress(OSError, Timeout), lock:
            part.unlink()


def _found(data: DataSpec, store: Path, digest: str, size: int) -> Packed | None:
    """The packed set of this digest if its training file is there, in the mode that it is to have.

    DataError if too many of its images could not be read.
    """
    modes: tuple[Mode, ...] = ("decoded", "encoded") if data.store == "auto" else (data.store,)
    for mode in modes:
        for share in (None, data.test):
            paths = _paths(store, digest, size, share, mode)
            facts = _facts(paths.train)
            if facts is None:
                continue
            count = facts["num_train"] + facts["num_test"] + len(facts["faults"])
            if mode_of(data, num_images=count, size=size) == mode:
                check_faults(facts["faults"], data)
                return _packed(paths, digest, facts)
    return None


def _source(data: DataSpec, store: Path, digest: str | None, size: int) -> Source:
    """The opened source; DataError if it is not the one that `digest` names."""
    try:
        source = dataset_named(data.name).open(data, cache=store / "listings")
    except DataError as error:
        if digest is None:
            raise
        mode: Mode = "encoded" if data.store == "encoded" else "decoded"
        wanted = _paths(store, digest, size, data.test, mode).train
        raise DataError(
            f"the packed file {wanted} is absent or damaged and cannot be made again: {error.rule}",
            key=error.key,
            remedy=error.remedy,
        ) from error
    if digest is not None and source.digest != digest:
        raise DataError(
            f"the images of {data.root or data.name} have changed: their digest was "
            f"{digest[:12]}, now it is {source.digest[:12]}",
            key="data.root",
        )
    return source


def _paths(store: Path, digest: str, size: int, share: float | None, mode: Mode) -> _Paths:
    """Where a content of this size and test share (None: an official test split) is packed."""
    parts = json.dumps([digest, size, packed_file.VERSION, share, mode])
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    return _Paths(
        train=store / f"{key}.arrow", test=store / f"{key}.test.arrow", lock=store / f"{key}.lock"
    )


def _facts(path: Path) -> dict[str, Any] | None:
    """The facts of a packed file; None if it is absent, damaged or of another version."""
    try:
        facts = read_facts(path)
    except DataError:
        return None
    return facts if facts["version"] == packed_file.VERSION else None


def _lacks_extra(facts: dict[str, Any], source: Source) -> bool:
    """Whether the source knows more of its images than was packed, or something else."""
    packed, digests = facts["extra"], facts.get("extra_digests", {})
    return any(
        packed.get(name) != list(shape) for name, shape in source.extra_shapes.items()
    ) or any(digests.get(name) != digest for name, digest in source.extra_digests.items())


def _packed(paths: _Paths, digest: str, facts: dict[str, Any]) -> Packed:
    return Packed(
        digest=digest,
        mode=facts["mode"],
        train_path=paths.train,
        test_path=paths.test,
        classes=tuple(facts["classes"]),
        num_train=facts["num_train"],
        num_test=facts["num_test"],
        nbytes=paths.train.stat().st_size + facts["test_nbytes"],
    )
