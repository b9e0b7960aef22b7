"""The record for people: MLflow runs, nested sweep → cell → trial, where nothing stands twice.

An epoch's timestamp is part of its record, and which steps a run has is read before it is sent
more, so that every call can be repeated and a killed driver's runs are taken up again.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import (
    CellWords,
    Costs,
    EpochRecord,
    Inventory,
    InventoryTrial,
    TrialConfig,
    TrialId,
    TrialName,
    TrialRecord,
    whose,
)
from mcl_bench.results.entities import (
    PARENT,
    TRIAL_STATUS,
    batches,
    cell_tags,
    cost_metrics,
    end_tags,
    epoch_metrics,
    metrics_at,
    milliseconds,
    plain_config,
    summary,
    told_metrics,
    trial_name,
)
from mcl_bench.results.environment import environment
from mcl_bench.results.experiment import USER, open_experiment, retire_experiment
from mcl_bench.results.folder import count_looks
from mcl_bench.results.models import keep_model, link_images
from mcl_bench.results.runs import Runs
from mcl_bench.results.shared_board import SharedBoard
from mcl_bench.results.store import open_client
from mcl_bench.results.winners import best_search, confirmed

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


class MlflowTracker:
    """MLflow's record of one sweep, written by calls that wait for MLflow's answer.

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
        self._sweep_id = ""
        self._sweep_run = ""
        self._metric = "val/top1"
        self._resumed = False
        self._cells: dict[str, CellWords] = {}
        self._cell_runs: dict[str, str] = {}
        self._by_name: dict[TrialName, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._environment: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self._home / "sweeps" / self._sweep

    def open_sweep(self, *, sweep_id: str, config: Mapping[str, Any], running: bool = True) -> str:
        """The run id of the sweep, made or found by its id; set running again with `running`.

        Raises:
            UserError: MLflow can't be used, or its experiment of this name is someone else's.
        """
        self._sweep_id = sweep_id
        self._metric = config["search"]["metric"]
        experiment_id = open_experiment(
            self._client,
            sweep=self._sweep,
            sweep_id=sweep_id,
            uri=self._uri,
            home=self._home,
            shared=self._experiment,
            new=self._new,
        )
        self._runs = Runs(self._client, experiment_id=experiment_id, sweep_id=sweep_id)
        found = self._runs.find("sweep")
        self._resumed = bool(found)
        if found:
            self._sweep_run = found[0].info.run_id
            if running:
                self._runs.reopen(self._sweep_run)
            self._take_up()
            return self._sweep_run
        tags = {**self._tags("sweep"), USER: whose()}
        self._sweep_run = self._runs.create(self._sweep, tags)
        self._client.log_dict(self._sweep_run, plain_config(config), "experiment.yaml")
        return self._sweep_run

    def retire_sweep(self, *, sweep_id: str, name: str) -> None:
        """Let an older sweep's experiment, if it has this id, bear another name."""
        if self._experiment is None:
            retire_experiment(self._client, sweep=self._sweep, sweep_id=sweep_id, name=name)
        self._board.rename(sweep_id=sweep_id, name=name)

    def open_cell(self, cell: CellWords, *, running: bool = True) -> str:
        """The run id of a cell under the sweep's run, made or found."""
        self._cells[cell.id] = cell
        found = self._runs.find("cell", cell=cell.id) if self._resumed else []
        if found:
            self._cell_runs[cell.id] = found[0].info.run_id
        if cell.id not in self._cell_runs:
            tags = {**self._tags("cell"), **cell_tags(cell), PARENT: self._sweep_run}
            self._cell_runs[cell.id] = self._runs.create(cell.id, tags)
        elif running:
            self._runs.reopen(self._cell_runs[cell.id])
        return self._cell_runs[cell.id]

    def start_trial(
        self, config: TrialConfig, *, known_run_id: str | None = None, at: float | None = None
    ) -> str:
        """The run id of a trial under its cell's run; sets it running again if it is known.

        Without a known run, one that a killed driver made for this trial is adopted. A new one
        has begun `at` this Unix time in seconds, by default now.
        """
        name: TrialName = (config.id.cell, config.id.stage, config.id.number)
        known = known_run_id or self._by_name.get(name)
        if known is not None and known in self._steps:
            return known
        settings = config.settings
        run_id = self._start(
            name, seed=config.seed, key=config.key, settings=settings, known=known_run_id, at=at
        )
        if config.id.stage == "confirm":
            link_images(self._client, run_id, config)
        return run_id

    def log_epochs(self, trial: TrialName, records: Sequence[EpochRecord]) -> None:
        """Send these epochs' metrics; what the run already has is not doubled.

        A trial without an open run is sent them with its end.
        """
        run_id = self._by_name.get(trial)
        if run_id is None:
            return
        for batch in batches(self._missing(run_id, records)):
            metrics = [metric for epoch in batch for metric in epoch_metrics(epoch)]
            self._runs.log(run_id, metrics=metrics)
            self._steps[run_id].update(epoch.epoch for epoch in batch)

    def finish_trial(self, record: TrialRecord, *, artifacts: Sequence[Path] = ()) -> None:
        """Send what is missing of a finished trial and close its run.

        A confirm trial also keeps its configuration and environment beside `artifacts`.
        """
        name: TrialName = (record.cell, record.stage, record.trial)
        run_id = self._run_of(name, record)
        self._keep(run_id, record, artifacts)
        self.log_epochs(name, record.epochs)
        told = told_metrics(record) if record.state == "duplicate" else []
        self._runs.log(run_id, metrics=told, tags=end_tags(record))
        self._client.set_terminated(
            run_id, TRIAL_STATUS[record.state], end_time=milliseconds(record.finished)
        )
        del self._steps[run_id]

    def interrupt_trial(self, trial: TrialName) -> None:
        """Mark a trial's run as interrupted until it is taken up again; nothing where none is."""
        run = self._runs.usable(self._by_name.get(trial))
        if run is not None:
            self._runs.end(run.info.run_id, state="interrupted")
            self._steps.pop(run.info.run_id, None)

    def finish_cell(
        self,
        cell: str,
        *,
        state: str,
        records: Sequence[TrialRecord],
        weights: Mapping[int, Path] | None = None,
        ended: float | None = None,
    ) -> None:
        """Summarise a cell's confirm trials on its run and close it; keep a complete cell's model.

        The summary's timestamp is its last confirm trial's end, so that repeating it adds nothing.
        """
        run_id = self._cell_runs[cell]
        best = best_search(records, metric=self._metric)
        confirm = confirmed(records, best)
        if confirm:
            values = summary(confirm, test_looks=count_looks(self.folder, cell))
            last = max(record.finished for record in confirm)
            self._runs.log(run_id, metrics=metrics_at(values, last))
        for record in confirm if state == "complete" else []:
            if best is not None and weights is not None and record.trial in weights:
                file, named = weights[record.trial], self._named(record)
                keep_model(self._client, confirm=named, search=best, weights=file)
        self._runs.end(run_id, state=state, ended=ended)

    def keep_page(self, page: Path) -> None:
        """Upload the sweep's page to its run."""
        self._client.log_artifact(self._sweep_run, str(page))

    def finish_sweep(self, *, state: str, ended: float, costs: Costs | None = None) -> None:
        """Close the sweep's run, with how it ended and where its time went.

        `ended` is Unix time in seconds, so that repeating it adds nothing.
        """
        self._runs.set_doubles_apart(
            [self._sweep_run, *self._cell_runs.values(), *self._by_name.values()]
        )
        if costs is not None:
            self._runs.log(self._sweep_run, metrics=metrics_at(cost_metrics(costs), ended))
        self._board.keep(self.folder, sweep_id=self._sweep_id, at=ended)
        self._runs.end(self._sweep_run, state=state, ended=ended)

    def inventory(self) -> Inventory:
        """All trials of this sweep that MLflow knows.

        A run that is open is `running`, whatever its tag says; only open runs tell their steps.
        """
        trials = tuple(self._entry(run) for run in self._runs.find("trial"))
        return Inventory(side="mlflow", trials=trials)

    def run_id(self, trial: TrialName) -> str | None:
        """The id of the run that this process has written a trial to, or would."""
        return self._by_name.get(trial)

    def probe(self) -> None:
        """Ask MLflow something light; what it raises tells that it does not answer."""
        self._client.search_experiments(max_results=1)

    def forget(self) -> None:
        """Look anew at every run before it is written to: what MLflow did last is not known."""
        self._steps.clear()

    @property
    def _client(self) -> "MlflowClient":
        if self._connected is None:
            self._connected = open_client(self._uri, self._home, verbose=self._verbose)
        return self._connected

    def _take_up(self) -> None:
        """Know the runs that an earlier driver left unfinished; one for each trial."""
        unfinished = [
            *self._runs.find("trial", state="interrupted"),
            *self._runs.find("trial", status="RUNNING"),
        ]
        for name in {trial_name(run) for run in unfinished}:
            run = self._runs.find_trial(name)
            if run is not None:
                self._by_name[name] = run.info.run_id

    @property
    def _board(self) -> SharedBoard:
        return SharedBoard(self._client, uri=self._uri, home=self._home)

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
        at: float | None,
    ) -> str:
        """The open run of a trial: the known one, one of its name, or a new one."""
        tags = self._trial_tags(name, seed=seed, key=key)
        run = self._runs.usable(known) or self._runs.usable(self._by_name.get(name))
        if run is None and (self._resumed or self._runs.unsure):
            run = self._runs.find_trial(name)
        if run is None:
            run_id = self._runs.create(f"{name[0]}/{name[1]}-{name[2]}", tags, started=at)
            self._by_name[name] = run_id
            self._steps[run_id] = set()
            self._runs.log(run_id, params=settings)
            return run_id
        run_id = str(run.info.run_id)
        self._by_name[name] = run_id
        self._steps[run_id] = self._runs.steps(run)
        # Its maker may have died before the parameters were there; one that is can't be changed.
        unsent = {key: value for key, value in settings.items() if key not in run.data.params}
        self._runs.log(run_id, params=unsent, tags=tags)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _run_of(self, name: TrialName, record: TrialRecord) -> str:
        """The run of a trial that has ended; opened again, or made, if this process has not it."""
        run_id = self._by_name.get(name)
        if run_id is not None and run_id in self._steps:
            return run_id
        return self._start(
            name,
            seed=record.seed,
            key=record.key,
            settings=record.config,
            known=record.run_id,
            at=record.started,
        )

    def _named(self, record: TrialRecord) -> TrialRecord:
        """The record with its run's id, which may not have been known when it was written."""
        name: TrialName = (record.cell, record.stage, record.trial)
        run_id = self._by_name.get(name) or record.run_id
        if not run_id:
            run = self._runs.find_trial(name)
            assert run is not None, "a confirm trial's end is sent before its cell's"
            run_id = run.info.run_id
        return dataclasses.replace(record, run_id=run_id)

    def _missing(self, run_id: str, records: Iterable[EpochRecord]) -> list[EpochRecord]:
        """The epochs that the run does not have yet; none where it has been deleted."""
        if run_id not in self._steps:
            run = self._runs.usable(run_id)
            if run is None:
                return []
            self._steps[run_id] = self._runs.steps(run)
        by_epoch = {record.epoch: record for record in records}
        return [by_epoch[epoch] for epoch in sorted(by_epoch.keys() - self._steps[run_id])]

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

    def _entry(self, run: "Run") -> InventoryTrial:
        cell, stage, number = trial_name(run)
        is_open = run.info.status == "RUNNING"
        return InventoryTrial(
            trial=TrialId(sweep=self._sweep, cell=cell, stage=stage, number=number),
            state="running" if is_open else run.data.tags["mcl.state"],
            steps=tuple(sorted(self._runs.steps(run))) if is_open else (),
            run_id=run.info.run_id,
        )
