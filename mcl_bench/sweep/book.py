"""The book of a sweep: the one place where a trial's run, epochs and end are written down.

A trial's end is written in this order: its line in `records.jsonl`, Optuna's tell, the tracker,
the table. Each can be repeated, so what a crash leaves undone is done at the next start.
"""

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mcl_bench import files
from mcl_bench.records import (
    CellWords,
    EpochRecord,
    RunError,
    Stage,
    TrialConfig,
    TrialName,
    TrialRecord,
    UserError,
    kept_weights,
)
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.ledger import Ledger
from mcl_bench.sweep.plan import CellPlan
from mcl_bench.sweep.quota import keep_weights
from mcl_bench.sweep.reuse import KnownTrials
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.tracker import Tracker
from mcl_bench.sweep.trials import Running, kept, tidy

Listener = Callable[[Mapping[str, Any]], None]
"""Told every event as it is written; people's progress is made of these."""

WriteTable = Callable[[Iterable[TrialRecord], Path], None]
"""Writes the results table; handed in, because this room doesn't know its form."""

TABLE_SECONDS = 30.0
"""The table is rebuilt at most this often, and at the end."""

TABLE_SHARE = 50.0
"""So many times longer than a rebuild takes is the pause after it."""

TRACKER_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds to wait after each try to open the tracker's record that failed."""

PATIENCE = {"interrupted": 5.0, "stopped": 5.0}
DRAIN_SECONDS = 30.0
"""How long a sweep's end waits while the tracker's store takes nothing: by its state, or else."""

WORD_SECONDS = 1.0
"""A wait that takes longer is told of."""

P = ParamSpec("P")
T = TypeVar("T")


