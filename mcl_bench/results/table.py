"""The results table: one Parquet file for each sweep, one row for each trial.

The schema's version stands in the file's metadata under `mcl_bench.table_version`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench import files
from mcl_bench.records import DataError, EpochRecord, TrialRecord
from mcl_bench.results.winners import derive_superseded

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Of the schema; a reader refuses a later one."""

VERSION_KEY = b"mcl_bench.table_version"
"""Where the schema's version stands in the file's metadata."""

COLUMNS: Mapping[str, str] = {
    "sweep": "text",
    "cell": "text",
    "dataset": "text",
    "backbone": "text",
    "weights": "text",
    "arm": "text",
    "xi": "text",
    "maps": "integer",
    "parameters": "integer",
    "stage": "text",
    "trial": "integer",
    "of": "integer",
    "seed": "integer",
    "state": "text",
    "key": "text",
    "duplicate_of": "text",
    "retry_of": "integer",
    "config": "json",
    "epochs": "epochs",
    "value": "number",
    "val_top1": "number",
    "val_macro_top1": "number",
    "val_loss": "number",
    "test_top1": "number",
    "test_top5": "number",
    "test_macro_top1": "number",
    "device_seconds": "number",
    "wait_seconds": "number",
    "started": "number",
    "finished": "number",
    "run_id": "text",
    "cause": "text",
    "versions": "json",
}
"""The columns in order. `started` and `finished` are Unix seconds; `json` is text of JSON."""

JSON_COLUMNS = tuple(name for name, kind in COLUMNS.items() if kind == "json")


def schema() -> "pa.Schema":
    """The table's Arrow schema, with its version in the metadata."""
    import pyarrow as pa

    epoch = pa.struct(
        [
            ("epoch", pa.int32()),
            ("timestamp_ms", pa.int64()),
            ("last", pa.bool_()),
            ("metrics", pa.map_(pa.string(), pa.float64())),
        ]
    )
    kinds = {
        "text": pa.string(),
        "json": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "epochs": pa.list_(epoch),
    }
    fields = [(name, kinds[kind]) for name, kind in COLUMNS.items()]
    return pa.schema(fields, metadata={VERSION_KEY: str(VERSION).encode()})


def write_table(records: Iterable[TrialRecord], path: Path, *, metric: str = "val/top1") -> None:
    """Write one sweep's records as a table that appears whole or not at all.

    `metric` is the sweep's `search.metric`: it decides which confirm trials are superseded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(record) for record in derive_superseded(records, metric=metric)]
    table = pa.Table.from_pylist(rows, schema=schema())
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files.write_whole(path, sink.getvalue().to_pybytes())


def read_table(path: Path) -> list[TrialRecord]:
    """The records of a table that `write_table` wrote.

    Raises:
        DataError: the file is missing, damaged, no results table, or of a later version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not pq.read_table, which looks for partitions in the folders' names; and not an open file
        # of Python's: a thread of pyarrow's that lets go of one while the interpreter ends aborts
        # the process.
        with pa.OSFile(str(path)) as file:
            table = pq.ParquetFile(file, pre_buffer=False).read(use_threads=False)
    except OSError as error:
        rule = f"the results table {path} can't be read: {error.strerror or error}"
        raise DataError(rule, remedy=_REBUILT) from error
    except pa.ArrowException as error:
        rule = f"the results table {path} is damaged: {error}"
        raise DataError(rule, remedy=_REBUILT) from error
    _check_form(table.schema, path)
    try:
        return [_record(row) for row in table.to_pylist()]
    except (ValueError, TypeError, KeyError) as error:
        rule = f"the results table {path} is damaged: {error}"
        raise DataError(rule, remedy=_REBUILT) from error


_REBUILT = "where records.jsonl lies beside it, running the sweep again writes the table anew"


def _check_form(found: "pa.Schema", path: Path) -> None:
    version = (found.metadata or {}).get(VERSION_KEY)
    if version is None or not version.isdigit():
        rule = f"{path} is no results table: its metadata has no {VERSION_KEY.decode()}"
        raise DataError(rule)
    if int(version) > VERSION:
        raise DataError(
            f"the results table {path} has version {int(version)}, this mcl_bench reads up to "
            f"{VERSION}",
            remedy="read it with the mcl_bench that wrote it, or a newer one",
        )
    missing = [name for name in COLUMNS if name not in found.names]
    if missing:
        rule = f"the results table {path} lacks {', '.join(missing)}"
        raise DataError(rule, remedy=_REBUILT)


def _row(record: TrialRecord) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in COLUMNS}
    for name in JSON_COLUMNS:
        row[name] = json.dumps(row[name], ensure_ascii=False)
    row["epochs"] = [
        {
            "epoch": epoch.epoch,
            "timestamp_ms": epoch.timestamp_ms,
            "last": epoch.last,
            "metrics": list(epoch.metrics.items()),
        }
        for epoch in record.epochs
    ]
    return row


def _record(row: Mapping[str, Any]) -> TrialRecord:
    plain = {name: row[name] for name in COLUMNS}
    for name in JSON_COLUMNS:
        plain[name] = json.loads(plain[name])
    plain["epochs"] = tuple(
        EpochRecord(**{**epoch, "metrics": _metrics(epoch["metrics"])}) for epoch in row["epochs"]
    )
    return TrialRecord(**plain)


def _metrics(pairs: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in pairs}
