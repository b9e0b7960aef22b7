"""A sweep's rows, kept beside its record so that a leaderboard of many sweeps is there at once.

`leaderboard.json` has two lines: what the rows were made of, and the rows. They are taken as long
as that is unchanged: the size, times and inode of every file that rows are made from, the folder's
place, and the code that makes them. A file that was edited, however it was dated afterwards, has
another change time, so that rows are made anew and its faults are told.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import Costs
from mcl_bench.results.row import Aside, Budget, Row
from mcl_bench.results.scores import SeedScore

NAME = "leaderboard.json"

MADE_OF = (
    "experiment.yaml",
    "sweep.json",
    "looks.jsonl",
    "costs.json",
    "records.jsonl",
    "results.parquet",
)
"""The files that rows are made from; the table only where there are no records."""

ROOMS = ("results", "spec")
"""The rooms whose code makes rows, beside `records` and `files`."""


def kept_rows(folder: Path, *, make: Callable[[Path], list[Row]]) -> list[Row]:
    """The rows of the sweep in this folder: those kept, or `make`'s, which are then kept.

    Nothing is kept of a sweep without a record, nor where the folder can't be written to.

    Raises:
        Whatever `make` raises.
    """
    made_of = _made_of(folder)
    path = folder / NAME
    kept = _read(path, made_of)
    if kept is not None:
        return kept
    rows = make(folder)
    if made_of["files"]["records.jsonl"] is not None:
        with contextlib.suppress(OSError):  # somebody else's folder: it is read all the same
            files.write_whole(path, _text(rows, made_of), sync=False)
    return rows


def _made_of(folder: Path) -> dict[str, Any]:
    """What rows of this folder are made of, looked at before they are."""
    found = {name: _mark(folder / name) for name in MADE_OF}
    if found["records.jsonl"] is not None:
        del found["results.parquet"]
    return {"code": _code(), "folder": str(folder.absolute()), "files": found}


def _mark(path: Path) -> list[int] | None:
    """What changes whenever a file does; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


@cache
def _code() -> str:
    """A hash of the code that makes rows."""
    package = Path(__file__).parents[1]
    sources = [path for room in ROOMS for path in sorted((package / room).glob("*.py"))]
    digest = hashlib.sha256()
    for path in [*sources, package / "records.py", package / "files.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _text(rows: Sequence[Row], made_of: Mapping[str, Any]) -> str:
    plain = json.dumps([dataclasses.asdict(row) for row in rows])
    head = json.dumps({**made_of, "sha256": files.line_hash(plain)})
    return f"{head}\n{plain}\n"


def _read(path: Path, made_of: Mapping[str, Any]) -> list[Row] | None:
    """The rows kept in this file; None if there are none, or they are made of something else."""
    try:
        head, _, rest = path.read_text(encoding="utf-8").partition("\n")
        plain = rest.removesuffix("\n")
        if json.loads(head) != {**made_of, "sha256": files.line_hash(plain)}:
            return None
        return [_row(entry) for entry in json.loads(plain)]
    except (OSError, ValueError):  # absent or damaged: the rows can be made again
        return None


def _row(plain: dict[str, Any]) -> Row:
    aside = plain.pop("aside")
    return Row(
        **plain,
        aside=Aside(
            **{
                **aside,
                "group": tuple(aside["group"]),
                "scores": tuple(SeedScore(**score) for score in aside["scores"]),
                "budgets": tuple(Budget(**budget) for budget in aside["budgets"]),
                "warnings": tuple(aside["warnings"]),
                "costs": None if aside["costs"] is None else Costs(**aside["costs"]),
            }
        ),
    )
