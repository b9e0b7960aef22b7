"""MLflow's side of a sweep, as `doctor` holds it against the records, and how it is mended.

No run is ever deleted: one that is too many is set apart by its tag `mcl.kind`.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import (
    NOT_SENT,
    CellWords,
    Finding,
    Inventory,
    InventoryTrial,
    TrialId,
    TrialRecord,
    kept_weights,
    setting_word,
)
from mcl_bench.results.entities import ENDED_STATUS, PARENT, TRIAL_STATUS, param_text, trial_name
from mcl_bench.results.experiment import find_runs
from mcl_bench.results.folder import PAGE, read_events
from mcl_bench.results.runs import APART
from mcl_bench.results.sides import recorded, trial_id
from mcl_bench.results.store import Unreachable, embedded_uri, open_client, store_fault
from mcl_bench.results.tracking import MlflowTracker
from mcl_bench.results.winners import by_cell, cell_state

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

STATUS = {**TRIAL_STATUS, "interrupted": "KILLED"}
"""MLflow's status of a trial's run that is not open, by its state."""

REPLACES = "mcl.replaces"
"""The tag by which a run stands for another, whose id the trial's record bears."""


class RunsSide:
    """The runs of one sweep at `uri`; `config` is its resolved experiment.

    `trials_at` is the folder of the trials' folders, whose files are sent again where they lack.
    """

    name = "mlflow"

    def __init__(
        self,
        folder: Path,
        *,
        sweep_id: str,
        home: Path,
        config: Mapping[str, Any],
        cells: Sequence[CellWords],
        trials_at: Path,
    ) -> None:
        self._folder = folder
        self._sweep_id = sweep_id
        self._home = home
        self._config = config
        self._cells = cells
        self._trials_at = trials_at
        tracking = config.get("tracking") or {}
        self._uri = tracking.get("uri") or embedded_uri(home)
        self._shared: str | None = tracking.get("experiment")

    def inventory(self) -> Inventory:
        """Every run of a trial of this sweep, and what is wrong with those of sweep and cells.

        Raises:
            UserError: the store is of another MLflow.
        """
        fault = store_fault(self._uri, self._home)
        if fault is not None:
            # Under another name: without its runs there is nothing to compare yet.
            return Inventory(side="mlflow store", faults=(fault,))
        try:
            client = open_client(self._uri, self._home)
        except Unreachable as error:
            away = Finding(
                side=self.name,
                kind="away",
                what=error.rule,
                where="MLflow",
                remedy="start it, or wait until it answers again",
                mends=False,
            )
            return Inventory(side="mlflow store", faults=(away,))
        records = {_name(record): record for record in recorded(self._folder)}
        cell_runs = {run.data.tags["mcl.cell"]: run for run in self._find(client, "cell")}
        entries = [
            self._entry(client, run, records.get(trial_name(run)), cell_runs)
            for run in self._find(client, "trial")
        ]
        sweep_runs = self._find(client, "sweep")
        return Inventory(
            side=self.name,
            trials=tuple(entries),
            faults=tuple(self._faults(sweep_runs[:1], cell_runs)),
        )

    def mend(self, findings: Sequence[Finding]) -> None:
        """Send what is missing, close what is open, set apart what is too much."""
        client = open_client(self._uri, self._home)
        kinds = {kind: [one for one in findings if one.kind == kind] for kind in KINDS}
        for finding in [*kinds["doubled"], *kinds["apart"], *kinds["anew"]]:
            assert finding.subject is not None
            client.set_tag(finding.subject, "mcl.kind", APART)
            client.set_terminated(finding.subject, "KILLED")
        records = {trial_id(record): record for record in recorded(self._folder)}
        tracker = self._opened()
        for finding in [*kinds["missing"], *kinds["anew"], *kinds["differs"]]:
            assert finding.trial is not None
            record = records[finding.trial]
            known = finding.subject if finding.kind == "differs" else None
            if finding.kind == "missing":
                known = self._restored(client, record.run_id)
            tracker.finish_trial(
                replace(record, run_id=known or ""), artifacts=self._artifacts(record)
            )
        for finding in kinds["open"]:
            trial = finding.trial
            assert trial is not None
            tracker.interrupt_trial((trial.cell, trial.stage, trial.number))
        self._close(tracker)
        self._name_replacements(client)

    @property
    def _sweep(self) -> str:
        return str(self._config["name"])

    def _opened(self) -> MlflowTracker:
        tracker = MlflowTracker(
            sweep=self._folder.name, uri=self._uri, home=self._home, experiment=self._shared
        )
        tracker.open_sweep(sweep_id=self._sweep_id, config=self._config)
        for cell in self._cells:
            tracker.open_cell(cell)
        return tracker

    def _close(self, tracker: MlflowTracker) -> None:
        own = by_cell(recorded(self._folder))
        for cell, state in self._cell_states().items():
            records = own.get(cell, [])
            weights = kept_weights(self._trials_at, records)
            tracker.finish_cell(cell, state=state, records=records, weights=weights)
        page = self._folder / PAGE
        if page.exists():
            tracker.keep_page(page)
        tracker.finish_sweep(state=self._state(), ended=time.time())

    def _name_replacements(self, client: "MlflowClient") -> None:
        """Let every run that is not the one that its trial's record names say whose place it has.

        An epoch's record is written before all else and never again, and a run's id is MLflow's.
        """
        records = {_name(record): record for record in recorded(self._folder)}
        for run in self._find(client, "trial"):
            record = records.get(trial_name(run))
            if (
                record is not None
                and record.run_id
                and record.run_id
                not in {
                    run.info.run_id,
                    run.data.tags.get(REPLACES),
                }
            ):
                client.set_tag(run.info.run_id, REPLACES, record.run_id)

    def _find(self, client: "MlflowClient", kind: str) -> "list[Run]":
        own = [f"{self._folder.name}@{self._sweep_id}", self._folder.name]
        for name in own if self._shared is None else [self._shared]:
            found = client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage == "active":
                tags = {"mcl.sweep_id": self._sweep_id, "mcl.kind": kind}
                return list(find_runs(client, found.experiment_id, tags))
        return []

    def _entry(
        self,
        client: "MlflowClient",
        run: "Run",
        record: TrialRecord | None,
        cell_runs: "Mapping[str, Run]",
    ) -> InventoryTrial:
        tags = run.data.tags
        cell, stage, number = trial_name(run)
        words = {"key": tags.get("mcl.key", ""), "seed": tags.get("mcl.seed", "")}
        under = cell_runs.get(cell)
        ours = under is not None and tags.get(PARENT) == under.info.run_id
        words["parent"] = "its cell's" if ours else "another run's"
        if REPLACES in tags:
            words["replaces"] = tags[REPLACES]
        if record is not None:
            words |= _params(run, record)
        steps, uneven = _steps(client, run, record)
        kept = stage == "confirm" and record is not None
        artifacts = client.list_artifacts(run.info.run_id) if kept else []
        disk = self._artifacts(record) if record is not None and not kept else []
        return InventoryTrial(
            trial=TrialId(sweep=self._sweep, cell=cell, stage=stage, number=number),
            state=_state(run),
            steps=steps,
            uneven=uneven,
            run_id=run.info.run_id,
            files=(*(found.path for found in artifacts), *(path.name for path in disk)),
            words=words,
        )

    def _faults(
        self, sweep_runs: "Sequence[Run]", cell_runs: "Mapping[str, Run]"
    ) -> Iterator[Finding]:
        """What is wrong with the runs of the sweep and of its cells."""
        wanted = {"the sweep": (self._state(), next(iter(sweep_runs), None))} | {
            f"cell {cell}": (state, cell_runs.get(cell))
            for cell, state in self._cell_states().items()
        }
        for of, (state, run) in wanted.items():
            if run is None:
                what = f"MLflow has no run of {of}"
            else:
                said = (run.data.tags.get("mcl.state"), run.info.status)
                if said == (state, ENDED_STATUS.get(state, "KILLED")):
                    continue
                what = f"the run of {of} says {said[0]} ({said[1]}), not {state}"
            yield Finding(
                side=self.name,
                kind="parents",
                what=what,
                where=of,
                remedy="the run is made or closed as its trials say",
                mends=True,
            )

    def _state(self) -> str:
        """The state in which the last driver ended."""
        state = "interrupted"
        for event in read_events(self._folder):
            if event["event"] in {"start", "end"}:
                state = event.get("state", "interrupted")
        return state

    def _cell_states(self) -> dict[str, str]:
        own = by_cell(recorded(self._folder))
        search, confirm = self._config["search"], self._config["confirm"]
        return {
            cell.id: cell_state(
                own.get(cell.id, []),
                metric=search["metric"],
                trials=search["trials"],
                seeds=confirm["seeds"],
            )
            for cell in self._cells
        }

    def _artifacts(self, record: TrialRecord) -> list[Path]:
        folder = self._trials_at / record.cell / f"{record.stage}-{record.trial}"
        return [
            path
            for path in sorted(folder.glob("*"))
            if path.is_file() and path.name not in NOT_SENT
        ]

    def _restored(self, client: "MlflowClient", run_id: str) -> str | None:
        """The trial's own run, brought back where it was deleted; None if it is gone for good."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

        if not run_id:
            return None
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None
        if run.data.tags.get("mcl.kind") == APART:
            return None
        if run.info.lifecycle_stage == "deleted":
            client.restore_run(run_id)
        return run_id


KINDS = ("missing", "doubled", "apart", "anew", "differs", "open", "parents")
"""What can be wrong with runs."""


def _name(record: TrialRecord) -> tuple[str, Any, int]:
    return record.cell, record.stage, record.trial


def _state(run: "Run") -> str:
    """A run's state; where its tag and MLflow's own status disagree, both."""
    if run.info.status == "RUNNING":
        return "running"
    state = str(run.data.tags.get("mcl.state"))
    return state if STATUS.get(state) == run.info.status else f"{state} ({run.info.status})"


def _params(run: "Run", record: TrialRecord) -> dict[str, str]:
    """The run's parameters that its record has too; empty for one that it lacks."""
    found = {}
    for key, value in record.config.items():
        said = run.data.params.get(key)
        same = said == param_text(value)
        found[f"params/{key}"] = setting_word(value) if same else said or ""
    return found


def _steps(
    client: "MlflowClient", run: "Run", record: TrialRecord | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The epochs that the run has whole and once, and those it has twice or in part."""
    points: Counter[tuple[str, int]] = Counter(
        (name, point.step)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )
    there = {step for _, step in points}
    names = {epoch.epoch: set(epoch.metrics) for epoch in record.epochs} if record else {}
    uneven = {step for (_, step), count in points.items() if count > 1} | {
        step for step in there & names.keys() if any((n, step) not in points for n in names[step])
    }
    return tuple(sorted(there - uneven)), tuple(sorted(uneven))
