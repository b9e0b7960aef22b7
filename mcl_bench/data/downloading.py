"""Downloading one file over HTTP: resumed where it was left, checked, from one mirror or the next.

What has arrived lies in `NAME.part`; the file appears under its own name only when it is whole
and its md5 is the one that the catalog knows.
"""

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from mcl_bench import __version__
from mcl_bench.data.catalog.source import Archive
from mcl_bench.data.listing import file_md5
from mcl_bench.files import write_whole
from mcl_bench.records import DataError

Progress = Callable[[str, int, int | None], None]
"""Told which file has how many bytes, of how many (None where no one knows)."""

_CHUNK = 1 << 16
"""Bytes that are written together; so many are lost when a server stalls."""

_ENOUGH = 1 << 20
"""A try that brought so many bytes more is no failure, however it ended."""

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server that may give another one in a while."""

_LONGEST_PAUSE = 30.0

_HOPELESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.SSLError,
    requests.exceptions.TooManyRedirects,
)
"""What asking again does not mend."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for, and how often it is asked again before the next mirror.

    A stall of `read_seconds` without a byte ends a try. Pauses between tries double, from
    `pause_seconds` to 30 s.
    """

    connect_seconds: float = 15
    read_seconds: float = 60
    tries: int = 5
    pause_seconds: float = 1


class _Dropped(Exception):
    """This try failed; the same mirror may do better, from where it was left."""


class _Useless(Exception):
    """This mirror does not have the file."""


def download(
    archive: Archive,
    path: Path,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Get an archive to `path`, whole and with its official md5 where one is known.

    Tries each URL in turn and goes on with what an earlier call left. The caller holds a lock on
    `path`. DataError, with what each mirror did, if none has the file, or if the disk is full.
    """
    patience = Patience() if patience is None else patience
    causes = []
    for url in archive.urls:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{archive.name}: only http and https are fetched, got {url}")
        try:
            _from_mirror(archive, url, path, progress=progress, patience=patience)
        except _Useless as error:
            causes.append(f"{url}: {error}")
        else:
            return
    told = "\n  ".join(causes)
    raise DataError(
        f"{archive.name} could not be fetched to {path}:\n  {told}",
        remedy=f"try again later (it goes on from where it was left), or get it from "
        f"{archive.page} and put it there",
    )


def _from_mirror(
    archive: Archive, url: str, path: Path, *, progress: Progress | None, patience: Patience
) -> None:
    """Get the file from one URL; _Useless if it does not have it or fails too often."""
    part = _Part(path, url)
    failures, cause = 0, ""
    while failures < patience.tries:
        if failures:
            time.sleep(min(patience.pause_seconds * 2 ** (failures - 1), _LONGEST_PAUSE))
        began = part.size
        try:
            _one_try(archive, url, part, progress=progress, patience=patience)
            part.settle(archive, resumed=began > 0)
        except _Dropped as error:
            cause = str(error)
            failures = 1 if part.size - began >= _ENOUGH else failures + 1
        else:
            return
    raise _Useless(f"{cause}, {patience.tries} times")


def _one_try(
    archive: Archive, url: str, part: "_Part", *, progress: Progress | None, patience: Patience
) -> None:
    """Ask for what is missing of the file and add what arrives."""
    if archive.nbytes is not None and part.size > archive.nbytes:
        part.start_over()
    if part.size == archive.nbytes:
        return
    headers = {
        "Accept-Encoding": "identity",
        "User-Agent": f"mcl-bench/{__version__}",
        **part.range_headers(tagged=archive.md5 is None),
    }
    timeout = (patience.connect_seconds, patience.read_seconds)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
            if not (answer.status_code == 416 and _total(answer) == part.size):
                _receive(answer, archive, part, progress)
    except _HOPELESS as error:
        raise _Useless(_words(error)) from error
    except (requests.RequestException, HTTPError) as error:
        raise _Dropped(_words(error)) from error


def _receive(
    answer: requests.Response, archive: Archive, part: "_Part", progress: Progress | None
) -> None:
    """Add what an answer brings to the part; _Dropped if it isn't all that was announced."""
    total = _begin(answer, archive, part)
    if total is not None:
        _check_room(part.path, total - part.size)
    for chunk in answer.raw.stream(_CHUNK, decode_content=False):
        part.add(chunk)
        if progress is not None:
            progress(archive.name, part.size, total)
    if total is not None and part.size != total:
        had = part.size
        if had > total:
            part.start_over()
        raise _Dropped(f"{had:,} bytes came, {total:,} were announced")


