"""Hashes of files, remembered by size and time, so that a big folder is read once.

A file whose time is as young as the reading itself is not remembered: it may still change within
the clock's tick without its size or time telling.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcl_bench.files import write_whole
from mcl_bench.records import DataError, UserError

_SETTLED_NS = 2_000_000_000


def source_digest(entries: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over the sorted (relative path, SHA-256 of the bytes, label's name) of all images."""
    whole = hashlib.sha256()
    for entry in sorted(entries):
        whole.update(json.dumps(entry).encode() + b"\n")
    return whole.hexdigest()


def file_digests(root: Path, names: Sequence[str], *, cache: Path) -> list[str]:
    """The SHA-256 of each of the files `names` under `root`, in their order.

    `cache` is the folder of remembered hashes; only files whose size or time changed are read.
    DataError if a file cannot be read, UserError if the hashes cannot be kept.
    """
    place = cache / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]}.json"
    known = _remembered(place)
    started = time.time_ns()

    def stamp_and_digest(name: str) -> tuple[str, str]:
        path = root / name
        try:
            stat = path.stat()
            stamp = f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
            old = known.get(name)
            if old is not None and old[0] == stamp:
                return stamp, old[1]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}", key="data.root") from error
        settled = started - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NS
        return (stamp if settled else ""), digest

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(stamp_and_digest, names))
    fresh = {name: list(pair) for name, pair in zip(names, found, strict=True) if pair[0]}
    if fresh != known:
        try:
            write_whole(place, json.dumps(fresh))
        except OSError as error:
            raise unwritable(cache, error) from error
    return [digest for _, digest in found]


def rows_digest(rows: Mapping[str, npt.ArrayLike]) -> str:
    """SHA-256 over the sorted (relative path, numbers) of what a list tells of each image."""
    whole = hashlib.sha256()
    for name, numbers in sorted(rows.items()):
        told = np.asarray(numbers, dtype=np.float64)
        whole.update(json.dumps([name, told.shape]).encode() + b"\n" + told.tobytes())
    return whole.hexdigest()


def file_md5(path: Path) -> str:
    """The md5 of a file, in hex, as those who publish archives tell it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def unwritable(folder: Path, error: OSError) -> UserError:
    """What is said where a folder of the store cannot be written."""
    return UserError(
        f"the store's folder {folder} can't be written: {error.strerror}",
        remedy="set MCL_HOME to a folder that you can write to",
    )


def _remembered(place: Path) -> dict[str, list[str]]:
    """What an earlier reading left; nothing if its file is absent or damaged."""
    try:
        known = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
