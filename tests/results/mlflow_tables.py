"""What MLflow's tables hold, read with plain SQL: MLflow's own code can't hide what is doubled."""

import sqlite3
from pathlib import Path

from tracker_contract import SeenTrial


def query(home: Path, text: str, *values: object) -> list[tuple[object, ...]]:
    """What the embedded store of a home answers."""
    with sqlite3.connect(home / "mlflow.db") as database:
        return database.execute(text, values).fetchall()


def seen(home: Path, run: str) -> SeenTrial:
    """A run with all it holds."""
    ((status,),) = query(home, "select status from runs where run_uuid = ?", run)
    tags = dict(query(home, "select key, value from tags where run_uuid = ?", run))
    params = dict(query(home, "select key, value from params where run_uuid = ?", run))
    points = query(
        home,
        "select key, step, timestamp, value from metrics where run_uuid = ? order by 1, 2, 3",
        run,
    )
    parent = tags.get("mlflow.parentRunId")
    return SeenTrial(status=status, parent=parent, tags=tags, params=params, points=tuple(points))
