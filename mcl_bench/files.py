"""Reading and writing files so that a reader finds a whole file or none.

Appends are whole lines; a line torn by a crash is cut off when the file is next opened. A chained
file's lines each hold the hash of the line before, as `previous`: what has been changed, removed,
moved or added by hand is found.
"""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench.records import DataError, UserError

FIRST = "start"
"""What a chained file's first line has for the hash of the line before it."""


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What a chained file held when it was last written, kept apart from it.

    `unchained` lines at its head are older than the chain, `count` are all, and `link` is the hash
    that the next line will hold.
    """

    unchained: int
    count: int
    link: str


@dataclass(frozen=True, kw_only=True)
class Break:
    """Where a chain breaks: the number of the line, from 1, and what is wrong, in words."""

    line: int
    found: str


def home() -> Path:
    """The folder that everything is kept in: `MCL_HOME`, default `./runs`, as an absolute path."""
    path = Path(os.environ.get("MCL_HOME") or "runs").expanduser().absolute()
    if bad := set("?#%") & set(str(path)):
        raise UserError(
            f"MCL_HOME holds {' '.join(sorted(bad))}, which a database's URL can't: {path}",
            remedy="set MCL_HOME to a path without ? # and %",
        )
    return path


def data_home() -> Path:
    """The folder that datasets are fetched into and looked for in: `MCL_DATA`, default `./data`."""
    return Path(os.environ.get("MCL_DATA") or "data").expanduser()


def write_whole(path: Path, content: bytes | str, *, sync: bool = True) -> None:
    """Write a file that appears whole or not at all; an older one stays until then.

    Without `sync` a machine that loses its power may leave an empty one: for what can be made anew.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def append_line(path: Path, value: Mapping[str, Any] | str, *, sync: bool = True) -> str:
    """Append one line (a mapping as JSON), flushed to disk with `sync`; returns the line.

    What can't be written whole, as on a full disk, is cut off again before OSError is raised.
    """
    line = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _write_all(file.fileno(), line.encode() + b"\n")
            if sync:
                os.fsync(file.fileno())
        except OSError:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                os.ftruncate(file.fileno(), size)
            raise
    return line


def _write_all(handle: int, data: bytes) -> None:
    """Write to a file handle; it may take several writes, of which the last one tells a fault."""
    while data:
        data = data[os.write(handle, data) :]


def mend_tail(path: Path) -> bool:
    """Cut off a last line that a crash left unfinished; True if there was one."""
    if not path.exists():
        return False
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return False
    with path.open("r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
        os.fsync(file.fileno())
    return True


def has_torn_tail(path: Path) -> bool:
    """Whether the last line is one that a crash left unfinished."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def read_lines(path: Path) -> Iterator[str]:
    """The finished lines of an append-only file, without their line ends; none if it is absent.

    Raises:
        DataError: a line is no text.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                continue
            try:
                line = raw[:-1].decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"line {number} of {path} is damaged: it is no text in UTF-8",
                    remedy="put the file back from a copy",
                ) from error
            yield line


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock that this file is.

    A shared lock is asked for and given back at once, on a file opened for reading: it changes
    nothing, needs no right to write, and two that look at once don't take each other for holders.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def line_hash(line: str) -> str:
    """SHA-256 of a line, 64 hex digits."""
    return hashlib.sha256(line.encode()).hexdigest()


def append_chained(path: Path, value: Mapping[str, Any], *, after: Sequence[str]) -> str:
    """Append one line with the hash of what stands `after`, all lines so far; returns the line."""
    return append_line(path, {**value, "previous": _link(after)})


def seal(lines: Sequence[str]) -> Seal:
    """The seal of a chained file with these lines."""
    return Seal(unchained=_count_unchained(lines), count=len(lines), link=_link(lines))


def find_break(lines: Sequence[str], sealed: Seal | None) -> Break | None:
    """The first place where these JSON lines are no chain, or not what was `sealed`; else None.

    Lines may have been added since the sealing. Without a seal any number of lines at the head may
    be older than the chain, of which nothing is known but what the first chained line holds.
    """
    unchained = _count_unchained(lines)
    if sealed is not None and unchained > sealed.unchained:
        return Break(line=sealed.unchained + 1, found="holds no hash of the line before it")
    expected = _link(lines[:unchained])
    for place in range(unchained, len(lines)):
        named = json.loads(lines[place]).get("previous")
        if named != expected:
            return Break(line=place + 1, found=_told(lines, named))
        expected = line_hash(lines[place])
    if sealed is None:
        return None
    if len(lines) < sealed.count:
        return Break(line=len(lines) + 1, found="was written and is gone")
    if _link(lines[: sealed.count]) != sealed.link:
        return Break(line=sealed.count, found="is not what was written")
    return None


def _count_unchained(lines: Sequence[str]) -> int:
    """How many lines at the head are older than the chain."""
    for place, line in enumerate(lines):
        if "previous" in json.loads(line):
            return place
    return len(lines)


def _link(before: Sequence[str]) -> str:
    """The hash that a line after these holds: the last one's, or that of all that are unchained."""
    if not before:
        return FIRST
    if "previous" in json.loads(before[-1]):
        return line_hash(before[-1])
    return line_hash("\n".join(before))


def _told(lines: Sequence[str], named: object) -> str:
    """What is wrong with a line that holds the hash `named`, and not that of the line before."""
    if named is None:
        return "holds no hash of the line before it"
    if named == FIRST:
        return "was written as the first line"
    for place, line in enumerate(lines, 1):
        if named == line_hash(line):
            return f"was written after line {place}, and does not stand there"
    return "was written after a line that has been changed or removed"
