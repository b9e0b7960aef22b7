"""The verb that says what is wrong, with a sweep or with this machine: doctor."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import Json
from mcl_bench.cli.recorded import stored
from mcl_bench.records import Finding, TrialName, TrialRecord

if TYPE_CHECKING:
    from mcl_bench.doctor import Side
    from mcl_bench.spec import Experiment
    from mcl_bench.sweep.folder import SweepFolder


def doctor(
    name: Annotated[
        str | None, typer.Argument(help="A sweep; this machine by default.", show_default=False)
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be; nothing recorded is lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell what is wrong with a sweep's record, or with this machine, and how to mend it."""
    if name is None:
        _machine(fix=fix, as_json=as_json)
    else:
        _sweep(name, fix=fix, as_json=as_json)


def _sweep(name: str, *, fix: bool, as_json: bool) -> None:
    from mcl_bench.doctor import examine, mend, settled
    from mcl_bench.sweep.folder import SweepFolder

    experiment = stored(name)
    folder = SweepFolder(files.home() / "sweeps" / name, files_at=experiment.spec.files)
    if fix:
        with folder.held():
            done = mend(sides_of(experiment, folder, running=False))
        _tell(name, done.left, done.mended, as_json=as_json)
    running = files.is_locked(folder.path / "lock")
    folder.read()
    inventories = [side.inventory() for side in sides_of(experiment, folder, running=running)]
    if running:
        typer.echo(f"a driver runs {name}: what it has just written is not looked at", err=True)
        inventories = settled(inventories, now=time.time())
    _tell(name, examine(inventories), (), as_json=as_json)


def sides_of(experiment: "Experiment", folder: "SweepFolder", *, running: bool) -> "list[Side]":
    """Everything that has a say of this sweep, in the order in which it is mended."""
    from mcl_bench.results.artifacts_side import ArtifactsSide
    from mcl_bench.results.runs_side import RunsSide
    from mcl_bench.results.sides import LooksSide, RecordsSide, TableSide
    from mcl_bench.results.spool_side import SpoolSide
    from mcl_bench.sweep.folder_side import DiskSide, EventsSide, LockSide
    from mcl_bench.sweep.scratch import ScratchSide
    from mcl_bench.sweep.settings import cell_words
    from mcl_bench.sweep.study_side import StudySide

    home, path = files.home(), folder.path
    sweep, metric = experiment.name, experiment.spec.search.metric
    cells = {cell.id: cell for cell in experiment.cells}

    def records() -> Mapping[TrialName, TrialRecord]:
        return {(record.cell, record.stage, record.trial): record for record in folder.records()}

    runs: Mapping[str, Any] = {
        "sweep_id": folder.id,
        "home": home,
        "config": experiment.resolved,
        "cells": [cell_words(cell) for cell in cells.values()],
    }
    log = experiment.spec.tracking.log
    return [
        RecordsSide(path, metric=metric, log=log),
        StudySide(
            experiment.spec.search.storage or folder.database,
            sweep=sweep,
            sweep_id=folder.id,
            cells=cells,
            metric=metric,
            records=records,
        ),
        EventsSide(folder, sweep=sweep, records=records),
        LooksSide(path),
        DiskSide(folder, sweep=sweep, running=running),
        LockSide(folder, running=running),
        ArtifactsSide(home),
        SpoolSide(path, log=log, running=running, **runs),
        RunsSide(path, trials_at=folder.files / "trials", **runs),
        TableSide(path, metric=metric),
        ScratchSide(),
    ]


def _machine(*, fix: bool, as_json: bool) -> None:
    from mcl_bench.doctor import examine, mend
    from mcl_bench.results.artifacts_side import ArtifactsSide
    from mcl_bench.results.store import StoreSide
    from mcl_bench.sweep.machine import MachineSide
    from mcl_bench.sweep.scratch import ScratchSide

    home = files.home()
    machine, store = MachineSide(home), StoreSide(home)
    sides: list[Side] = [machine, store, ArtifactsSide(home), ScratchSide()]
    if fix:
        done = mend(sides)
        left, mended = done.left, done.mended
    else:
        left, mended = tuple(examine([side.inventory() for side in sides])), ()
    facts = {**machine.facts(), **store.facts()}
    for name, text in facts.items() if not as_json else ():
        typer.echo(f"{name}: {text}")
    _tell("this machine", left, mended, as_json=as_json, facts=facts)


def _tell(
    whom: str,
    left: Sequence[Finding],
    mended: Sequence[Finding],
    *,
    as_json: bool,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Print what was found, and end with 1 if something is left."""
    if as_json:
        document = {
            "findings": [_plain(finding) for finding in left],
            "mended": [_plain(finding) for finding in mended],
        }
        typer.echo(json.dumps(document if facts is None else {**document, "machine": facts}))
    else:
        for finding in mended:
            typer.echo(f"mended: {finding.side}: {finding.where}: {finding.what}")
        for finding in left:
            how = "--fix mends it" if finding.mends else "--fix can't mend it"
            line = f"{finding.side}: {finding.where}: {finding.what}; {finding.remedy} ({how})"
            typer.echo(line)
        if not left:
            typer.echo(f"nothing is wrong with {whom}")
    raise typer.Exit(1 if left else 0)


def _plain(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "trial": None if finding.trial is None else finding.where}
