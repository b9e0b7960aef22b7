"""The driver of one sweep: gives out trials, hears of them, and decides. It knows no Ray."""

import json
import math
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl_bench.records import (
    Decision,
    EpochRecord,
    TrialConfig,
    TrialId,
    TrialRecord,
    TrialState,
    UserError,
)
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.cluster import threads
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.plan import COMPLETE, Finished, Plan, Standing, Wait
from mcl_bench.sweep.settings import Settings, cell_words, installed
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.supply import Resources, Supply
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
        self._store = settings.store
        self._versions = installed()
        self._supply = Supply(experiment, book=book, studies=studies, settings=settings)
        self._resources: Resources = {}
        self._live: dict[str, Running] = {}
        self.stopping = False
        self.fault: UserError | None = None

    @property
    def plan(self) -> Plan:
        """What has been asked, and how it ended."""
        return self._supply.plan

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run."""
        return self._supply.finished

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
        self._book.open(
            (cell_words(cell) for cell in self._cells.values()), config=self._experiment.resolved
        )
        self._studies.open()  # after what may be refused: a shared storage keeps what is made

    def begin(self, resources: Resources) -> None:
        """Start, or go on: take up what an earlier driver left running.

        `resources` are what a trial of each cell is given of this cluster.
        """
        self._resources = resources
        self.stop_file.unlink(missing_ok=True)
        for running in self._supply.begin(resources):
            record = self._book.record_of(running.name)
            assert record is not None, "only trials whose end is recorded come back"
            self._book.tell(running, record)
            self._stand(running, record)

    def next(self) -> Launch | Finished | None:
        """The next trial to place; None while only running trials are left."""
        while True:
            running = self._supply.next()
            if isinstance(running, Finished):
                return running
            if isinstance(running, Wait):
                return None
            key = running.setting.key
            twin = self._book.twin(key)
            if twin is not None:
                self._duplicate(running, twin)
            elif any(live.setting.key == key for live in self._live.values()):
                self._supply.park(running)
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
        self._supply.again(running)
        event = "interrupt" if self.stopping else "relaunch"
        self._book.say(event, running, cause=cause)

    def end(self, state: str) -> None:
        """Close the record of this run of the sweep, with how it ended."""
        self.stop_file.unlink(missing_ok=True)
        open_runs = [*self._live.values(), *self._supply.waiting]
        self._book.end(state, cells=self.plan.cells.values(), open_runs=open_runs)

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
            device=self._supply.device(running.cell),
            threads=threads(self._resources[running.cell]["CPU"]),
            folder=str(self._book.folder.trial(*running.name) / lease),
            digest=setting.digest,
            store=str(self._store),
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
        self._book.send(running, running.epochs[record.epoch])
        value = record.metrics.get(self._metric)
        search = running.stage == "search"
        finite = value is not None and math.isfinite(value)
        prune = False
        if search and value is not None and finite:
            prune = self._studies.report(
                running.cell, running.number, epoch=record.epoch, value=value
            )
            reach("after-report")
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
        for parked in self._supply.unpark(running.setting.key):
            if state == "complete":
                self._duplicate(parked, record)
            else:
                self._supply.again(parked)

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
