"""What a sweep's folder holds, read without holding its lock: records, looks, events."""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import DataError, TrialRecord, UserError
from mcl_bench.results.table import read_table

PAGE = "report.html"
"""The sweep's page in its folder."""


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
    return looks_by_cell(folder)[cell]


def looks_by_cell(folder: Path) -> Counter[str]:
    """How many distinct (configuration, seed) of each cell were scored on test."""
    return Counter(cell for cell, _, _ in _looks(folder))


def read_digests(folder: Path) -> Mapping[str, str]:
    """The source digest of each data label's images; none where the sweep has not written any."""
    digests = _read_facts(folder / "sweep.json").get("digests", {})
    return digests if isinstance(digests, dict) else {}


def read_id(folder: Path) -> str | None:
    """The sweep's id; None where the sweep has not written one."""
    found = _read_facts(folder / "sweep.json").get("id")
    return None if found is None else str(found)


def ledger_warnings(folder: Path, records: Iterable[TrialRecord]) -> tuple[str, ...]:
    """What is wrong with a sweep's looks at test, in words; its `records` have been read before.

    A line that has been changed, removed, moved or added by hand is found by the chain of hashes
    and by its seal in `sweep.json`; then each confirm trial's record must have its look. The chain
    is not looked at where the lines are older than it.

    Raises:
        DataError: a line can't be read.
    """
    path = folder / "looks.jsonl"
    sealed = _read_seal(folder / "sweep.json")  # before the lines, which may be growing
    lines = list(files.read_lines(path))
    looks = _looks(folder)
    broken = files.find_break(lines, sealed)
    faults = [] if broken is None else [f"line {broken.line} of {path} {broken.found}"]
    missing = [
        f"{record.cell}/confirm-{record.trial}, seed {record.seed}"
        for record in records
        if record.stage == "confirm"
        and (record.cell, record.key, record.seed) not in looks
        and not (record.state == "retried" and not record.epochs)  # it had not started
    ]
    if missing:
        more = f", and of {len(missing) - 1} more" if len(missing) > 1 else ""
        faults.append(f"{path} has no look of {missing[0]}{more}")
    what = f"sweep {folder.name}: the ledger of looks at test has been tampered with"
    return tuple(f"{what}: {fault}" for fault in faults)


def _looks(folder: Path) -> set[tuple[str, str, int]]:
    """The cell, key and seed of each look; DataError for a line that names none."""
    path = folder / "looks.jsonl"
    found = set()
    for number, look in enumerate(_read_objects(path), start=1):
        try:
            found.add((look["cell"], look["key"], look["seed"]))
        except (KeyError, TypeError) as error:
            raise _damaged(path, number, error) from error
    return found


def _read_seal(path: Path) -> files.Seal | None:
    """The seal of the looks; None where the sweep is older than seals."""
    sealed = _read_facts(path).get("looks")
    try:
        return None if sealed is None else files.Seal(**sealed)
    except TypeError as error:
        raise _damaged(path, 1, error) from error


def _read_facts(path: Path) -> dict[str, Any]:
    """What a sweep's `sweep.json` holds; nothing where there is none."""
    if not path.exists():
        return {}
    try:
        facts = json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path, 1, error) from error
    if not isinstance(facts, dict):
        raise _damaged(path, 1, TypeError(f"got a {type(facts).__name__}"))
    return facts


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
