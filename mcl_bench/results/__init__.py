"""What came of the trials: the MLflow record, the table, the leaderboard, the status."""

from mcl_bench.results.folder import read_events, read_records
from mcl_bench.results.leaderboard import Row, leaderboard
from mcl_bench.results.render import render, warnings
from mcl_bench.results.status import SweepStatus, render_status, status, status_json
from mcl_bench.results.table import read_table, write_table
from mcl_bench.results.tracking import MlflowTracker
from mcl_bench.results.winners import best_search, derive_superseded

__all__ = [
    "MlflowTracker",
    "Row",
    "SweepStatus",
    "best_search",
    "derive_superseded",
    "leaderboard",
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
