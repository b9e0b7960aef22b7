"""How far each sweep is, read beside its driver: trials by state, best so far, what runs now."""

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench import files
from mcl_bench.records import Costs, Stage, TrialName, TrialRecord
from mcl_bench.results.costs import costs_rows, costs_words, read_costs
from mcl_bench.results.folder import ledger_warnings, read_events, read_records, sweep_folders
from mcl_bench.results.winners import (
    CellState,
    best_search,
    by_cell,
    cell_state,
    derive_superseded,
)
from mcl_bench.spec import load

if TYPE_CHECKING:
    from rich.console import Console

SHORTEST_NAME = 26
"""The column of cells is this wide if a name needs it; longer ones go on in a second line."""


@dataclass(frozen=True, kw_only=True)
class OpenTrial:
    """A trial that has been asked and has not ended: `waiting`, `running` or `interrupted`.

    `epoch` is the last one reported, 0 before the first, and `value` the search metric's then.
    """

    cell: str
    stage: Stage
    trial: int
    state: str = "waiting"
    epoch: int = 0
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """One cell: its state, trials by state, best search trial so far, and its open trials.

    Its batches are trained in so many `pieces`.
    """

    cell: str
    state: CellState
    trials: Mapping[str, int]
    metric: str
    best_trial: int | None
    best_value: float | None
    open: tuple[OpenTrial, ...]
    pieces: int = 1


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """One sweep: its state, its trials by state, its cells, and what is wrong with its looks.

    `costs` are those that its driver last wrote down; events may have come since.
    """

    sweep: str
    state: str
    trials: Mapping[str, int]
    cells: tuple[CellStatus, ...]
    warnings: tuple[str, ...] = ()
    costs: Costs | None = None


def status(home: Path, names: Sequence[str] = ()) -> list[SweepStatus]:
    """The standing of these sweeps under `home`, or of all of them.

    Raises:
        UserError: there is no sweep of such a name.
        DataError: a sweep's record is damaged.
    """
    return [sweep_status(folder) for folder in sweep_folders(home, names)]


def sweep_status(folder: Path) -> SweepStatus:
    """The standing of the sweep in this folder."""
    experiment = load(folder / "experiment.yaml")
    metric = experiment.spec.search.metric
    running = files.is_locked(folder / "lock")
    ended, trials, pieces = _read_open(folder)
    every = read_records(folder)
    warnings = ledger_warnings(folder, every)
    records = derive_superseded(every, metric=metric)
    known = {(record.cell, record.stage, record.trial) for record in records}
    still = [_as_left(trial, running) for name, trial in trials.items() if name not in known]
    own = by_cell(records)
    costs = read_costs(folder)
    cells = tuple(
        _cell_status(
            cell.id,
            own.get(cell.id, []),
            [trial for trial in still if trial.cell == cell.id],
            metric=metric,
            trials=cell.trials,
            seeds=experiment.spec.confirm.seeds,
            closed=costs is not None and costs.closed,
            pieces=pieces.get(cell.group, cell.spec.train.micro_batches),
        )
        for cell in experiment.cells
    )
    return SweepStatus(
        sweep=folder.name,
        state="running" if running else ended,
        trials=_count(records, still),
        cells=cells,
        warnings=warnings,
        costs=costs,
    )


def status_json(found: Sequence[SweepStatus]) -> dict[str, Any]:
    """What `status --json` prints, as plain values."""
    plain: dict[str, Any] = {
        "sweeps": [
            {
                "sweep": sweep.sweep,
                "state": sweep.state,
                "trials": dict(sweep.trials),
                "cells": [_cell_json(cell) for cell in sweep.cells],
                **({} if sweep.costs is None else {"costs": sweep.costs.to_dict()}),
            }
            for sweep in found
        ]
    }
    warnings = [warning for sweep in found for warning in sweep.warnings]
    return plain | {"warnings": warnings} if warnings else plain


def render_status(found: Sequence[SweepStatus], *, width: int = 80) -> str:
    """What `status` prints for people, without a line end at its end."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    if not found:
        return "no sweep yet"
    console = Console(width=width, file=io.StringIO(), force_terminal=False, highlight=False)
    with console.capture() as capture:
        for sweep in found:
            longest = max((len(cell.cell) for cell in sweep.cells), default=0)
            width = min(SHORTEST_NAME, longest)
            cell_names = Column("cell", overflow="fold", min_width=width)
            table = Table(cell_names, "state", "trials", "best so far", box=None, pad_edge=False)
            for cell in sweep.cells:
                table.add_row(
                    *map(Text, (cell.cell, _standing(cell), _counted(cell.trials), _best(cell)))
                )
            heading = f"sweep {sweep.sweep}: {sweep.state}, {_counted(sweep.trials)}"
            console.print(heading, markup=False)
            console.print(table)
            for trial in (trial for cell in sweep.cells for trial in cell.open):
                console.print(f"  {_open_line(trial)}", markup=False)
            if sweep.costs is not None and sweep.costs.driven_seconds > 0:
                _print_costs(console, sweep.costs, table=len(found) == 1)
            for warning in sweep.warnings:
                console.print(f"Warning: {warning}", markup=False)
            console.print()
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _print_costs(console: "Console", costs: Costs, *, table: bool) -> None:
    """One sentence, and with `table` every owner's slot-hours and device-hours."""
    from rich.table import Column, Table

    console.print(f"Costs: {costs_words(costs)}", markup=False)
    if not table:
        return
    numbers = (Column(head, justify="right") for head in ("slot-hours", "share", "device-hours"))
    owners = Table("owner", *numbers, box=None, pad_edge=False)
    for row in costs_rows(costs):
        owners.add_row(*row)
    console.print(owners)


