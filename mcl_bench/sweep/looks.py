"""The ledger of looks at test: written before each look, chained, and held against the records.

What was written before there was a chain is taken as it is; the next look holds the hash of all of
it, and the seal its number of lines.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import DataError, TestGrant

REMEDY = (
    "put the file back from a copy; without it neither this sweep goes on nor does --new, which "
    "takes its looks over"
)


class Looks:
    """`looks.jsonl` of one sweep's folder, which whoever uses this holds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "looks.jsonl"
        self._records = folder / "records.jsonl"
        self._lines: list[str] = []
        self._known: dict[tuple[str, str, int], str] = {}

    def open(self, sealed: Mapping[str, Any] | None) -> None:
        """Read the ledger; `sealed` is the seal that was kept, None of one before there were seals.

        Raises:
            DataError: it has been damaged or tampered with, or a look that a record speaks of is
                not in it.
        """
        self._lines = list(files.read_lines(self._path))
        self._known = {
            _identity(self._path, place, line): line for place, line in enumerate(self._lines, 1)
        }
        seal = None if sealed is None else self._seal_of(sealed)
        broken = files.find_break(self._lines, seal)
        if broken is None and seal is not None and len(self._lines) > seal.count + 1:
            # One may have been written without its seal, by a driver that was killed.
            broken = files.Break(line=seal.count + 1, found="and those after it were added by hand")
        if broken is not None:
            raise DataError(
                f"the ledger of looks at test has been tampered with: line {broken.line} "
                f"{broken.found}",
                place=f"{self._path}:{broken.line}",
                remedy=REMEDY,
            )
        self._hold_records()

    @property
    def sealed(self) -> dict[str, Any]:
        """The seal of what is written, as plain values."""
        return dataclasses.asdict(files.seal(self._lines))

    def look(self, *, cell: str, key: str, seed: int, of: int | None) -> TestGrant:
        """Write down a look at test, once for its cell, key and seed; returns what opens test."""
        line = self._known.get((cell, key, seed))
        if line is None:
            look = {"cell": cell, "key": key, "seed": seed, "of": of, "time": time.time()}
            line = files.append_chained(self._path, look, after=self._lines)
            self._lines.append(line)
            self._known[cell, key, seed] = line
        return TestGrant(cell=cell, key=key, seed=seed, entry=files.line_hash(line))

    def granted(self, grant: TestGrant) -> bool:
        """Whether this grant's look is the one written down."""
        line = self._known.get((grant.cell, grant.key, grant.seed))
        return line is not None and files.line_hash(line) == grant.entry

    def _seal_of(self, sealed: Mapping[str, Any]) -> files.Seal:
        try:
            return files.Seal(**sealed)
        except TypeError as error:
            raise DataError(
                f"the seal of the looks at test is damaged: {sealed!r}",
                place=str(self._path.with_name("sweep.json")),
                remedy=REMEDY,
            ) from error

    def _hold_records(self) -> None:
        """Refuse a confirm trial's record without its look."""
        for place, line in enumerate(files.read_lines(self._records), 1):
            if '"stage": "confirm"' not in line:
                continue
            cell, key, seed = _identity(self._records, place, line)
            if (cell, key, seed) not in self._known:
                trial = read_object(self._records, place, line).get("trial")
                raise DataError(
                    f"the ledger of looks at test has been tampered with: it has no look of "
                    f"{cell}/confirm-{trial}, seed {seed}, whose "
                    f"record is line {place} of {self._records}",
                    place=str(self._path),
                    remedy=REMEDY,
                )


def _identity(path: Path, number: int, line: str) -> tuple[str, str, int]:
    """The cell, key and seed that one line of looks or of records is of; DataError if of none."""
    found = read_object(path, number, line)
    cell, key, seed = found.get("cell"), found.get("key"), found.get("seed")
    if isinstance(cell, str) and isinstance(key, str) and isinstance(seed, int):
        return cell, key, seed
    raise DataError(
        f"damaged: it names no cell, key and seed: {line[:40]!r}",
        place=f"{path}:{number}",
        remedy=REMEDY,
    )


def read_object(path: Path, number: int, line: str) -> dict[str, Any]:
    """One line of a file that this program wrote.

    Raises:
        DataError: it has been damaged since.
    """
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"damaged: {error.msg} at column {error.colno}: {line[:40]!r}",
            place=f"{path}:{number}",
            remedy="put the file back from a copy, or start the sweep afresh with --new",
        ) from error
    if not isinstance(parsed, dict):
        raise DataError(f"damaged: {line[:40]!r} is no record", place=f"{path}:{number}")
    return parsed
