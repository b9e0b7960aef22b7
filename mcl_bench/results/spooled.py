"""The tracker that a sweep is given: MLflow behind a spool, so that no trial waits for it.

Every call is first a line of the spool; one thread sends them. Only the opening of a sweep waits
for MLflow, and a trial's start for a moment, while MLflow answers promptly.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import filelock

from mcl_bench.records import (
    CellWords,
    Costs,
    EpochRecord,
    Inventory,
    InventoryTrial,
    News,
    RunError,
    TrialConfig,
    TrialId,
    TrialName,
    TrialRecord,
    UserError,
)
from mcl_bench.results.chosen import Chosen, Log
from mcl_bench.results.delivery import deliver
from mcl_bench.results.folder import read_events, read_records
from mcl_bench.results.spool import FILE, Entry, Spool, read_state
from mcl_bench.results.store import Unreachable
from mcl_bench.results.tracking import MlflowTracker
from mcl_bench.results.winners import best_search, confirmed
from mcl_bench.results.writer import Writer

START_SECONDS = 2.0
"""How long a trial's start waits for its run's id, while MLflow keeps up."""

PAGE_SECONDS = 10.0
"""How long the page's upload is waited for."""


def _nowhere(_point: str) -> None:
    """There is nothing to be done at a point."""


class SpooledTracker:
    """Keeps MLflow's record of one sweep; implements `sweep.tracker.Tracker`.

    `log` says which trials have a run. `reach` is called at the points between sending and noting
    what was sent.
    """

    def __init__(
        self,
        mlflow: MlflowTracker,
        *,
        log: Log = "all",
        reach: Callable[[str], None] = _nowhere,
    ) -> None:
        self._mlflow = mlflow
        self._log = log
        self._spool = Spool(mlflow.folder / FILE)
        self._writer = Writer(
            self._spool, send=self._send, probe=mlflow.probe, tell=self._tell, reach=reach
        )
        self._calls = threading.Lock()
        self._opening: Mapping[str, Any] | None = None
        self._cells: list[CellWords] = []
        self._opened = False
        self._metric = ""
        self._chosen = Chosen(log, metric=self._metric)
        self._ids: dict[TrialName, str] = {}
        self._told: dict[TrialName, str] = {}
        self._notes: list[str] = []
        self._behind = False

    @property
    def spool_path(self) -> Path:
        """The file that keeps what MLflow has not taken."""
        return self._spool.path

    @property
    def refusal(self) -> str | None:
        """Why MLflow did not take what it was sent last; None where it did."""
        return self._writer.away

    @property
    def unsent(self) -> int:
        """How many entries are kept for MLflow, which has not taken them."""
        if self._opening is None:
            return read_state(self._spool.path)[2]
        return self._spool.unsent

    def open_sweep(self, *, sweep_id: str, config: Mapping[str, Any]) -> str | None:
        """The run id of the sweep, made or found by its id.

        A sweep that has begun before goes on without MLflow where that does not answer: None.

        Raises:
            UserError: MLflow can't be used at first, or its experiment is someone else's.
        """
        self._begin(sweep_id=sweep_id, config=config, running=True)
        try:
            run_id = self._mlflow.open_sweep(sweep_id=sweep_id, config=config)
        except Exception as error:
            if isinstance(error, UserError) and not isinstance(error, Unreachable):
                raise
            if not any(event["event"] == "start" for event in read_events(self._mlflow.folder)):
                raise
            self._writer.go_away(error)
            return None
        self._opened = True
        return run_id

    def retire_sweep(self, *, sweep_id: str, name: str) -> None:
        """Let an older sweep's experiment, if it has this id, bear another name."""
        self._mlflow.retire_sweep(sweep_id=sweep_id, name=name)

    def open_cell(self, cell: CellWords) -> str | None:
        """The run id of a cell under the sweep's run, made or found; None without MLflow."""
        self._cells.append(cell)
        try:
            return self._mlflow.open_cell(cell) if self._opened else None
        except Exception as error:  # noqa: BLE001 - whatever MLflow's libraries raise
            self._lose(error)
            return None

    def start_trial(self, config: TrialConfig, *, known_run_id: str | None = None) -> str | None:
        """The run id of a trial, None where MLflow has not told it yet or it is to have no run."""
        name: TrialName = (config.id.cell, config.id.stage, config.id.number)
        if not self._chosen.runs(config.id.stage):
            return None
        if known_run_id is not None and self._ids.get(name) == known_run_id:
            return known_run_id
        plain = config.to_dict()
        self._ids.pop(name, None)
        self._append("start", name, sync=False, config=plain, known=known_run_id)
        self._behind = self._behind and self._spool.unsent > 1
        if self._behind or self._writer.away:
            return known_run_id
        if not self._writer.wait_for(lambda: name in self._ids, START_SECONDS):
            self._behind = True
            return known_run_id
        self._told.pop(name, None)
        return self._ids[name]

    def log_epochs(self, trial: TrialName, records: Sequence[EpochRecord]) -> None:
        """Send these epochs' metrics; what the trial's run already has is not doubled."""
        if self._chosen.runs(trial[1]):
            plain = [record.to_dict() for record in records]
            self._append("epochs", trial, sync=False, records=plain)

    def finish_trial(self, record: TrialRecord, *, artifacts: Sequence[Path] = ()) -> None:
        """Send what is missing of a finished trial and close its run."""
        if self._chosen.keeps(record):
            name: TrialName = (record.cell, record.stage, record.trial)
            paths = [self._named(path) for path in artifacts]
            self._append("finish", name, record=record.to_json(), artifacts=paths)

    def interrupt_trial(self, trial: TrialName) -> None:
        """Mark a trial's run, if it has one, as interrupted until it is taken up again."""
        if self._chosen.runs(trial[1]):
            self._append("interrupt", trial)

    def finish_cell(
        self,
        cell: str,
        *,
        state: str,
        records: Sequence[TrialRecord],
        weights: Mapping[int, Path] | None = None,
    ) -> None:
        """Summarise a cell's confirm trials on its run and close it.

        `weights` are the files that its confirm trials have left, by number; of a complete cell
        the model is kept.
        """
        best = best_search(records, metric=self._metric)
        spoken = [] if best is None else [best, *confirmed(records, best)]
        self._append(
            "cell",
            cell=cell,
            state=state,
            records=[record.to_json() for record in spoken],
            weights={number: self._named(path) for number, path in (weights or {}).items()},
        )

    def finish_sweep(self, *, state: str, costs: Costs | None = None) -> None:
        """Close the sweep's run, with how it ended and where its time went."""
        self._append("sweep", state=state, costs=None if costs is None else costs.to_dict())

    def keep_page(self, page: Path) -> None:
        """Upload the sweep's page to its run; nothing where this process has not opened the sweep.

        The sweep has ended and let its lock go, which is taken once more. A page that MLflow does
        not take is kept for it like all else.

        Raises:
            RunError: there is no such page, or another driver has gone on with the sweep.
        """
        if self._opening is None:
            return
        if not page.is_file():
            raise RunError(f"MLflow did not take the page {page}: there is no such file")
        try:
            with filelock.FileLock(self._mlflow.folder / "lock", timeout=1):
                self._spool.open()
                self._append("page", path=self._named(page))
                if not self._writer.away:
                    self.settle(PAGE_SECONDS)
                self.close()
        except filelock.Timeout as error:
            raise RunError(f"another driver holds the sweep: {page} is not sent") from error

    def inventory(self) -> Inventory:
        """All trials of this sweep that MLflow knows, or will when it has taken what is kept."""
        known = {_name(one.trial): one for one in self._stored()}
        for entry in self._spool.entries():
            if entry.trial is not None:
                before = known.get(entry.trial, self._running(entry.trial))
                known[entry.trial] = _after(before, entry)
        return Inventory(side="mlflow", trials=tuple(known.values()))

    def news(self) -> News:
        """The run ids that have become known, and what MLflow did, since this was last asked."""
        with self._spool.changed:
            news = News(run_ids=self._told, notes=tuple(self._notes))
            self._told, self._notes = {}, []
        return news

    def send_rest(
        self, cells: Sequence[CellWords], *, sweep_id: str, config: Mapping[str, Any]
    ) -> None:
        """Begin to send what is kept of a sweep that has ended; its runs' states stay."""
        self._begin(sweep_id=sweep_id, config=config, running=False)
        self._cells = list(cells)
        self._writer.start()

    def settle(self, seconds: float) -> int:
        """Wait until MLflow has all, or has taken nothing for so long; how many are left."""
        left = self._spool.unsent
        while left:
            self._writer.start()
            if not self._writer.wait_for(partial(self._has_fewer, left), seconds):
                break
            left = self._spool.unsent
        return left

    def close(self) -> None:
        """Send no more; what has not been taken stays in the spool."""
        self._writer.stop()
        if self._opening is not None:
            self._spool.clear()

    def _begin(self, *, sweep_id: str, config: Mapping[str, Any], running: bool) -> None:
        self._opening = {"sweep_id": sweep_id, "config": config, "running": running}
        self._metric = config["search"]["metric"]
        self._spool.open()
        self._chosen = Chosen(self._log, metric=self._metric)
        if self._log == "top":
            self._chosen.hear(read_records(self._mlflow.folder))

    def _lose(self, error: Exception) -> None:
        """Go on without MLflow; it is opened anew when it is back."""
        self._opened = False
        self._writer.go_away(error)

    def _stored(self) -> Iterator[InventoryTrial]:
        """What MLflow has; without it, every trial whose end may not have been kept for it."""
        if self._opened:
            try:
                yield from self._mlflow.inventory().trials
            except Exception as error:  # noqa: BLE001 - whatever MLflow's libraries raise
                self._lose(error)
            else:
                return
        folder = self._mlflow.folder
        told = {
            (event["cell"], event["stage"], event["trial"])
            for event in read_events(folder)
            if event["event"] == "tell"
        }
        for record in read_records(folder):
            name: TrialName = (record.cell, record.stage, record.trial)
            if name not in told:
                yield self._running(name)

    def _running(self, name: TrialName) -> InventoryTrial:
        cell, stage, number = name
        trial = TrialId(sweep=self._mlflow.folder.name, cell=cell, stage=stage, number=number)
        return InventoryTrial(trial=trial, state="running")

    def _has_fewer(self, count: int) -> bool:
        return self._spool.unsent < count

    def _append(
        self, call: str, trial: TrialName | None = None, *, sync: bool = True, **words: Any
    ) -> None:
        self._writer.start()
        self._spool.append(Entry(call=call, at=time.time(), trial=trial, words=words), sync=sync)

    def _named(self, path: Path) -> str:
        """A path that stays true where the sweep's folder, with the path in it, is moved."""
        inside = path.is_relative_to(self._mlflow.folder)
        return os.fspath(path.relative_to(self._mlflow.folder) if inside else path)

    def _send(self, entries: Sequence[Entry]) -> None:
        """Send entries from the writer's thread."""
        with self._calls:
            if not self._opened:
                self._open_late()
            if self._writer.away:
                self._mlflow.forget()
            deliver(entries, self._mlflow, learn=self._learn)

    def _open_late(self) -> None:
        assert self._opening is not None
        running = self._opening["running"]
        self._mlflow.open_sweep(**self._opening)
        for cell in self._cells:
            self._mlflow.open_cell(cell, running=running)
        self._opened = True

    def _learn(self, trial: TrialName, run_id: str) -> None:
        with self._spool.changed:
            self._ids[trial] = self._told[trial] = run_id
            self._spool.changed.notify_all()

    def _tell(self, text: str) -> None:
        with self._spool.changed:
            self._notes.append(text)


def _name(trial: TrialId) -> TrialName:
    return trial.cell, trial.stage, trial.number


def _after(before: InventoryTrial, entry: Entry) -> InventoryTrial:
    """How a trial's run stands when MLflow has taken an entry."""
    if entry.call == "epochs":
        steps = {*before.steps, *(record["epoch"] for record in entry.words["records"])}
        return dataclasses.replace(before, steps=tuple(sorted(steps)))
    if entry.call == "finish":
        record = TrialRecord.from_json(entry.words["record"])
        return dataclasses.replace(before, state=record.state, steps=())
    return dataclasses.replace(before, state="running" if entry.call == "start" else "interrupted")
