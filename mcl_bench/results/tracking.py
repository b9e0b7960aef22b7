"""The record for people: MLflow runs, nested sweep → cell → trial, where nothing stands twice.

An epoch's timestamp is part of its record, and which steps a run has is read before it is sent
more, so that every call can be repeated and a killed driver's runs are taken up again.
"""

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import (
    CellWords,
    Costs,
    EpochRecord,
    Inventory,
    InventoryTrial,
    RunError,
    TrialConfig,
    TrialId,
    TrialName,
    TrialRecord,
    whose,
)
from mcl_bench.results.entities import (
    ENDED_STATUS,
    PARENT,
    TRIAL_STATUS,
    batches,
    cell_tags,
    cost_metrics,
    end_tags,
    epoch_metrics,
    metrics_at,
    milliseconds,
    param_text,
    plain_config,
    summary,
    told_metrics,
    trial_name,
)
from mcl_bench.results.environment import environment
from mcl_bench.results.experiment import USER, find_runs, open_experiment, retire_experiment
from mcl_bench.results.folder import count_looks
from mcl_bench.results.models import keep_model, link_images
from mcl_bench.results.store import open_client
from mcl_bench.results.winners import best_search, confirmed

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient


class MlflowTracker:
    """MLflow's record of one sweep; implements `records.Tracker`.

    `uri` is MLflow's tracking URI; the store that `home` embeds is made when it is first used.
    `experiment` is the MLflow experiment's name, the sweep's own by default. With `verbose`
    MLflow's log is let through; with `new` a name that is taken is no fault.
    """

    def __init__(
        self,
        *,
        sweep: str,
        uri: str,
        home: Path,
        experiment: str | None = None,
        verbose: bool = False,
        new: bool = False,
    ) -> None:
        self._sweep = sweep
        self._new = new
        self._uri = uri
        self._home = home
        self._experiment = experiment
        self._verbose = verbose
        self._connected: MlflowClient | None = None
        self._experiment_id = ""
        self._sweep_id = ""
        self._sweep_run = ""
        self._metric = "val/top1"
        self._resumed = False
        self._cells: dict[str, CellWords] = {}
        self._cell_runs: dict[str, str] = {}
        self._by_name: dict[TrialName, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._environment: dict[str, Any] | None = None

    def open_sweep(self, *, sweep_id: str, config: Mapping[str, Any]) -> str:
        """The run id of the sweep, made or found by its id.

        Raises:
            UserError: MLflow can't be used, or its experiment of this name is someone else's.
        """
        self._sweep_id = sweep_id
        self._metric = config["search"]["metric"]
        self._experiment_id = open_experiment(
            self._client,
            sweep=self._sweep,
            sweep_id=sweep_id,
            uri=self._uri,
            home=self._home,
            shared=self._experiment,
            new=self._new,
        )
        found = self._find("sweep")
        self._resumed = bool(found)
        if found:
            self._sweep_run = found[0].info.run_id
            self._set_running(self._sweep_run)
            unfinished = [
                *self._find("trial", state="interrupted"),
                *self._find("trial", status="RUNNING"),
            ]
            self._by_name = {trial_name(run): run.info.run_id for run in unfinished}
            return self._sweep_run
        tags = {**self._tags("sweep"), USER: whose()}
        self._sweep_run = self._create(self._sweep, tags)
        self._client.log_dict(self._sweep_run, plain_config(config), "experiment.yaml")
        return self._sweep_run

    def retire_sweep(self, *, sweep_id: str, name: str) -> None:
        """Let an older sweep's experiment, if it has this id, bear another name."""
        if self._experiment is None:
            retire_experiment(self._client, sweep=self._sweep, sweep_id=sweep_id, name=name)

    def open_cell(self, cell: CellWords) -> str:
        """The run id of a cell under the sweep's run, made or found."""
        self._cells[cell.id] = cell
        found = self._find("cell", cell=cell.id) if self._resumed else []
        if found:
            self._cell_runs[cell.id] = found[0].info.run_id
        if cell.id in self._cell_runs:
            self._set_running(self._cell_runs[cell.id])
        else:
            tags = {**self._tags("cell"), **cell_tags(cell), PARENT: self._sweep_run}
            self._cell_runs[cell.id] = self._create(cell.id, tags)
        return self._cell_runs[cell.id]

    def start_trial(self, config: TrialConfig, *, known_run_id: str | None = None) -> str:
        """The run id of a trial under its cell's run; sets it running again if it is known.

        Without a known run, one that a killed driver made for this trial is adopted.
        """
        if known_run_id is not None and known_run_id in self._steps:
            return known_run_id
        name: TrialName = (config.id.cell, config.id.stage, config.id.number)
        run_id = self._start(
            name, seed=config.seed, key=config.key, settings=config.settings, known=known_run_id
        )
        if config.id.stage == "confirm":
            link_images(self._client, run_id, config)
        return run_id

    def log_epochs(self, run_id: str, records: Sequence[EpochRecord]) -> None:
        """Send these epochs' metrics; what the run already has is not doubled."""
        for batch in batches(self._missing(run_id, records)):
            self._log(
                run_id, metrics=[metric for epoch in batch for metric in epoch_metrics(epoch)]
            )
            self._steps[run_id].update(epoch.epoch for epoch in batch)

    def finish_trial(self, record: TrialRecord, *, artifacts: Sequence[Path] = ()) -> None:
        """Send what is missing of a finished trial and close its run.

        A confirm trial also keeps its configuration and environment beside `artifacts`.
        """
        run_id = self._run_of(record)
        self._keep(run_id, record, artifacts)
        self.log_epochs(run_id, record.epochs)
        told = told_metrics(record) if record.state == "duplicate" else []
        self._log(run_id, metrics=told, tags=end_tags(record))
        self._client.set_terminated(
            run_id, TRIAL_STATUS[record.state], end_time=milliseconds(record.finished)
        )
        del self._steps[run_id]

    def interrupt_trial(self, run_id: str) -> None:
        """Mark a trial's run as interrupted until it is taken up again."""
        self._end(run_id, state="interrupted")
        self._steps.pop(run_id, None)

    def finish_cell(
        self,
        cell: str,
        *,
        state: str,
        records: Sequence[TrialRecord],
        weights: Mapping[int, Path] | None = None,
    ) -> None:
        """Summarise a cell's confirm trials on its run and close it; keep a complete cell's model.

        The summary's timestamp is its last confirm trial's end, so that repeating it adds nothing.
        """
        run_id = self._cell_runs[cell]
        best = best_search(records, metric=self._metric)
        confirm = confirmed(records, best)
        if confirm:
            folder = self._home / "sweeps" / self._sweep
            values = summary(confirm, test_looks=count_looks(folder, cell))
            ended = max(record.finished for record in confirm)
            self._log(run_id, metrics=metrics_at(values, ended))
        for record in confirm if state == "complete" else []:
            if best is not None and weights is not None and record.trial in weights:
                file = weights[record.trial]
                keep_model(self._client, confirm=record, search=best, weights=file)
        self._end(run_id, state=state)

    def keep_page(self, page: Path) -> None:
        """Upload the sweep's page to its run; nothing where this process has not opened the sweep.

        Raises:
            RunError: MLflow did not take it.
        """
        from mlflow.exceptions import MlflowException

        if not self._sweep_run:
            return
        try:
            self._client.log_artifact(self._sweep_run, str(page))
        except (MlflowException, OSError) as error:
            raise RunError(f"MLflow did not take the page {page}: {error}") from error

    def finish_sweep(self, *, state: str, costs: Costs | None = None) -> None:
        """Close the sweep's run, with how it ended and where its time went."""
        if costs is not None:
            self._log(self._sweep_run, metrics=metrics_at(cost_metrics(costs), time.time()))
        self._end(self._sweep_run, state=state)

    def inventory(self) -> Inventory:
        """All trials of this sweep that MLflow knows.

        A run that is open is `running`, whatever its tag says; only open runs tell their steps.
        """
        return Inventory(
            side="mlflow", trials=tuple(self._entry(run) for run in self._find("trial"))
        )

    @property
    def _client(self) -> "MlflowClient":
        if self._connected is None:
            self._connected = open_client(self._uri, self._home, verbose=self._verbose)
        return self._connected

    def _tags(self, kind: str) -> dict[str, str]:
        return {
            "mcl.sweep_id": self._sweep_id,
            "mcl.kind": kind,
            "mcl.sweep": self._sweep,
            "mcl.state": "running",
        }

    def _trial_tags(self, name: TrialName, *, seed: int, key: str) -> dict[str, str]:
        cell, stage, number = name
        return {
            **self._tags("trial"),
            **cell_tags(self._cells[cell]),
            PARENT: self._cell_runs[cell],
            "mcl.stage": stage,
            "mcl.trial": str(number),
            "mcl.seed": str(seed),
            "mcl.key": key,
        }

    def _start(
        self,
        name: TrialName,
        *,
        seed: int,
        key: str,
        settings: Mapping[str, Any],
        known: str | None,
    ) -> str:
        """The open run of a trial: the known one, an unfinished one of its name, or a new one."""
        tags = self._trial_tags(name, seed=seed, key=key)
        run = self._usable(known) or self._usable(self._by_name.get(name))
        if run is None:
            run_id = self._create(f"{name[0]}/{name[1]}-{name[2]}", tags)
            self._by_name[name] = run_id
            self._steps[run_id] = set()
            self._log(run_id, params=settings)
            return run_id
        run_id = str(run.info.run_id)
        self._steps[run_id] = self._read_steps(run)
        # Its maker may have died before the parameters were there; one that is can't be changed.
        unsent = {key: value for key, value in settings.items() if key not in run.data.params}
        self._log(run_id, params=unsent, tags=tags)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _run_of(self, record: TrialRecord) -> str:
        """The run of a trial that has ended; opened again, or made, if this process has not it."""
        if record.run_id in self._steps:
            return record.run_id
        name: TrialName = (record.cell, record.stage, record.trial)
        return self._start(
            name, seed=record.seed, key=record.key, settings=record.config, known=record.run_id
        )

    def _usable(self, run_id: str | None) -> "Run | None":
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

    def _missing(self, run_id: str, records: Iterable[EpochRecord]) -> list[EpochRecord]:
        """The epochs that the run does not have yet."""
        if run_id not in self._steps:
            self._steps[run_id] = self._read_steps(self._client.get_run(run_id))
        by_epoch = {record.epoch: record for record in records}
        return [by_epoch[epoch] for epoch in sorted(by_epoch.keys() - self._steps[run_id])]

    def _read_steps(self, run: "Run") -> set[int]:
        """Which steps the run has; an epoch's metrics are sent in one piece."""
        return {
            metric.step
            for key in run.data.metrics
            for metric in self._client.get_metric_history(run.info.run_id, key)
        }

    def _keep(self, run_id: str, record: TrialRecord, artifacts: Sequence[Path]) -> None:
        """Upload what a trial leaves; a confirm trial's configuration and environment too."""
        for artifact in artifacts:
            self._client.log_artifact(run_id, str(artifact))
        if record.stage != "confirm":
            return
        if self._environment is None:
            self._environment = environment(Path.cwd())
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (
                ("config.json", record.config),
                ("environment.json", {**self._environment, "versions": record.versions}),
            ):
                text = json.dumps(content, ensure_ascii=False, indent=2)
                (Path(folder) / name).write_text(text + "\n", encoding="utf-8")
            self._client.log_artifacts(run_id, folder)

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        run = self._client.create_run(self._experiment_id, tags=dict(tags), run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def _log(
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

    def _set_running(self, run_id: str) -> None:
        self._log(run_id, tags={"mcl.state": "running"})
        self._client.update_run(run_id, status="RUNNING")

    def _end(self, run_id: str, *, state: str) -> None:
        self._log(run_id, tags={"mcl.state": state})
        self._client.set_terminated(run_id, ENDED_STATUS.get(state, "KILLED"))

    def _find(self, kind: str, *, status: str | None = None, **tags: str) -> list["Run"]:
        """The runs of this sweep of one kind, with the tags `mcl.<tag>`."""
        wanted = {"mcl.sweep_id": self._sweep_id, "mcl.kind": kind}
        wanted |= {f"mcl.{key}": value for key, value in tags.items()}
        return list(find_runs(self._client, self._experiment_id, wanted, status=status))

    def _entry(self, run: "Run") -> InventoryTrial:
        cell, stage, number = trial_name(run)
        is_open = run.info.status == "RUNNING"
        return InventoryTrial(
            trial=TrialId(sweep=self._sweep, cell=cell, stage=stage, number=number),
            state="running" if is_open else run.data.tags["mcl.state"],
            steps=tuple(sorted(self._read_steps(run))) if is_open else (),
            run_id=run.info.run_id,
        )
