"""The runs of one sweep in its MLflow experiment: made, found, written to, closed.

A call that was not answered may have been carried out, or may yet be: what may so have come to be
twice is looked for by its name, and the one that is too many is set apart, never deleted.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcl_bench.records import TrialName
from mcl_bench.results.entities import ENDED_STATUS, milliseconds, param_text
from mcl_bench.results.experiment import find_runs

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

APART = "apart"
"""The kind of a run that no trial has: kept, and not looked at any more."""


class Runs:
    """What MLflow's client does with the runs of the sweep with this id."""

    def __init__(self, client: "MlflowClient", *, experiment_id: str, sweep_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._sweep_id = sweep_id
        self.unsure: list[dict[str, str]] = []
        """The tags, without `mcl.`, of runs that may have been made without an answer."""

    def create(self, name: str, tags: Mapping[str, str], *, started: float | None = None) -> str:
        """The id of a new run; `started` is Unix time in seconds."""
        start_time = None if started is None else milliseconds(started)
        try:
            run = self._client.create_run(
                self._experiment_id, start_time=start_time, tags=dict(tags), run_name=name
            )
        except Exception:
            named = {key.removeprefix("mcl."): value for key, value in tags.items()}
            keys = ("kind", "cell", "stage", "trial")
            self.unsure.append({key: named[key] for key in keys if key in named})
            raise
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        metrics: "Sequence[Metric]" = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send one batch."""
        from mlflow.entities import Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=list(metrics),
            params=[Param(key, param_text(value)) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def reopen(self, run_id: str) -> None:
        """Set a run running again."""
        self.log(run_id, tags={"mcl.state": "running"})
        self._client.update_run(run_id, status="RUNNING")

    def end(self, run_id: str, *, state: str, ended: float | None = None) -> None:
        """Close a run; `ended` is Unix time in seconds."""
        self.log(run_id, tags={"mcl.state": state})
        end_time = None if ended is None else milliseconds(ended)
        self._client.set_terminated(run_id, ENDED_STATUS.get(state, "KILLED"), end_time)

    def find(self, kind: str, *, status: str | None = None, **tags: str) -> list["Run"]:
        """The runs of one kind, with the tags `mcl.<tag>`, the oldest first."""
        wanted = {"mcl.sweep_id": self._sweep_id, "mcl.kind": kind}
        wanted |= {f"mcl.{key}": value for key, value in tags.items()}
        return list(find_runs(self._client, self._experiment_id, wanted, status=status))

    def find_trial(self, name: TrialName) -> "Run | None":
        """The run of a trial; of several the one that holds most, the others are set apart."""
        cell, stage, number = name
        found = self.find("trial", cell=cell, stage=stage, trial=str(number))
        found.sort(key=lambda run: -len(run.data.metrics) - len(run.data.params))
        self.set_apart(run.info.run_id for run in found[1:])
        return found[0] if found else None

    def set_apart(self, run_ids: Iterable[str]) -> None:
        """Take runs out of the record, without deleting them."""
        for run_id in run_ids:
            self._client.set_tag(run_id, "mcl.kind", APART)
            self._client.set_terminated(run_id, "KILLED")

    def set_doubles_apart(self, known: Iterable[str]) -> None:
        """Set apart what was made without an answer and is none of the `known` runs."""
        keep = set(known)
        for named in self.unsure:
            found = [run.info.run_id for run in self.find(**named)]
            self.set_apart(run_id for run_id in found if run_id not in keep)
        self.unsure.clear()

    def usable(self, run_id: str | None) -> "Run | None":
        """The run if it exists, has not been deleted and is of this sweep."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

        if not run_id:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None
        ours = run.data.tags.get("mcl.sweep_id") == self._sweep_id
        return run if ours and run.info.lifecycle_stage == "active" else None

    def steps(self, run: "Run") -> set[int]:
        """Which steps the run has; an epoch's metrics are sent in one piece."""
        return {
            metric.step
            for key in run.data.metrics
            for metric in self._client.get_metric_history(run.info.run_id, key)
        }
