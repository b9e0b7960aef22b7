"""Fetching a dataset: its archives got, checked and unpacked; what is there is left as it is.

Beside an archive lies `.NAME.unpacked.json`: the md5 that it had, and the size of each of its
files. With it the archive itself can be taken away. A file that someone changed is kept and told.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from mcl_bench.data.catalog.source import Archive, DatasetFacts
from mcl_bench.data.downloading import Patience, download, writing
from mcl_bench.data.listing import file_md5
from mcl_bench.data.unpacking import Clash, absent, resized, unpack
from mcl_bench.files import write_whole
from mcl_bench.records import DataError, UserError

Progress = Callable[[str, int, int | None], None]
"""Told what is being done with which file, and how many bytes of how many (None: unknown)."""


@dataclass(frozen=True, kw_only=True)
class Got:
    """One archive: where it is or was unpacked to, and whether anything was done for it.

    `kept` are files that are there, are not the official ones, and were left as they are.
    """

    name: str
    path: Path
    state: Literal["there", "fetched", "unpacked"]
    checked: bool
    kept: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A dataset that is there: what `data.root` names (None: nothing), and its archives."""

    root: Path | None
    archives: tuple[Got, ...]


def fetch(
    facts: DatasetFacts,
    *,
    home: Path,
    force: bool = False,
    optional: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Get the archives of a dataset into the folder `home`, the `optional` ones if they are wanted.

    An archive that someone has put there is taken, if it is the official one. Files of the dataset
    that are there and differ are kept. With `force` everything is got and unpacked again, and they
    are replaced. DataError if an archive can't be got; where no link of it
    is known, it says which files to put where.
    """
    told = progress or _untold
    archives = [one for one in facts.archives if optional or not one.optional]
    if not archives and not facts.needs_root:
        return Fetched(root=None, archives=())
    if not archives:
        raise DataError(f"{facts.name} can't be fetched; its images: {facts.images}")
    got, by_hand = [], []
    _make(home)
    for archive in archives:
        with _alone(home / f".{archive.name}.lock", archive, told):
            one = _get(archive, home, force=force, told=told, patience=patience)
        if one is None:
            by_hand.append(archive)
        else:
            got.append(one)
    if by_hand:
        raise _asked_for(facts, by_hand, home)
    return Fetched(root=home / (facts.folder or ""), archives=tuple(got))


def _get(
    archive: Archive, home: Path, *, force: bool, told: Progress, patience: Patience | None
) -> Got | None:
    """One archive, got and unpacked as far as it isn't; None if a person has to get it."""
    if not archive.unpacked:
        return _get_file(archive, home / archive.folder, force=force, told=told, patience=patience)
    target = home / archive.folder
    record = home / f".{archive.name}.unpacked.json"
    known = None if force else _unpacked(record, archive)
    checked = archive.md5 is not None
    if known is not None and not absent(target, known):
        kept = tuple(target / name for name in resized(target, known))
        return Got(name=archive.name, path=target, state="there", checked=checked, kept=kept)
    path = home / archive.name
    if _arrived(archive, path, force=force, told=told, patience=patience) is None:
        return None
    clash: Clash = "replace" if force else "refuse" if known is None else "keep"
    done = unpack(
        path,
        target,
        clash=clash,
        progress=lambda done, total: told(f"unpacking {archive.name}", done, total),
    )
    with writing(record):
        write_whole(record, json.dumps({"md5": archive.md5 or file_md5(path), "files": done.sizes}))
    kept = tuple(target / name for name in done.kept)
    return Got(name=archive.name, path=target, state="unpacked", checked=checked, kept=kept)


def _get_file(
    archive: Archive, folder: Path, *, force: bool, told: Progress, patience: Patience | None
) -> Got | None:
    """An archive that isn't to be unpacked, so a file of the dataset itself."""
    path = folder / archive.name
    if path.is_file() and archive.urls and not force and not _is_official(archive, path):
        return Got(name=archive.name, path=path, state="there", checked=False, kept=(path,))
    state = _arrived(archive, path, force=force, told=told, patience=patience)
    if state is None:
        return None
    return Got(name=archive.name, path=path, state=state, checked=archive.md5 is not None)


def _arrived(
    archive: Archive, path: Path, *, force: bool, told: Progress, patience: Patience | None
) -> Literal["there", "fetched"] | None:
    """Whether the official file was at `path` or is now; None if a person has to put it there."""
    again = force and bool(archive.urls)
    if path.is_file() and not again and _is_official(archive, path):
        return "there"
    if not archive.urls:
        if path.is_file():
            raise _not_official(archive, path)
        return None
    _make(path.parent)
    download(archive, path, patience=patience, progress=told)
    return "fetched"


def _unpacked(record: Path, archive: Archive) -> dict[str, int] | None:
    """The files that an earlier call unpacked of this archive; None if it didn't, or of another."""
    try:
        known = json.loads(record.read_bytes())
        files = {str(name): int(size) for name, size in known["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return files if archive.md5 in (None, known["md5"]) else None


def _is_official(archive: Archive, path: Path) -> bool:
    if archive.md5 is not None:
        return file_md5(path) == archive.md5
    return archive.nbytes in (None, path.stat().st_size)


def _not_official(archive: Archive, path: Path) -> DataError:
    wrong = f"{path.stat().st_size:,} bytes, must have {archive.nbytes:,}"
    if archive.md5 is not None:
        wrong = f"md5 {file_md5(path)}, must have {archive.md5}"
    return DataError(
        f"{path} has {wrong}", remedy=f"take it away, and get it again from {archive.page}"
    )


def _asked_for(facts: DatasetFacts, archives: list[Archive], home: Path) -> DataError:
    """Which files a person has to put where."""
    lines = []
    for archive in archives:
        place = home if archive.unpacked else home / archive.folder
        size = f", {archive.nbytes:,} bytes" if archive.nbytes is not None else ""
        md5 = f" (md5 {archive.md5}{size})" if archive.md5 else ""
        lines.append(f"{archive.name}{md5} from {archive.page}\n    to {place / archive.name}")
    tree = home / (facts.folder or "")
    whole = ""
    if tree.is_dir():
        whole = f"\n  if {tree} is whole: mcl-bench data verify {facts.name} --root {tree}"
    files = "1 file" if len(archives) == 1 else f"{len(archives)} files"
    return DataError(
        f"{files} of {facts.name} can't be fetched: no link is known that works",
        remedy="get by hand:\n  "
        + "\n  ".join(lines)
        + "\n  then the same command again: it checks and unpacks them"
        + whole,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} can't be made: {error.strerror}",
            remedy="name a folder that you can write to by --root",
        ) from error


@contextmanager
def _alone(path: Path, archive: Archive, told: Progress) -> Iterator[None]:
    """Hold an archive's lock; whoever else fetches it is waited for."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        told(f"waiting for another that fetches {archive.name}", 0, None)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"{path.parent} can't be written: {error.strerror}",
            remedy="name a folder that you can write to by --root",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _untold(_what: str, _done: int, _total: int | None) -> None:
    """Nobody wants to know."""
