"""The driver of one sweep: gives out trials, hears of them, and decides. It knows no Ray."""

import dataclasses
import json
import math
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl_bench.records import (
    Decision,
    EpochRecord,
    Stage,
    TrialConfig,
    TrialId,
    TrialName,
    TrialRecord,
    TrialState,
    UserError,
)
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.cluster import threads
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.plan import COMPLETE, Ask, CellPlan, Confirm, Finished, Plan, Standing, Wait
from mcl_bench.sweep.settings import Setting, Settings, cell_words, installed
from mcl_bench.sweep.studies import Studies, StudyTrial
from mcl_bench.sweep.trials import Launch, Running, keep_newest_checkpoint, trial_record

MAX_LOSSES = 3
"""So many lost workers in a row without a new epoch make a trial failed."""


class Driver:
    """The executor asks it for trials with `next` and passes on what it hears of them."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        book: Book,
        studies: Studies,
        settings: Settings,
    ) -> None:
        self._experiment = experiment
        self._cells = {cell.id: cell for cell in experiment.cells}
        self._metric = experiment.spec.search.metric
        self._book = book
        self._studies = studies
        self._settings = settings
        self._versions = installed()
        self._resources: Mapping[str, Mapping[str, float]] = {}
        self._ready: deque[Running] = deque()
        self._live: dict[str, Running] = {}
        self._parked: dict[str, list[Running]] = {}
        self.stopping = False
        self.fault: UserError | None = None
        self._left: list[tuple[str, Stage, StudyTrial]] = []
        self._spent: Mapping[TrialName, tuple[float, float]] = {}
        self.plan = Plan(
            CellPlan(
                id=cell,
                trials=self._cells[cell].trials,
                seeds=experiment.spec.confirm.seeds,
                minimise=self._metric == "val/loss",
            )
            for cell in self._cells
        )
        self._read_studies()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run."""
        return not self._left and isinstance(self.plan.next_step(), Finished)

    @property
    def stop_file(self) -> Path:
        """What running trials look for, to know that they should leave."""
        return self._book.folder.stop_file

    def stop(self) -> None:
        """Ask nothing more, and tell running trials to write a checkpoint and leave."""
        self.stopping = True
        self.stop_file.parent.mkdir(parents=True, exist_ok=True)
        self.stop_file.touch()

    def break_off(self, fault: UserError) -> None:
        """Stop because the record can't be kept; what Tune would swallow is raised afterwards."""
        self.fault = self.fault or fault
        self.stop()

    def open(self) -> None:
        """Open the record: the runs of the sweep and its cells, and what a crash left undone.

        Raises:
            UserError: the record of this name is another sweep's, or can't be reached.
        """
        self._studies.open()
        self._book.open(
            (cell_words(cell) for cell in self._cells.values()), config=self._experiment.resolved
        )
        self._book.say("start", pid=os.getpid(), host=socket.gethostname(), id=self._book.folder.id)

    def begin(self, resources: Mapping[str, Mapping[str, float]]) -> None:
        """Start, or go on: take up what an earlier driver left running.

        `resources` are what a trial of each cell is given of this cluster.
        """
        self._resources = resources
        self.stop_file.unlink(missing_ok=True)
        self._spent = self._book.folder.spent() if self._left else {}
        for cell, stage, trial in self._left:
            running = self._take_up(cell, stage, trial)
            record = self._book.record_of(running.name)
            if record is None:
                self._ready.append(running)
            else:
                self._book.tell(running, record)
                self._stand(running, record)
        self._left = []

    def next(self) -> Launch | Finished | None:
        """The next trial to place; None while only running trials are left."""
        while True:
            if self._ready:
                running = self._ready.popleft()
            else:
                step = self.plan.next_step()
                if isinstance(step, Wait):
                    return None
                if isinstance(step, Finished):
                    return step
                running = self._ask(step) if isinstance(step, Ask) else self._confirm(step)
            key = running.setting.key
            twin = self._book.twin(key)
            if twin is not None:
                self._duplicate(running, twin)
            elif any(live.setting.key == key for live in self._live.values()):
                self._parked.setdefault(key, []).append(running)
            else:
                return self._launch(running)

    def on_result(self, result: Mapping[str, Any]) -> Decision:
        """Hear of an epoch or of a trial's end. What comes from a lost lease is dropped."""
        lease = result["lease"]
        running = self._live.get(lease)
        if running is None:
            return "stop"
        running.seconds += result["seconds"]
        pid = result["pid"]
        for plain in json.loads(result["earlier"]):
            self._catch_up(running, EpochRecord(**plain), pid=pid)
        if "record" in result:
            record = EpochRecord(**json.loads(result["record"]))
            return self._epoch(running, lease, record, seconds=result["seconds"], pid=pid)
        if result["outcome"] == "interrupted":
            self.on_lost(lease, cause="pre-empted", counted=False)
            return "stop"
        diverged = result["outcome"] == "diverged" and running.stage == "search"
        self._end(running, lease, "diverged" if diverged else "failed", cause=result["cause"])
        return "stop"

    def on_lost(self, lease: str, *, cause: str = "worker lost", counted: bool = True) -> None:
        """A trial's worker has gone: launch the trial again, from its checkpoint."""
        running = self._live.get(lease)
        if running is None:
            return
        running.losses += counted
        if running.losses >= MAX_LOSSES:
            message = f"{cause} {running.losses} times in a row without a new epoch"
            self._book.log(running, message)
            self._end(running, lease, "failed", cause=message)
            return
        del self._live[lease]
        self._ready.append(running)
        event = "interrupt" if self.stopping else "relaunch"
        self._book.say(event, running, cause=cause)

    def end(self, state: str) -> None:
        """Close the record of this run of the sweep, with how it ended."""
        self.stop_file.unlink(missing_ok=True)
        open_runs = [*self._live.values(), *self._ready]
        self._book.end(state, cells=self.plan.cells.values(), open_runs=open_runs)

    def _read_studies(self) -> None:
        """Fill the plan with what the studies hold; note what was left running."""
        for cell in self._cells:
            for trial in self._studies.trials(cell, "search"):
                self.plan.asked(cell, trial.number)
                if trial.state == "RUNNING":
                    self._left.append((cell, "search", trial))
                else:
                    self.plan.searched(cell, trial.number, trial.standing)
            for trial in self._studies.trials(cell, "confirm"):
                of = trial.attributes["of"]
                k = self._settings.confirm_number(trial.attributes["seed"])
                self.plan.confirming(cell, of, k)
                if trial.state == "RUNNING":
                    self._left.append((cell, "confirm", trial))
                else:
                    self.plan.confirmed(cell, of, k, trial.standing)

    def _take_up(self, cell: str, stage: Stage, trial: StudyTrial) -> Running:
        trial = self._studies.adopt(cell, stage, trial.number)
        confirm = stage == "confirm"
        k = self._settings.confirm_number(trial.attributes["seed"]) if confirm else 0
        setting = self._setting(cell, trial.params, stage, k)
        # The key it was launched with: a library may have been upgraded since, which is no fault.
        key = trial.attributes.get("key", setting.key)
        started, seconds = self._spent.get((cell, stage, trial.number), (0.0, 0.0))
        return Running(
            cell=cell,
            stage=stage,
            number=trial.number,
            setting=dataclasses.replace(setting, key=key),
            of=trial.attributes.get("of"),
            k=k,
            run_id=trial.attributes.get("run_id"),
            started=started,
            seconds=seconds,
        )

    def _setting(self, cell: str, params: Mapping[str, Any], stage: Stage, k: int) -> Setting:
        return self._settings.setting(
            self._cells[cell], params, stage=stage, k=k, device=self._device(cell)
        )

    def _device(self, cell: str) -> str:
        return "cuda" if self._resources[cell]["GPU"] > 0 else "cpu"

    def _ask(self, step: Ask) -> Running:
        trial = self._studies.ask(step.cell)
        reach("after-ask")
        self.plan.asked(step.cell, trial.number)
        running = Running(
            cell=step.cell,
            stage="search",
            number=trial.number,
            setting=self._setting(step.cell, trial.params, "search", 0),
        )
        self._book.say("ask", running, params=trial.params)
        return running

    def _confirm(self, step: Confirm) -> Running:
        params = self._studies.params(step.cell, step.of)
        setting = self._setting(step.cell, params, "confirm", step.k)
        trial = self._studies.ask_confirm(step.cell, of=step.of, seed=setting.seed, key=setting.key)
        self.plan.confirming(step.cell, step.of, step.k)
        running = Running(
            cell=step.cell,
            stage="confirm",
            number=trial.number,
            setting=setting,
            of=step.of,
            k=step.k,
        )
        self._book.say("ask", running, of=step.of, seed=setting.seed)
        return running

    def _launch(self, running: Running) -> Launch:
        config = self._config(running, lease=secrets.token_hex(4))
        run_id = self._book.start_run(running, config)
        self._live[config.lease] = running
        running.started = running.started or time.time()
        self._book.say("launch", running, lease=config.lease, run_id=run_id)
        checkpoint = keep_newest_checkpoint(self._book.folder.trial(*running.name))
        return Launch(
            trial=config,
            resources=self._resources[running.cell],
            checkpoint=None if checkpoint is None else str(checkpoint),
        )

    def _config(self, running: Running, *, lease: str) -> TrialConfig:
        """The trial's config; a confirm trial's look is written down before it is given out."""
        setting = running.setting
        grant = None
        if running.of is not None:
            grant = self._book.folder.look(
                cell=running.cell, key=setting.key, seed=setting.seed, of=running.of
            )
            running.grant = grant
            reach("after-look")
        return TrialConfig(
            id=TrialId(
                sweep=self._experiment.name,
                cell=running.cell,
                stage=running.stage,
                number=running.number,
            ),
            settings=setting.settings,
            seed=setting.seed,
            key=setting.key,
            lease=lease,
            device=self._device(running.cell),
            threads=threads(self._resources[running.cell]["CPU"]),
            folder=str(self._book.folder.trial(*running.name) / lease),
            digest=setting.digest,
            store=str(self._settings.store),
            grant=grant,
        )

    def _catch_up(self, running: Running, record: EpochRecord, *, pid: int) -> None:
        """Take in an epoch that a checkpoint remembers and this driver has not heard of."""
        if record.epoch in running.epochs:
            return
        running.epochs[record.epoch] = record
        self._book.send(running, record)
        value = record.metrics.get(self._metric)
        if running.stage == "search" and value is not None:
            self._studies.report(running.cell, running.number, epoch=record.epoch, value=value)
        self._book.say("report", running, epoch=record.epoch, value=value, seconds=0.0, pid=pid)

    def _epoch(
        self, running: Running, lease: str, record: EpochRecord, *, seconds: float, pid: int
    ) -> Decision:
        """Record an epoch everywhere, then its event; decide whether the trial goes on."""
        if record.epoch not in running.epochs:
            running.epochs[record.epoch] = record
            running.losses = 0
        reach("before-metrics" if running.stage == "search" else "in-confirm")
        self._book.send(running, running.epochs[record.epoch])
        value = record.metrics.get(self._metric)
        search = running.stage == "search"
        finite = value is not None and math.isfinite(value)
        prune = False
        if search and value is not None and finite:
            prune = self._studies.report(
                running.cell, running.number, epoch=record.epoch, value=value
            )
        self._book.say("report", running, epoch=record.epoch, value=value, seconds=seconds, pid=pid)
        if search and not finite:
            self._end(running, lease, "diverged", cause=f"{self._metric} is {value}")
        elif record.last:
            self._end(running, lease, "complete")
        elif prune:
            self._end(running, lease, "pruned")
        else:
            return "go"
        return "stop"

    def _end(
        self, running: Running, lease: str, state: TrialState, *, cause: str | None = None
    ) -> None:
        del self._live[lease]
        if running.grant is not None and not self._book.folder.granted(running.grant):
            state, cause = "failed", "its look is not the one written in looks.jsonl"
        record = self._record(running, state, cause=cause)
        self._book.finish(running, record)
        self._stand(running, record)
        for parked in self._parked.pop(running.setting.key, []):
            if state == "complete":
                self._duplicate(parked, record)
            else:
                self._ready.append(parked)

    def _duplicate(self, running: Running, twin: TrialRecord) -> None:
        """Tell a trial the value of a complete trial with the same effective key."""
        running.started = time.time()
        self._book.start_run(running, self._config(running, lease=""))
        record = self._record(running, "duplicate", twin=twin)
        self._book.finish(running, record)
        self._stand(running, record)

    def _stand(self, running: Running, record: TrialRecord) -> None:
        """Tell the plan how a trial ended."""
        value = record.value if record.state in COMPLETE else None
        standing = Standing(outcome=record.state, value=value)
        if running.of is None:
            self.plan.searched(running.cell, running.number, standing)
        else:
            self.plan.confirmed(running.cell, running.of, running.k, standing)

    def _record(
        self,
        running: Running,
        state: TrialState,
        *,
        cause: str | None = None,
        twin: TrialRecord | None = None,
    ) -> TrialRecord:
        return trial_record(
            running,
            sweep=self._experiment.name,
            cell=cell_words(self._cells[running.cell]),
            metric=self._metric if running.stage == "search" else "test/top1",
            state=state,
            cause=cause,
            twin=twin,
            versions=self._versions,
        )
