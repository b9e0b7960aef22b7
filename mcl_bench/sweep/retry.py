"""Preparing a sweep's failed trials to run again: the next run of the sweep does the rest.

All that is written is a line of `records.jsonl` for each, with the state `retried`. Whoever then
runs the sweep asks a new trial for it, with the same settings and `retry_of`; the pair counts as
one. It may be stopped anywhere and repeated.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from mcl_bench.records import TrialName, TrialRecord
from mcl_bench.spec import Experiment
from mcl_bench.sweep.failures import Kind, kind_of
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.plan import COMPLETE, CellPlan, Standing


def retry(
    experiment: Experiment, *, home: Path, name: str, kind: Kind | None = None
) -> list[TrialRecord]:
    """Mark the failed trials of a sweep, or those of one kind, to be run again; returns them.

    A confirm trial of a setting that is no longer its cell's best is left as it is: nobody would
    run it. `name` is that of the sweep's folder.

    Raises:
        UserError: a driver is running the sweep.
        DataError: a file of it is damaged.
    """
    folder = SweepFolder(home / "sweeps" / name, files_at=experiment.spec.files)
    folder.open(experiment)
    try:
        marked = [
            record
            for record in failed(experiment, folder.records())
            if kind is None or kind_of(record.cause) == kind
        ]
        for record in marked:
            folder.record(dataclasses.replace(record, state="retried"))
            folder.event(
                "retry",
                cell=record.cell,
                stage=record.stage,
                trial=record.trial,
                cause=record.cause,
            )
    finally:
        folder.close()
    return marked


def failed(experiment: Experiment, lines: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The failed trials that another run could mend, in order; a trial's last line wins."""
    records: dict[TrialName, TrialRecord] = {
        (record.cell, record.stage, record.trial): record for record in lines
    }
    best = {cell.id: _best(experiment, cell.id, records.values()) for cell in experiment.cells}
    return [
        record
        for record in records.values()
        if record.state == "failed"
        and record.cell in best
        and (record.stage == "search" or record.of == best[record.cell])
    ]


def _best(experiment: Experiment, cell: str, records: Iterable[TrialRecord]) -> int | None:
    """The search trial that the cell's confirm trials confirm now."""
    spec = experiment.spec
    plan = CellPlan(
        id=cell,
        trials=spec.search.trials,
        seeds=spec.confirm.seeds,
        minimise=spec.search.metric == "val/loss",
    )
    for record in records:
        if record.cell == cell and record.stage == "search":
            value = record.value if record.state in COMPLETE else None
            plan.search[record.trial] = Standing(outcome=record.state, value=value)
    return plan.best()
