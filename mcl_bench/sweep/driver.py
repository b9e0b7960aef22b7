"""The driver of one sweep: gives out trials, hears of them, and decides. It knows no Ray."""

import contextlib
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
    RunError,
    TrialConfig,
    TrialRecord,
    TrialState,
    UserError,
)
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.breaker import Breaker
from mcl_bench.sweep.cluster import threads
from mcl_bench.sweep.ends import Ends
from mcl_bench.sweep.failures import POLICIES, cause_text, kind_of, verdict
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.ledger import device_weight
from mcl_bench.sweep.limits import Limits
from mcl_bench.sweep.pieces import Pieces
from mcl_bench.sweep.plan import Finished, Plan, Wait
from mcl_bench.sweep.settings import Settings, cell_words
from mcl_bench.sweep.stopping import StopRequest
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.supply import Resources, Supply
from mcl_bench.sweep.trials import Launch, Running, hand_over, trial_config
from mcl_bench.sweep.watchdog import HANG_SECONDS, read_dump

LOST = cause_text("lost", "the worker has gone")
PREEMPTED = cause_text("preempted", "the worker was told to leave")


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
        self._pieces = Pieces(experiment, book=book, studies=studies)
        self._supply = Supply(
            experiment, book=book, studies=studies, settings=settings, pieces=self._pieces
        )
        self._ends = Ends(experiment, book=book, plan=self._supply.plan)
        self._resources: Resources = {}
        self._alone: Resources = {}
        self._live: dict[str, Running] = {}
        self.limits = Limits(
            experiment.spec.budget, cells=experiment.cells, book=book, plan=self.plan
        )
        self._awaited: str | None = None
        self._breaker = Breaker()
        self._request: StopRequest | None = None
        self.stopping = False
        self.stopped = False
        self.fault: UserError | None = None
        self.broken: RunError | None = None

    @property
    def plan(self) -> Plan:
        """What has been asked, and how it ended."""
        return self._supply.plan

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run, or nothing of the budget to run it with."""
        return self._supply.finished or self.limits.over

    @property
    def stop_file(self) -> Path:
        """What running trials look for, to know that they should leave."""
        return self._book.folder.stop_file

    def stop(self) -> None:
        """Ask nothing more, and tell running trials to write a checkpoint and leave."""
        self.stopping = True
        with contextlib.suppress(OSError):  # on a full disk trials are stopped at their next epoch
            self.stop_file.parent.mkdir(parents=True, exist_ok=True)
            self.stop_file.touch()

    def break_off(self, fault: UserError) -> None:
        """Stop because the record can't be kept; what Tune would swallow is raised afterwards."""
        self.fault = self.fault or fault
        self.stop()

    def lose_ray(self, death: UserError) -> None:
        """Stop because Ray has died; trials that had been told to leave take no harm from that."""
        if not self.stopping:
            self.break_off(death)

    def open(self) -> None:
        """Open the record: the runs of the sweep and its cells, and what a crash left undone.

        Raises:
            UserError: the record of this name is another sweep's, or can't be reached.
        """
        self._book.open(
            map(cell_words, self._cells.values()),
            config=self._experiment.resolved,
            totals=self._supply.totals,
        )
        self._studies.open()  # after what may be refused: a shared storage keeps what is made

    def begin(
        self, resources: Resources, *, slots: int = 1, alone: Resources | None = None
    ) -> None:
        """Start, or go on: take up what an earlier driver left running.

        `resources` are what a trial of each cell is given of this cluster, `alone` what it is
        given so that nothing runs beside it (by default the same), `slots` how many run at once.
        """
        self._resources = resources
        self._alone = alone or resources
        weights = {cell: device_weight(needs) for cell, needs in resources.items()}
        self.limits.begin(slots=slots, weights=weights)
        self.stop_file.unlink(missing_ok=True)
        self._request = StopRequest(self._book.folder.stop_request)
        if self._experiment.spec.search.reuse:
            self._book.know_others(metric=self._metric)
        again = set()
        for running in self._supply.begin(resources):
            record = self._book.record_of(running.name)
            if record is None:
                self._set_aside(running)
                again.add(running.cell)
            else:
                self._ends.finish_again(running, record)
        self._pieces.set_aside()
        self._supply.owe_again(again)

    def next(self) -> Launch | Finished | None:
        """The next trial to place; None while only running trials are left, or while they leave.

        Once a trial that is to run alone is given out, nothing else is until it has been heard of.
        """
        while self.mind_limits() and self._awaited is None:
            self.limits.close_search(self._live.values())
            running = self._supply.next()
            if isinstance(running, Finished):
                return running
            if isinstance(running, Wait):
                return None
            key = running.setting.key
            twin = self._book.twin(key, stage=running.stage)
            if twin is not None:
                self._duplicate(running, twin)
            elif any(live.setting.key == key for live in self._live.values()):
                self._supply.park(running)
            else:
                return self._launch(running)
        return None

    def mind_limits(self) -> bool:
        """Whether trials may start: not when the budget is spent, nor when asked to end.

        Then running trials are told to leave.
        """
        self._book.hear()
        if not self.stopping:
            self.stopped = self._request is not None and self._request.asked()
            spent = self.limits.look(live=self._live.values(), waiting=self._supply.waiting)
            if spent or self.stopped:
                self.stop()
        return not self.stopping

    def on_result(self, result: Mapping[str, Any]) -> Decision:
        """Hear of an epoch or of a trial's end.

        What comes from a lost lease, or a second time, is dropped. Whoever skips an epoch is taken
        for lost.
        """
        lease = result["lease"]
        running = self._live.get(lease)
        if running is None:
            return "stop"
        record = EpochRecord(**json.loads(result["record"])) if "record" in result else None
        if record is not None and record.epoch <= running.heard:
            return "go"
        self._hear_of(lease)
        running.seconds += result["seconds"]
        pid = result["pid"]
        took = {"seconds": result["seconds"], "spent": json.loads(result.get("spent", "{}"))}
        for plain in json.loads(result["earlier"]):
            self._catch_up(running, EpochRecord(**plain), pid=pid)
        if record is not None:
            if record.epoch > 1 and record.epoch - 1 not in running.epochs:
                skipped = f"epoch {record.epoch} was told without the one before it"
                self._fail(running, lease, cause_text("lost", skipped))
                return "stop"
            running.heard = record.epoch
            return self._epoch(running, lease, record, took=took, pid=pid)
        self._book.say("spend", running, **took, pid=pid)
        left = result["outcome"] == "interrupted"
        self._fail(running, lease, PREEMPTED if left else result["cause"])
        return "stop"

    def on_lost(self, lease: str, *, cause: str = LOST) -> None:
        """A trial's worker has gone, as far as is known for this cause; or it was hung."""
        running = self._live.get(lease)
        if running is None:
            return
        dump = read_dump(self._book.folder.trial(*running.name) / lease)
        if dump is not None:
            self._book.log(running, dump)
            cause = cause_text("hung", f"no next batch for {HANG_SECONDS:g} s")
        self._book.log(running, cause)
        self._hear_of(lease)
        self._fail(running, lease, cause)

    def _hear_of(self, lease: str) -> None:
        if lease == self._awaited:
            self._awaited = None

    def _fail(self, running: Running, lease: str, cause: str) -> None:
        """Launch a trial again, from its checkpoint, or end it: as its failure's kind has it."""
        kind = kind_of(cause)
        counted = POLICIES[kind].counted
        running.losses += counted
        running.ooms += kind == "oom"
        then = verdict(kind, stage=running.stage, losses=running.losses, ooms=running.ooms)
        if then == "failed" and kind == "oom" and self._goes_on_in_pieces(running, cause):
            return
        if then in {"diverged", "failed"}:
            if counted:
                cause = f"{cause} ({running.losses} times in a row without a new epoch)"
                self._book.log(running, cause)
            self._end(running, lease, "diverged" if then == "diverged" else "failed", cause=cause)
            return
        if then == "alone":
            self._studies.note(*running.name, ooms=running.ooms)
        del self._live[lease]
        self._supply.again(running)
        event = "interrupt" if self.stopping else "relaunch"
        self._book.say(event, running, cause=cause, alone=running.alone)

    def _goes_on_in_pieces(self, running: Running, cause: str) -> bool:
        """Whether all arms of a trial's data × model are run again in smaller pieces from now on.

        Not once a budget has closed the search, which could not be made again.
        """
        count = self._pieces.smaller(running)
        if count is None or self.plan.cells[running.cell].closed:
            return False
        cells = self._pieces.decide(running, count, cause=cause)
        ended = {lease: one for lease, one in self._live.items() if one.cell in cells}
        for one in [*ended.values(), *self._supply.withdraw(cells)]:
            self._set_aside(one, cause=cause if one is running else None)
        for lease, one in ended.items():
            del self._live[lease]
            self._hear_of(lease)
            for parked in self._supply.unpark(one.setting.key):
                self._supply.again(parked)
        for record in self._pieces.set_aside():
            self._book.close_run(record)
        self._supply.renew(cells)
        return True

    def _set_aside(self, running: Running, *, cause: str | None = None) -> None:
        """End a trial that is to run again in smaller pieces."""
        if not running.started:  # it has no run yet
            running.started = time.time()
            self._book.start_run(running, self._config(running, lease=""))
        self._ends.finish(running, "retried", cause=cause or self._pieces.cause(running.cell))

    def end(self, state: str) -> None:
        """Close the record of this run of the sweep, with how it ended."""
        self.stop_file.unlink(missing_ok=True)
        open_runs = [*self._live.values(), *self._supply.waiting]
        self._book.end(state, cells=self.plan.cells.values(), open_runs=open_runs)

    def _launch(self, running: Running) -> Launch:
        self._book.look(running)
        config = self._config(running, lease=secrets.token_hex(4))
        run_id = self._book.start_run(running, config)
        checkpoint = hand_over(self._book.folder.trial(*running.name), config.lease)
        self._live[config.lease] = running
        running.weight = device_weight(self._resources[running.cell])
        running.heard = 0
        if running.alone:
            self._awaited = config.lease
        running.started = running.started or time.time()
        self._book.say("launch", running, lease=config.lease, run_id=run_id, device=config.device)
        return Launch(
            trial=config,
            resources=(self._alone if running.alone else self._resources)[running.cell],
            checkpoint=None if checkpoint is None else str(checkpoint),
            alone=running.alone,
        )

    def _config(self, running: Running, *, lease: str) -> TrialConfig:
        return trial_config(
            running,
            sweep=self._experiment.name,
            lease=lease,
            device=self._supply.device(running.cell),
            threads=threads(self._resources[running.cell]["CPU"]),
            folder=self._book.folder.trial(*running.name),
            store=self._store,
        )

    def _catch_up(self, running: Running, record: EpochRecord, *, pid: int) -> None:
        """Take in an epoch that a checkpoint remembers and this driver has not heard of."""
        if record.epoch in running.epochs:
            return
        running.epochs[record.epoch] = record
        self._book.send(running, record)
        value = record.metrics.get(self._metric)
        if running.stage == "search" and value is not None and math.isfinite(value):
            self._studies.report(running.cell, running.number, epoch=record.epoch, value=value)
        self._book.say("report", running, epoch=record.epoch, value=value, seconds=0.0, pid=pid)

    def _epoch(
        self,
        running: Running,
        lease: str,
        record: EpochRecord,
        *,
        took: Mapping[str, Any],
        pid: int,
    ) -> Decision:
        """Record an epoch everywhere, then its event; decide whether the trial goes on.

        Where what a trial is judged by is not finite, it has diverged.
        """
        if record.epoch not in running.epochs:
            running.epochs[record.epoch] = record
            running.losses = 0
        self._book.send(running, running.epochs[record.epoch])
        value = record.metrics.get(self._metric)
        search = running.stage == "search"
        judged_by = self._metric if search else "test/top1"
        judged = record.metrics.get(judged_by, math.nan)
        prune = False
        if search and value is not None and math.isfinite(value):
            prune = self._studies.report(
                running.cell, running.number, epoch=record.epoch, value=value
            )
            reach("after-report")
        self._book.say("report", running, epoch=record.epoch, value=value, **took, pid=pid)
        if (search or record.last) and not math.isfinite(judged):
            self._fail(running, lease, cause_text("diverged", f"{judged_by} is {judged}"))
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
            state = "failed"
            cause = cause_text("look", "its look is not the one written in looks.jsonl")
        record = self._ends.finish(running, state, cause=cause)
        self._hear_end(running, record)
        for parked in self._supply.unpark(running.setting.key):
            if state == "complete":
                self._duplicate(parked, record)
            else:
                self._supply.again(parked)

    def _hear_end(self, running: Running, record: TrialRecord) -> None:
        """Stop the sweep if trial after trial fails alike."""
        log = self._book.folder.trial(*running.name) / "log.txt"
        found = self._breaker.hear(record, log=log)
        if found is not None and self.broken is None:
            self.broken = found
            self.stop()

    def _duplicate(self, running: Running, twin: TrialRecord) -> None:
        """Tell a trial the value of a complete trial with the same effective key."""
        running.started = time.time()
        self._book.look(running)
        self._book.start_run(running, self._config(running, lease=""))
        self._book.say("duplicate", running, saved=twin.device_seconds)
        self._ends.finish(running, "duplicate", twin=twin)
