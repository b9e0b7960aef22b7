"""The record of trials, the looks, and the table, as `doctor` holds them against the others."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import (
    DataError,
    Finding,
    Inventory,
    InventoryTrial,
    TrialId,
    TrialRecord,
    setting_word,
)
from mcl_bench.results.chosen import Chosen, Log
from mcl_bench.results.folder import ledger_warnings, read_records
from mcl_bench.results.table import read_table, write_table
from mcl_bench.results.winners import derive_superseded

COPY = "put the file back from a copy"


class RecordsSide:
    """`records.jsonl`, by which all others are measured; it is only ever added to."""

    name = "records"

    def __init__(self, folder: Path, *, metric: str, log: Log = "all") -> None:
        self._folder = folder
        self._metric = metric
        self._log = log

    def inventory(self) -> Inventory:
        """The record of every trial that has ended.

        Raises:
            DataError: a line is damaged.
        """
        records = recorded(self._folder)
        rows = derive_superseded(records, metric=self._metric)
        chosen = Chosen(self._log, metric=self._metric)
        kept = [chosen.keeps(record) for record in records]
        trials = [self._entry(*both) for both in zip(records, rows, kept, strict=True)]
        return Inventory(
            side=self.name,
            trials=tuple(trials),
            faults=tuple(torn(self._folder / "records.jsonl", side=self.name)),
        )

    def mend(self, findings: Sequence[Finding]) -> None:
        """Add the records that only the table still has, and the ids of runs where they lack."""
        files.mend_tail(self._folder / "records.jsonl")
        wanted = {finding.trial for finding in findings if finding.kind == "lost"}
        for row in tabled(self._folder) if wanted else ():
            if trial_id(row) in wanted:
                files.append_line(self._folder / "records.jsonl", row.to_json())
        named = {one.trial: one.subject for one in findings if one.kind == "unnamed"}
        for record in recorded(self._folder) if named else ():
            run_id = named.get(trial_id(record))
            if run_id:
                named_record = replace(record, run_id=run_id)
                files.append_line(self._folder / "records.jsonl", named_record.to_json())

    def _entry(self, record: TrialRecord, row: TrialRecord, kept: bool) -> InventoryTrial:
        reported = [
            str(epoch.epoch)
            for epoch in record.epochs
            if record.stage == "search" and math.isfinite(epoch.metrics.get(self._metric, math.nan))
        ]
        words = {
            "key": record.key,
            "seed": str(record.seed),
            "of": "" if record.of is None else str(record.of),
            "parent": "its cell's",
            "run": "wanted" if kept else "not wanted",
            "reported": " ".join(reported),
            "finished": str(record.finished),
            "row": digest(row),
        }
        words |= {f"params/{key}": setting_word(value) for key, value in record.config.items()}
        return InventoryTrial(
            trial=trial_id(record),
            state=record.state,
            steps=tuple(epoch.epoch for epoch in record.epochs),
            run_id=record.run_id,
            value=record.value,
            words=words,
        )


class LooksSide:
    """`looks.jsonl`: what is wrong with it is told, and never mended."""

    name = "looks"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def inventory(self) -> Inventory:
        """What the chain, its seal and the records say against the ledger."""
        path = self._folder / "looks.jsonl"
        faults = [
            Finding(
                side=self.name,
                kind="tampered",
                what=warning,
                where="looks.jsonl",
                remedy=COPY,
                mends=False,
            )
            for warning in ledger_warnings(self._folder, recorded(self._folder))
        ]
        return Inventory(side=self.name, faults=(*faults, *torn(path, side=self.name)))

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - only a tail can be
        """Cut off a line that a crash left unfinished."""
        files.mend_tail(self._folder / "looks.jsonl")


class TableSide:
    """`results.parquet`, which is made from the records."""

    name = "table"

    def __init__(self, folder: Path, *, metric: str) -> None:
        self._folder = folder
        self._metric = metric

    def inventory(self) -> Inventory:
        """The rows; a table that is damaged is a fault, one that is not there has no rows."""
        try:
            rows = read_table(self._path) if self._path.exists() else []
        except DataError as error:
            fault = Finding(
                side=self.name,
                kind="damaged",
                what=error.rule,
                where=self._path.name,
                remedy="the table is made anew from the records",
                mends=(self._folder / "records.jsonl").exists(),
            )
            return Inventory(side=self.name, faults=(fault,))
        return Inventory(
            side=self.name,
            trials=tuple(
                InventoryTrial(trial=trial_id(row), state=row.state, words={"row": digest(row)})
                for row in rows
            ),
        )

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - one way mends all
        """Make the table anew."""
        write_table(recorded(self._folder), self._path, metric=self._metric)

    @property
    def _path(self) -> Path:
        return self._folder / "results.parquet"


def recorded(folder: Path) -> list[TrialRecord]:
    """The records of `records.jsonl` alone; `read_records` takes the table where it is absent."""
    return read_records(folder) if (folder / "records.jsonl").exists() else []


def tabled(folder: Path) -> list[TrialRecord]:
    """The rows of the table as records: which are superseded stands in no record."""
    path = folder / "results.parquet"
    rows = read_table(path) if path.exists() else []
    return [
        TrialRecord(**{**vars(row), "state": "duplicate" if row.duplicate_of else "complete"})
        if row.state == "superseded"
        else row
        for row in rows
    ]


def torn(path: Path, *, side: str) -> Iterator[Finding]:
    """The finding of a last line that a crash left unfinished, if there is one."""
    if files.has_torn_tail(path):
        yield Finding(
            side=side,
            kind="torn",
            what="its last line is unfinished",
            where=path.name,
            remedy="the unfinished line is cut off",
            mends=True,
        )


def trial_id(record: TrialRecord) -> TrialId:
    """What names the trial of a record."""
    return TrialId(sweep=record.sweep, cell=record.cell, stage=record.stage, number=record.trial)


def digest(record: TrialRecord) -> str:
    """SHA-256 over all columns of a record, equal for equal numbers of whatever kind."""
    plain = json.dumps(_floats(asdict(record)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