def ask_tracker(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call of the tracker, again after a pause while it fails.

    Every such call can be repeated. The driver waits meanwhile; trials train on.

    Raises:
        RunError: it failed for as long as the pauses last.
    """
    for pause in TRACKER_PAUSES:
        try:
            return call(*args, **kwargs)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tracker's libraries raise
            fault = error
            time.sleep(pause)
    raise RunError(
        f"the tracking store has not taken the record for {sum(TRACKER_PAUSES):g} s: "
        f"{type(fault).__name__}: {str(fault).partition(chr(10))[0][:200]}",
        remedy="nothing is lost: when it is there again, the same command goes on",
    ) from fault


class Book:
    """What has been written of a sweep, in its folder, in Optuna and with the tracker."""

    def __init__(
        self,
        *,
        folder: SweepFolder,
        studies: Studies,
        tracker: Tracker,
        write_table: WriteTable,
        listener: Listener,
    ) -> None:
        self.folder = folder
        self._studies = studies
        self._tracker = tracker
        self._write_table = write_table
        self._listener = listener
        self._next_table = 0.0
        self._others: KnownTrials | None = None
        self._started: dict[TrialName, Running] = {}
        self._renamed = False
        self.ledger = Ledger(folder.events())
        self._records = {
            (record.cell, record.stage, record.trial): record for record in folder.records()
        }
        self._complete = {
            record.key: record for record in self._records.values() if record.state == "complete"
        }

    @property
    def records(self) -> Iterable[TrialRecord]:
        """The record of every trial that has ended."""
        return self._records.values()

    def record_of(self, name: TrialName) -> TrialRecord | None:
        """The record of a trial, if it has ended."""
        return self._records.get(name)

    def know_others(self, *, metric: str) -> None:
        """Take the search trials of other sweeps beside this one for known too."""
        here = self.folder.path
        self._others = KnownTrials(
            here.parent,
            without=here.name,
            metric=metric,
            note=lambda text: self.say("note", text=text),
        )

    def twin(self, key: str, *, stage: Stage) -> TrialRecord | None:
        """The complete trial with this effective key, if there is one.

        A search trial's may be another sweep's, whose name it then bears.
        """
        twin = self._complete.get(key)
        if twin is not None or stage == "confirm" or self._others is None:
            return twin
        return self._others.get(key)

    def open(
        self, cells: Iterable[CellWords], *, config: Mapping[str, Any], totals: Mapping[str, Any]
    ) -> None:
        """Open the sweep's and the cells' runs; close those that a crash left open.

        `totals` are what of the experiment may grow and decides what is asked.
        """
        ask_tracker(self._tracker.open_sweep, sweep_id=self.folder.id, config=config)
        host = socket.gethostname()
        self.say("start", pid=os.getpid(), host=host, id=self.folder.id, **totals)
        for cell in cells:
            ask_tracker(self._tracker.open_cell, cell)
        for entry in ask_tracker(self._tracker.inventory).trials:
            name: TrialName = (entry.trial.cell, entry.trial.stage, entry.trial.number)
            record = self.record_of(name)
            if record is None:
                continue
            if entry.run_id is not None:
                self._name_run(name, entry.run_id)
            if entry.state == "running" or (record.state == "retried" != entry.state):
                self.close_run(record)

    def look(self, running: Running) -> None:
        """Write a confirm trial's look at test down, which opens test to it."""
        if running.of is not None:
            setting = running.setting
            running.grant = self.folder.look(
                cell=running.cell, key=setting.key, seed=setting.seed, of=running.of
            )
            reach("after-look")

    def start_run(self, running: Running, config: TrialConfig) -> str | None:
        """The trial's run, made or found; None while its id is not known.

        A known id is in Optuna before the first metric. One that becomes known later is noted then,
        and one that is not known at the trial's end is left empty in Optuna.
        """
        self.hear()
        reach("before-run")
        run_id = self._tracker.start_trial(config, known_run_id=running.run_id)
        if run_id is None or run_id != running.run_id:
            reach("before-run-id")
            running.run_id = run_id
            self._studies.note(*running.name, key=running.setting.key, run_id=run_id or "")
            reach("after-run-id")
        self._started[running.name] = running
        return run_id

    def send(self, running: Running, record: EpochRecord) -> None:
        """Send one epoch's metrics to the trial's run."""
        self.hear()
        reach("before-metrics")
        self._tracker.log_epochs(running.name, [record])
        reach("after-metrics")

    def hear(self) -> None:
        """Take in what the tracker has learnt: ids of runs, and words for people."""
        news = self._tracker.news()
        for name, run_id in news.run_ids.items():
            self._name_run(name, run_id)
        for note in news.notes:
            self.note(note)

    def finish(self, running: Running, record: TrialRecord) -> None:
        """Write a trial's end, everywhere, in order."""
        reach("before-record")
        self.folder.record(record)
        reach("after-record")
        self._records[running.name] = record
        self._started.pop(running.name, None)
        if record.state == "complete":
            self._complete[record.key] = record
        self.tell(running, record)
        if time.monotonic() > self._next_table:
            reach("before-table")
            self._rebuild_table()
            reach("after-table")

    def tell(self, running: Running, record: TrialRecord) -> None:
        """What follows a trial's line in `records.jsonl`: its files, Optuna, then the tracker."""
        folder = self.folder.trial(*running.name)
        tidy(folder)
        if running.keeps_weights:
            keep_weights(folder.parent, folder)
        if record.state not in {"complete", "pruned"}:
            self._studies.note(*running.name, state=record.state)
        if record.duplicate_of is not None:
            self._studies.note(*running.name, duplicate_of=record.duplicate_of)
        if record.cause is not None:
            self._studies.note(*running.name, cause=record.cause)
        reach("before-tell")
        self._studies.tell(*running.name, outcome=record.state, value=record.value)
        reach("after-tell")
        self.close_run(record)
        reach("after-tracker")
        self.say("tell", running, state=record.state, value=record.value, cause=record.cause)

    def set_aside(self, record: TrialRecord, *, cause: str) -> TrialRecord:
        """Mark a trial that has ended to be run again; its run learns of it by `close_run`.

        A cause that it had stays.
        """
        marked = dataclasses.replace(record, state="retried", cause=record.cause or cause)
        self.folder.record(marked)
        self._records[record.cell, record.stage, record.trial] = marked
        if self._complete.get(record.key) is record:
            del self._complete[record.key]
        return marked

    def log(self, running: Running, text: str) -> None:
        """Add a line to a trial's log, where its worker could not."""
        path = self.folder.trial(*running.name) / "log.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def say(self, event: str, running: Running | None = None, **details: Any) -> None:
        """Append an event and tell the listener."""
        words = (
            {}
            if running is None
            else {"cell": running.cell, "stage": running.stage, "trial": running.number}
        )
        line = self.folder.event(event, **words, **details)
        self.ledger.hear(line)
        self._listener(line)

    def mention(self, text: str) -> None:
        """Tell people something that is kept nowhere: nothing of the sweep may be written yet."""
        self._listener({"event": "note", "text": text})

    def note(self, text: str) -> None:
        """Tell people something, and keep it among the events."""
        self.say("note", text=text)

    def end(self, state: str, *, cells: Iterable[CellPlan], open_runs: Iterable[Running]) -> None:
        """Write the table, summarise the cells, and say how the sweep ended."""
        self._rebuild_table()
        for running in open_runs:
            self._tracker.interrupt_trial(running.name)
        for cell in cells:
            records = [record for record in self.records if record.cell == cell.id]
            self._tracker.finish_cell(
                cell.id,
                state=cell.state(),
                records=records,
                weights=kept_weights(self.folder.files / "trials", records),
            )
        costs = self.ledger.costs(clock=time.monotonic())
        self._tracker.finish_sweep(state=state, costs=costs)
        self._settle(PATIENCE.get(state, DRAIN_SECONDS))
        self.say("end", state=state)
        self._write_costs()

    def send_rest(self, cells: Iterable[CellWords], *, config: Mapping[str, Any]) -> None:
        """Send what the tracker's store has not taken of a sweep that has ended."""
        if self._tracker.unsent:
            self._tracker.send_rest(list(cells), sweep_id=self.folder.id, config=config)
            self._settle(DRAIN_SECONDS)

    def _settle(self, patience: float) -> None:
        """Wait until the tracker's store has taken all, or nothing for so many seconds."""
        left = self._tracker.settle(WORD_SECONDS)
        self.hear()
        if left:
            self.mention(
                f"MLflow has not taken {left} of the entries yet: waiting until it has, or has "
                f"taken none for {patience:g} s"
            )
            self._tracker.settle(patience)
            self.hear()
        if self._renamed:
            self._rebuild_table()

    def _name_run(self, name: TrialName, run_id: str) -> None:
        """Note the id of a trial's run where it was not known; a finished trial's in its record."""
        record = self._records.get(name)
        running = self._started.get(name)
        if record is not None:
            if not record.run_id:
                named = dataclasses.replace(record, run_id=run_id)
                self.folder.record(named)
                self._records[name] = named
                if self._complete.get(record.key) is record:
                    self._complete[record.key] = named
                self._renamed = True
        elif running is not None and running.run_id != run_id:
            running.run_id = run_id
            self._studies.note(*name, run_id=run_id)

    def close_run(self, record: TrialRecord) -> None:
        """Let the run of a trial that has ended say how."""
        folder = self.folder.trial(record.cell, record.stage, record.trial)
        self._tracker.finish_trial(record, artifacts=kept(folder))

    def _write_costs(self) -> None:
        costs = self.ledger.costs(live=True).to_dict()
        files.write_whole(self.folder.path / "costs.json", json.dumps(costs, indent=1) + "\n")

    def _rebuild_table(self) -> None:
        began = time.monotonic()
        self._renamed = False
        self._write_table(self.records, self.folder.path / "results.parquet")
        self._write_costs()
        ended = time.monotonic()
        self._next_table = ended + max(TABLE_SECONDS, TABLE_SHARE * (ended - began))