def _read_open(
    folder: Path,
) -> tuple[str, dict[TrialName, OpenTrial], dict[tuple[str, str], int]]:
    """How the last driver ended, and the trials that were asked and not told, in order.

    And each data × model whose batches are trained in pieces, with their number.
    """
    ended = "interrupted"
    pieces: dict[tuple[str, str], int] = {}
    trials: dict[TrialName, OpenTrial] = {}
    for line in read_events(folder):
        event = line["event"]
        if event in {"start", "end"}:
            ended = line.get("state", "interrupted")
        if event == "pieces":
            pieces[line["data"], line["model"]] = line["pieces"]
        if "trial" not in line:
            continue
        name: TrialName = (line["cell"], line["stage"], line["trial"])
        cell, stage, number = name
        before = trials.get(name) or OpenTrial(cell=cell, stage=stage, trial=number)
        if event == "tell":
            trials.pop(name, None)
        else:
            trials[name] = _moved(before, line)
    return ended, trials, pieces


def _moved(trial: OpenTrial, event: Mapping[str, Any]) -> OpenTrial:
    """The trial after one of its events."""
    reported = event["event"] == "report"
    value = event.get("value") if reported else trial.value
    return OpenTrial(
        cell=trial.cell,
        stage=trial.stage,
        trial=trial.trial,
        state="running" if event["event"] in {"launch", "report"} else "waiting",
        epoch=event["epoch"] if reported else trial.epoch,
        value=value if value is not None and math.isfinite(value) else None,
    )


def _as_left(trial: OpenTrial, running: bool) -> OpenTrial:
    """The trial as it stands without a driver: what ran is interrupted."""
    if running or trial.state == "waiting":
        return trial
    return OpenTrial(**{**vars(trial), "state": "interrupted"})


def _cell_status(
    cell: str,
    records: Sequence[TrialRecord],
    still: Sequence[OpenTrial],
    *,
    metric: str,
    trials: int,
    seeds: int,
    closed: bool,
    pieces: int,
) -> CellStatus:
    best = best_search(records, metric=metric)
    return CellStatus(
        cell=cell,
        state=cell_state(records, metric=metric, trials=trials, seeds=seeds, closed=closed),
        trials=_count(records, still),
        metric=metric,
        best_trial=None if best is None else best.trial,
        best_value=None if best is None else best.value,
        open=tuple(still),
        pieces=pieces,
    )


def _count(records: Iterable[TrialRecord], still: Iterable[OpenTrial]) -> dict[str, int]:
    ended = [record.state for record in records]
    return dict(Counter([*ended, *(trial.state for trial in still)]))


def _cell_json(cell: CellStatus) -> dict[str, Any]:
    best = None
    if cell.best_trial is not None:
        best = {"trial": cell.best_trial, "metric": cell.metric, "value": cell.best_value}
    return {
        "cell": cell.cell,
        "state": cell.state,
        "trials": dict(cell.trials),
        "best": best,
        **({} if cell.pieces == 1 else {"pieces": cell.pieces}),
        "open": [
            {
                "stage": trial.stage,
                "trial": trial.trial,
                "state": trial.state,
                "epoch": trial.epoch,
                "value": trial.value,
            }
            for trial in cell.open
        ],
    }


def _counted(trials: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in trials.items()) or "no trial yet"


def _standing(cell: CellStatus) -> str:
    return cell.state if cell.pieces == 1 else f"{cell.state}, in {cell.pieces} pieces"


def _best(cell: CellStatus) -> str:
    if cell.best_value is None:
        return "–"
    return f"{cell.metric} {cell.best_value:.4f} (search-{cell.best_trial})"


def _open_line(trial: OpenTrial) -> str:
    name = f"{trial.cell}/{trial.stage}-{trial.trial}"
    if trial.epoch == 0:
        return f"{name}: {trial.state}"
    value = "" if trial.value is None else f", {trial.value:.4f}"
    return f"{name}: {trial.state}, epoch {trial.epoch}{value}"
