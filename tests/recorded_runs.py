"""What an MLflow server holds of one sweep, all that two sweeps of one file must share."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

OWN = (
    "mcl.sweep_id",
    "mcl.state",
    "mcl.kind",
    "mlflow.parentRunId",
    "mlflow.source",
    "mlflow.user",
)
"""Tags that are compared elsewhere, or that no two sweeps share."""


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run without what no two sweeps share: its times, and what stands for other runs."""

    status: str
    state: str
    parent: str
    tags: dict[str, str]
    params: dict[str, str]
    points: dict[tuple[str, int], int]
    values: dict[tuple[str, int], float]
    files: list[str]


def recorded_runs(uri: str, sweep_id: str, experiment: str) -> dict[str, RecordedRun]:
    """Every run of a sweep by its kind and name; none of them twice."""
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = [
        run
        for run in client.search_runs([found.experiment_id], max_results=1000)
        if run.data.tags.get("mcl.sweep_id") == sweep_id and run.data.tags["mcl.kind"] != "apart"
    ]
    names = {run.info.run_id: _name(run) for run in runs}
    assert len(set(names.values())) == len(names), "a run stands twice"
    return {names[run.info.run_id]: _recorded(client, run, names) for run in runs}


def _name(run: Run) -> str:
    return f"{run.data.tags['mcl.kind']} {run.info.run_name}"


def _recorded(client: MlflowClient, run: Run, names: dict[str, str]) -> RecordedRun:
    history: list[Any] = [
        point
        for key in run.data.metrics
        if not key.startswith("costs/")
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    points = Counter((point.key, point.step) for point in history)
    assert set(points.values()) <= {1}, f"{_name(run)}: a metric stands twice"
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(OWN)}
    return RecordedRun(
        status=run.info.status,
        state=run.data.tags["mcl.state"],
        parent=names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
        tags=tags,
        params=dict(run.data.params),
        points=dict(points),
        values={
            (point.key, point.step): point.value
            for point in history
            if not point.key.startswith(("time/", "system/"))
        },
        files=sorted(file.path for file in client.list_artifacts(run.info.run_id)),
    )
