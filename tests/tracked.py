"""The tracker that a sweep is given, on a store of its own."""

from pathlib import Path
from typing import Any

from mcl_bench.results import MlflowTracker, SpooledTracker


def tracked(sweep: str, home: Path, *, uri: str | None = None, **words: Any) -> SpooledTracker:
    """MLflow's record of a sweep behind its spool; by default in the store under `home`."""
    mlflow = MlflowTracker(sweep=sweep, uri=uri or f"sqlite:///{home / 'mlflow.db'}", home=home)
    return SpooledTracker(mlflow, **words)
