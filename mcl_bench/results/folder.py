"""What a sweep's folder holds, read without holding its lock: records, looks, events."""

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import DataError, TrialRecord, UserError
from mcl_bench.results.table import read_table


def sweep_folders(home: Path, names: Sequence[str] = ()) -> list[Path]:
    """The folders of these sweeps in the order given; of all, in the order of their names.

    Raises:
        UserError: there is no sweep of such a name.
    """
    found = {path.parent.name: path.parent for path in home.glob("sweeps/*/experiment.yaml")}
    for name in names:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            known = f"did you mean {near[0]}?" if near else f"there: {', '.join(sorted(found))}"
            raise UserError(
                f"no sweep {name} in {home / 'sweeps'}",
                remedy=known if found else "run one first, or set MCL_HOME to where it is",
            )
    return [found[name] for name in (dict.fromkeys(names) if names else sorted(found))]


def read_records(folder: Path) -> list[TrialRecord]:
    """Every trial's record, its last line winning, in the order of their first lines.

    From `records.jsonl`, whose torn tail is ignored; where only the table is left, from that; none
    where there is neither.

    Raises:
        DataError: a whole line, or the table, is damaged.
    """
    path = folder / "records.jsonl"
    if not path.exists():
        table = folder / "results.parquet"
        return read_table(table) if table.exists() else []
    records: dict[tuple[str, str, int], TrialRecord] = {}
    for number, line in enumerate(files.read_lines(path), start=1):
        try:
            record = TrialRecord.from_json(line)
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(path, number, error) from error
        records[record.cell, record.stage, record.trial] = record
    return list(records.values())


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of `events.jsonl`, in order. Raises DataError for a damaged one."""
    yield from _read_objects(folder / "events.jsonl")


def count_looks(folder: Path, cell: str) -> int:
    """How many distinct (cell, configuration, seed) of this cell were scored on test."""
    return len(
        {
            (look["key"], look["seed"])
            for look in _read_objects(folder / "looks.jsonl")
            if look["cell"] == cell
        }
    )


def _read_objects(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(files.read_lines(path), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise _damaged(path, number, error) from error
        if not isinstance(value, dict):
            raise _damaged(path, number, TypeError(f"got a {type(value).__name__}"))
        yield value


def _damaged(path: Path, number: int, error: Exception) -> DataError:
    return DataError(
        f"line {number} of {path} is damaged: {error}",
        remedy="take that line from a copy of the file, or delete it",
    )
