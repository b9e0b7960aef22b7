"""The leaderboard as Parquet: a row for each cell, with the columns of JSON and CSV.

The columns' version stands in the file's metadata under `mcl_bench.leaderboard_version`.
"""

import json
from collections.abc import Sequence

from mcl_bench.results.row import COLUMNS, Row
from mcl_bench.results.visible import finite

VERSION = b"1"
VERSION_KEY = b"mcl_bench.leaderboard_version"

INTEGERS = frozenset({"maps", "parameters", "n", "tier", "test_looks", "trials"})
TEXTS = frozenset(
    {"sweep", "cell", "dataset", "backbone", "weights", "arm", "xi", "state", "config"}
)


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """The rows as the bytes of a Parquet file; `config` is text of JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = dict.fromkeys(COLUMNS, pa.float64())
    kinds |= dict.fromkeys(INTEGERS, pa.int64())
    kinds |= dict.fromkeys(TEXTS, pa.string())
    kinds["equal_budget"] = pa.bool_()
    schema = pa.schema([(name, kinds[name]) for name in COLUMNS], metadata={VERSION_KEY: VERSION})
    plain = [finite(row.to_dict()) for row in rows]
    for row in plain:
        if row["config"] is not None:
            row["config"] = json.dumps(row["config"], ensure_ascii=False)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(plain, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
