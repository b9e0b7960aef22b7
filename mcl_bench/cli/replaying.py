"""The verb that asks a recorded sweep's samplers again: replay."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mcl_bench import files
from mcl_bench.cli.ending import Name
from mcl_bench.cli.experiment import Json
from mcl_bench.cli.recorded import stored

if TYPE_CHECKING:
    from mcl_bench.sweep.replay import CellReplay

SAY_EVENTS = 1000
"""How often a person who waits is told how far it is."""


def replay(name: Name, as_json: Json = False) -> None:
    """Check that the record's settings would be asked again, in the same order; trains nothing."""
    from mcl_bench.sweep.folder import SweepFolder
    from mcl_bench.sweep.replay import replay as ask_again

    experiment = stored(name)
    folder = SweepFolder(files.home() / "sweeps" / name)
    folder.read()

    def progress(done: int, total: int) -> None:
        if done % SAY_EVENTS == 0:
            typer.echo(f"{done} of {total} events", err=True)

    cells = ask_again(
        experiment,
        folder.path,
        sweep_id=folder.id,
        records=folder.records(),
        progress=progress,
    )
    same = all(cell.difference is None for cell in cells)
    if as_json:
        document = {"sweep": name, "same": same, "cells": [asdict(cell) for cell in cells]}
        typer.echo(json.dumps(document))
    else:
        for cell in cells:
            typer.echo(_line(cell))
    raise typer.Exit(0 if same else 1)


def _line(cell: "CellReplay") -> str:
    checked = f"{cell.cell}: {cell.asks} asks"
    if cell.prunings:
        checked += f" and {cell.prunings} decisions to prune"
    if cell.difference is None:
        return f"{checked} are the same again"
    found = cell.difference
    return (
        f"{checked} compared; the first difference: {found.trial}: {found.of}: "
        f"recorded {found.recorded}, now {found.now}"
    )
