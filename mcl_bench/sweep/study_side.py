"""Optuna's side of a sweep, as `doctor` holds it against the records, and how it is mended.

A trial that Optuna holds to be finished can't be changed there. So what is wrong with one is
mended by writing the whole storage anew beside the old file, which is kept.
"""

import datetime
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mcl_bench.records import (
    DataError,
    Finding,
    Inventory,
    InventoryTrial,
    Stage,
    TrialId,
    TrialName,
    TrialRecord,
    setting_word,
)
from mcl_bench.spec import Cell
from mcl_bench.sweep.samplers import distribution
from mcl_bench.sweep.storage import SQLITE, storage_at
from mcl_bench.sweep.studies import STAGES, STEP_STATES

PLAIN = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""How a trial that Optuna holds to be finished ended, where no attribute says more."""

Records = Callable[[], Mapping[TrialName, TrialRecord]]
"""Reads the record of every trial that has ended."""


class StudySide:
    """The studies of one sweep in the storage at `url`."""

    name = "optuna"

    def __init__(
        self,
        url: str,
        *,
        sweep: str,
        sweep_id: str,
        cells: Mapping[str, Cell],
        metric: str,
        records: Records,
    ) -> None:
        self._url = url
        self._sweep = sweep
        self._id = sweep_id
        self._prefix = f"{sweep}@{sweep_id}"
        self._cells = cells
        self._metric = metric
        self._records = records
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def inventory(self) -> Inventory:
        """Every trial that was asked.

        Raises:
            DataError: the storage is damaged.
        """
        return Inventory(
            side=self.name, trials=tuple(self._entries()), mendable=self._url.startswith(SQLITE)
        )

    def mend(self, findings: Sequence[Finding]) -> None:
        """Tell what was not told; what is wrong with finished trials by a storage made anew."""
        records = self._records()
        untold = [one.trial for one in findings if one.kind == "untold" and one.trial is not None]
        if untold:
            storage = storage_at(self._url, sweep=self._sweep, sweep_id=self._id)
            with closing(storage):
                storage.hold()
                opened = storage.open()
                for trial in untold:
                    self._tell(opened, records[trial.cell, trial.stage, trial.number])
        if any(one.kind != "untold" for one in findings):
            self._make_anew(records)

    def _entries(self) -> Iterator[InventoryTrial]:
        storage = storage_at(self._url, sweep=self._sweep, sweep_id=self._id)
        with closing(storage):
            if not storage.count_trials():
                return
            opened = storage.open()
            names = set(optuna.get_all_study_names(opened))
            for cell, stage in itertools.product(self._cells, STAGES):
                name = f"{self._prefix}/{cell}/{stage}"
                if name in names:
                    study = optuna.load_study(study_name=name, storage=opened)
                    for trial in study.get_trials(deepcopy=False):
                        if trial.state != TrialState.WAITING:
                            yield self._entry(cell, stage, trial)

    def _entry(self, cell: str, stage: Stage, trial: FrozenTrial) -> InventoryTrial:
        attributes = trial.user_attrs
        names = ("key", "seed", "of") if stage == "confirm" else ("key",)
        words = {name: str(attributes.get(name, "")) for name in names}
        words |= {f"params/{name}": setting_word(value) for name, value in trial.params.items()}
        return InventoryTrial(
            trial=TrialId(sweep=self._sweep, cell=cell, stage=stage, number=trial.number),
            state=_state(trial),
            steps=tuple(sorted(trial.intermediate_values)),
            # Empty: it was not known when the trial ended, and a finished trial can't be changed.
            run_id=attributes.get("run_id", "") if attributes.get("run_id") != "" else None,
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            words=words,
        )

    @property
    def _path(self) -> Path | None:
        """The file of the storage; None where it is in no file."""
        return Path(self._url.removeprefix(SQLITE)) if self._url.startswith(SQLITE) else None

    def _tell(self, storage: optuna.storages.RDBStorage, record: TrialRecord) -> None:
        """Tell one trial's end, with all that a driver would have told before."""
        study = optuna.load_study(
            study_name=f"{self._prefix}/{record.cell}/{record.stage}", storage=storage
        )
        trial = study.get_trials(deepcopy=False)[record.trial]
        for epoch, reported in self._reports(record).items():
            if epoch not in trial.intermediate_values:
                storage.set_trial_intermediate_value(trial._trial_id, epoch, reported)
        for name, said in _attributes(record).items():
            storage.set_trial_user_attr(trial._trial_id, name, said)
        state = STEP_STATES[record.state]
        value = record.value if state is TrialState.COMPLETE else None
        study.tell(record.trial, value, state=state, skip_if_finished=True)

    def _make_anew(self, records: Mapping[TrialName, TrialRecord]) -> None:
        """Write the storage anew from what is there and the records, and put it in its place."""
        path = self._path
        assert path is not None, "only what lies in a file is made anew"
        beside = path.with_name(f".{path.name}.anew")
        beside.unlink(missing_ok=True)
        new = optuna.storages.RDBStorage(f"{SQLITE}{beside}")
        old = optuna.storages.RDBStorage(self._url) if path.exists() else None
        names = [] if old is None else optuna.get_all_study_names(old)
        wanted = {
            f"{self._prefix}/{cell}/{stage}": (cell, stage)
            for cell, stage in itertools.product(self._cells, STAGES)
        }
        for name in dict.fromkeys([*names, *wanted]):
            before = None
            if old is not None and name in names:
                before = optuna.load_study(study_name=name, storage=old)
            minimise = name.endswith("/search") and self._metric == "val/loss"
            study = optuna.create_study(
                study_name=name,
                storage=new,
                direction="minimize" if minimise else "maximize",
            )
            trials = [] if before is None else before.get_trials(deepcopy=False)
            if name in wanted:
                trials = list(self._corrected(*wanted[name], trials, records))
            for trial in trials:
                study.add_trial(trial)
        for storage in (new, *([] if old is None else [old])):
            _close(storage)
        if path.exists():
            os.link(path, _free_name(path))
        os.replace(beside, path)

    def _corrected(
        self,
        cell: str,
        stage: Stage,
        trials: Iterable[FrozenTrial],
        records: Mapping[TrialName, TrialRecord],
    ) -> Iterator[FrozenTrial]:
        """The trials of one study by their numbers, those that have ended corrected."""
        there: dict[int, FrozenTrial] = {}
        for trial in trials:
            record = records.get((cell, stage, trial.number))
            agrees = record is not None and _state(trial) == record.state
            if trial.number not in there or agrees:
                there[trial.number] = trial
        ended = {
            number: record
            for (of, at, number), record in records.items()
            if (of, at) == (cell, stage)
        }
        for number in range(max([*there, *ended], default=-1) + 1):
            if number in ended:
                yield self._frozen(ended[number], there.get(number))
            elif number in there:
                yield there[number]
            else:
                raise DataError(
                    f"nothing is known of {cell}/{stage}-{number}",
                    remedy="put the Optuna storage back from a copy",
                )

    def _frozen(self, record: TrialRecord, before: FrozenTrial | None) -> FrozenTrial:
        """A finished trial as its record has it."""
        cell = self._cells[record.cell]
        params = {name: record.config[name] for name in cell.space}
        attributes = {} if before is None else dict(before.user_attrs)
        if record.stage == "confirm":
            attributes |= {"of": record.of, "seed": record.seed}
        elif "enqueue" not in attributes:
            attributes |= _enqueued(cell, record, params)
        reports = self._reports(record) | (before.intermediate_values if before else {})
        state = STEP_STATES[record.state]
        value = record.value if state is TrialState.COMPLETE else None
        if state is TrialState.PRUNED and reports:
            value = reports[max(reports)]  # as Optuna itself does when it is told
        trial = optuna.trial.create_trial(
            state=state,
            value=value,
            params=params,
            distributions={name: distribution(values) for name, values in cell.space.items()},
            user_attrs={**attributes, **_attributes(record)},
            system_attrs={} if before is None else dict(before.system_attrs),
            intermediate_values=reports,
        )
        trial.datetime_start = datetime.datetime.fromtimestamp(record.started)
        trial.datetime_complete = datetime.datetime.fromtimestamp(record.finished)
        return trial

    def _reports(self, record: TrialRecord) -> dict[int, float]:
        """What a search trial's pruner was told after each epoch."""
        if record.stage == "confirm":
            return {}
        values = {epoch.epoch: epoch.metrics.get(self._metric) for epoch in record.epochs}
        return {
            epoch: value
            for epoch, value in values.items()
            if value is not None and math.isfinite(value)
        }


