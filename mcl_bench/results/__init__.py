"""What came of the trials: the MLflow record, the table, the leaderboard, the status."""

from mcl_bench.results.audit import audit, read_claim
from mcl_bench.results.audit_text import audit_json, audit_text
from mcl_bench.results.comparison import compare
from mcl_bench.results.comparison_text import comparison_json, comparison_text
from mcl_bench.results.folder import read_events, read_records
from mcl_bench.results.leaderboard import leaderboard
from mcl_bench.results.render import DETAILED, asides, render
from mcl_bench.results.row import Row, warnings
from mcl_bench.results.row_table import parquet_bytes
from mcl_bench.results.slices import Slice
from mcl_bench.results.spooled import SpooledTracker
from mcl_bench.results.status import SweepStatus, render_status, status, status_json
from mcl_bench.results.table import read_table, write_table
from mcl_bench.results.tracking import MlflowTracker
from mcl_bench.results.visible import json_text
from mcl_bench.results.winners import best_search, derive_superseded

__all__ = [
    "DETAILED",
    "MlflowTracker",
    "Row",
    "Slice",
    "SpooledTracker",
    "SweepStatus",
    "asides",
    "audit",
    "audit_json",
    "audit_text",
    "best_search",
    "compare",
    "comparison_json",
    "comparison_text",
    "derive_superseded",
    "json_text",
    "leaderboard",
    "parquet_bytes",
    "read_claim",
    "read_events",
    "read_records",
    "read_table",
    "render",
    "render_status",
    "status",
    "status_json",
    "warnings",
    "write_table",
]