def _begin(answer: requests.Response, archive: Archive, part: "_Part") -> int | None:
    """Read an answer's head: what is kept of the part, and the file's length if it is told."""
    code = answer.status_code
    if code == 416:
        part.start_over()
        raise _Dropped("the server does not have the rest (416)")
    if code in _LATER:
        raise _Dropped(f"the server answered {code} {answer.reason}")
    if code not in (200, 206):
        raise _Useless(f"the server answered {code} {answer.reason}")
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not archive.name.endswith((".html", ".htm")):
        raise _Useless("a web page came in its place")
    total = _total(answer)
    if total is not None and archive.nbytes is not None and total != archive.nbytes:
        raise _Useless(f"it has {total:,} bytes, the official file {archive.nbytes:,}")
    if code == 206:
        told = answer.headers.get("Content-Range", "none")
        if _number(told.removeprefix("bytes").partition("-")[0]) != part.size:
            part.start_over()
            raise _Dropped(f"the server answered another range: {told}")
    else:
        part.start_over()
    part.remember(answer.headers.get("ETag"))
    return archive.nbytes if total is None else total


def _total(answer: requests.Response) -> int | None:
    """The length of the whole file: of a part of it, by `Content-Range: bytes first-last/total`."""
    if answer.status_code in (206, 416):
        return _number(answer.headers.get("Content-Range", "").rpartition("/")[2])
    return _number(answer.headers.get("Content-Length"))


class _Part:
    """What has arrived of a file, in `NAME.part`, and which version of the file it is of.

    The server's ETag lies beside it, so that a file that has changed is not gone on with.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._whole = path
        self._url = url
        self.path = path.with_name(f"{path.name}.part")
        self._tag_path = path.with_name(f"{path.name}.part.json")
        self._size = self.path.stat().st_size if self.path.exists() else 0

    @property
    def size(self) -> int:
        """How many bytes have arrived."""
        return self._size

    def add(self, chunk: bytes) -> None:
        """Append bytes; DataError where the disk is full."""
        with writing(self.path), self.path.open("ab") as file:
            file.write(chunk)
        self._size += len(chunk)

    def start_over(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)
        self._size = 0

    def range_headers(self, *, tagged: bool) -> dict[str, str]:
        """The headers that ask for the rest, if something is there.

        With `tagged` it is gone on with only where its version is known.
        """
        tag = self._tags().get(self._url)
        if tagged and tag is None:
            self.start_over()
        if not self._size:
            return {}
        headers = {"Range": f"bytes={self._size}-"}
        return headers if tag is None else {**headers, "If-Range": tag}

    def remember(self, tag: str | None) -> None:
        """Keep the version that this mirror gives; only a strong ETag tells one."""
        if tag and not tag.startswith("W/"):
            with writing(self.path):
                write_whole(self._tag_path, json.dumps({self._url: tag}))

    def settle(self, archive: Archive, *, resumed: bool) -> None:
        """Put the whole file in its place; if it isn't the official one, it is thrown away.

        A file that was put together from several answers may be asked for once more.
        """
        if archive.md5 is not None and (md5 := file_md5(self.path)) != archive.md5:
            self.start_over()
            words = f"its md5 must be {archive.md5}, got {md5}"
            raise _Dropped(words) if resumed else _Useless(words)
        self.path.replace(self._whole)
        self._tag_path.unlink(missing_ok=True)

    def _tags(self) -> dict[str, str]:
        try:
            tags = json.loads(self._tag_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return tags if isinstance(tags, dict) else {}


def _check_room(path: Path, nbytes: int) -> None:
    """DataError where the disk has less room than a file still needs."""
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise DataError(
            f"{path.parent} has {free:,} bytes free, {path.name.removesuffix('.part')} needs "
            f"{nbytes:,} more",
            remedy="free some, or fetch into another folder by --root",
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell a full disk, or a folder that can't be written, in one message."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"cannot write {path}: {error.strerror}",
            remedy="free some room; the same command then goes on from there" if full else None,
        ) from error


def _words(error: Exception) -> str:
    """What went wrong with a connection, in one line."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the server did not answer"
    if isinstance(error, requests.exceptions.ReadTimeout | ReadTimeoutError):
        return "the server stalled"
    cause: BaseException = error
    while inner := [one for one in (*cause.args, cause.__cause__) if isinstance(one, Exception)]:
        cause = inner[-1]
    return f"the connection failed ({str(getattr(cause, 'reason', cause)).rpartition(': ')[2]})"


def _number(text: str | None) -> int | None:
    text = "" if text is None else text.strip()
    return int(text) if text.isascii() and text.isdigit() else None
