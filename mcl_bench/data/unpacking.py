"""Unpacking an archive: only plain files and folders, only below one folder, whole or not at all.

What is in it is unpacked into a hidden folder and then moved to its place, folders whole where
nothing is there yet. A file that is there already and differs is never replaced unasked.
"""

import errno
import filecmp
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Literal

from mcl_bench.records import DataError

Progress = Callable[[int, int], None]
"""Told how many bytes of the archive have been read, of how many."""

Clash = Literal["refuse", "replace", "keep"]
"""What becomes of a file that is there already and is not the one that the archive holds."""

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What a damaged archive, or one of a kind that can't be read, raises."""


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An archive's files: their sizes by their paths, and those whose place another file kept."""

    sizes: dict[str, int]
    kept: tuple[str, ...]


def unpack(
    archive: Path, target: Path, *, clash: Clash = "refuse", progress: Progress | None = None
) -> Unpacked:
    """Unpack a tar or zip file into the folder `target`.

    Files that are there already and differ are a DataError, unless `clash` says that they are
    replaced or kept. So are an archive that is damaged or does not fit on the disk, and one that
    holds a link, a device, or a path that leads out of it: then nothing of it is kept.
    """
    staging = target / f".{archive.name}.unpacking"
    try:
        with _told(archive, target):
            _clear(staging)
            staging.mkdir(parents=True)
            sizes = _extract(archive, staging, progress)
            clashes = [] if clash == "replace" else list(_clashes(staging, target, sizes))
            if clashes and clash == "refuse":
                raise DataError(
                    f"{target / clashes[0]} is not the file that {archive.name} holds"
                    + (f", nor are {len(clashes) - 1} others" if len(clashes) > 1 else ""),
                    remedy="take it away to have that of the archive in its place; --force "
                    "replaces every such file",
                )
            for name in clashes:
                (staging / name).unlink()
            _merge(staging, target)
    finally:
        _clear(staging)
    return Unpacked(sizes=sizes, kept=tuple(clashes))


def absent(target: Path, sizes: Mapping[str, int]) -> list[str]:
    """Those of an archive's files in whose place there is nothing."""
    return [name for name in sizes if not os.path.lexists(target / name)]


def resized(target: Path, sizes: Mapping[str, int]) -> list[str]:
    """Those of an archive's files in whose place there is something of another size."""
    return [
        name
        for name, size in sizes.items()
        if os.path.lexists(target / name) and _size(target / name) != size
    ]


def _extract(archive: Path, staging: Path, progress: Progress | None) -> dict[str, int]:
    """Write the archive's files below `staging`; their sizes by their paths."""
    sizes: dict[str, int] = {}
    room = shutil.disk_usage(staging).free
    read = _zipped if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive) else _tarred
    for name, size, write in read(archive, progress):
        path = _inside(name, archive)
        room -= size
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(staging)
        if (staging / path).is_file():
            sizes[path.as_posix()] = size
    return sizes


Entry = tuple[str, int, Callable[[Path], object]]
"""A name, a size, and what writes the entry below a folder."""


def _tarred(archive: Path, progress: Progress | None) -> Iterator[Entry]:
    total = archive.stat().st_size
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()):
                raise _refused(archive, member.name, _kind(member))
            yield (
                member.name,
                member.size if member.isreg() else 0,
                partial(tar.extract, member, filter="data"),
            )
            if progress is not None:
                progress(file.tell(), total)
        if tar.fileobj is file and not _has_end(file):
            raise tarfile.ReadError("it ends before its end")


def _has_end(file: BinaryIO) -> bool:
    """Whether a plain tar file has the empty block that closes it."""
    file.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
    return not any(file.read())


def _zipped(archive: Path, progress: Progress | None) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as zipped:
        entries = zipped.infolist()
        total, done = sum(entry.compress_size for entry in entries), 0
        for entry in entries:
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, entry.filename, "a link or a device")
            if "\\" in entry.orig_filename or "\0" in entry.orig_filename:
                raise _refused(archive, entry.orig_filename, "a path of another system")
            yield (
                entry.filename,
                entry.file_size,
                partial(zipped.extract, entry),
            )
            done += entry.compress_size
            if progress is not None:
                progress(done, total)


def _kind(member: tarfile.TarInfo) -> str:
    return "a link" if member.issym() or member.islnk() else "a device"


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The path of an entry; DataError if it leads out of the folder it is unpacked into."""
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        raise _refused(archive, name, "a path that leads out of it")
    return path


def _refused(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive} holds {what}: {name!r}, so nothing of it was unpacked",
        remedy="it is not the official archive, or unsafe: take it away and fetch it again",
    )


def _clashes(staging: Path, target: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """The files whose place is taken by something else, be it of the same size."""
    for name, size in sizes.items():
        place = target / name
        if not os.path.lexists(place):
            continue
        if _size(place) != size or not filecmp.cmp(staging / name, place, shallow=False):
            yield name


def _merge(staging: Path, target: Path) -> None:
    """Move all below `staging` to its place: whole folders where nothing is yet, else file by file.

    OSError where a file would take the place of a folder, or a folder that of a file.
    """
    for entry in sorted(staging.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        elif entry.is_dir() == place.is_dir() or not os.path.lexists(place):
            shutil.move(entry, place)
        else:
            raise FileExistsError(errno.EEXIST, f"{place} is in the way")


def _size(path: Path) -> int | None:
    """The size of a plain file; None if it isn't one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _told(archive: Path, target: Path) -> Iterator[None]:
    """Tell a damaged archive and a full disk in one message."""
    try:
        yield
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{archive} is damaged or no archive: {reason}",
            remedy="take it away and fetch it again",
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"cannot unpack {archive} into {target}: {error.strerror or error}",
            remedy="free some room; nothing of it was kept" if full else None,
        ) from error