def _state(trial: FrozenTrial) -> str:
    """A trial's state in the words of records; where Optuna's own disagrees, both."""
    own = trial.state
    if own.name not in PLAIN:
        return own.name.lower()
    state = trial.user_attrs.get("state", PLAIN[own.name])
    return str(state) if STEP_STATES.get(state) == own else f"{state} ({own.name})"


def _attributes(record: TrialRecord) -> dict[str, Any]:
    """The attributes that a finished trial has of its record."""
    found: dict[str, Any] = {"key": record.key, "run_id": record.run_id}
    if record.state not in {"complete", "pruned"}:
        found["state"] = record.state
    if record.duplicate_of is not None:
        found["duplicate_of"] = record.duplicate_of
    if record.cause is not None:
        found["cause"] = record.cause
    return found


def _enqueued(cell: Cell, record: TrialRecord, params: Mapping[str, Any]) -> dict[str, int]:
    """Which of the settings to be tried first this trial was, as far as can be told."""
    if record.trial >= len(cell.enqueue):
        return {}
    first = cell.enqueue[record.trial]
    return {"enqueue": record.trial} if first.items() <= dict(params).items() else {}


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _close(storage: optuna.storages.RDBStorage) -> None:
    """Let go of the storage's file."""
    storage.remove_session()
    storage.engine.dispose()
