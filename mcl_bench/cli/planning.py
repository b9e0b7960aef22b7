"""The verb that tells what would run: plan."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import File, Json, Overrides, placed, read
from mcl_bench.cli.recorded import stored
from mcl_bench.cli.run import check
from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.spec import Experiment


def plan(file: File, overrides: Overrides = None, as_json: Json = False) -> None:
    """Tell what a sweep would run, without training anything."""
    experiment = read(file, overrides)
    with placed(experiment):
        check(experiment)
    from mcl_bench import results

    confirm = experiment.spec.confirm
    known = results.read_records(files.home() / "sweeps" / experiment.name)
    cells: list[dict[str, Any]] = [
        {
            "cell": cell.id,
            "arm": cell.arm,
            "trials": cell.trials,
            "seeds": confirm.seeds,
            "done": sum(record.cell == cell.id for record in known),
            "searched": sorted(cell.space),
            "not_searched": dict(cell.unsearched),
            "equal_budget": cell.equal_budget,
        }
        for cell in experiment.cells
    ]
    warnings = _warnings(experiment)
    disk = _disk(experiment)
    trials = sum(cell.trials + confirm.seeds for cell in experiment.cells)
    if as_json:
        document = {"cells": cells, "trials": trials, "warnings": warnings, "disk": disk}
        typer.echo(json.dumps(document))
        return
    from rich import filesize
    from rich.console import Console
    from rich.table import Column, Table

    longest = max(len(cell["cell"]) for cell in cells)
    cell_names = Column("cell", overflow="fold", min_width=min(26, longest))
    table = Table(cell_names, "search", "confirm", "done", "searched", box=None, pad_edge=False)
    for cell in cells:
        searched = " ".join(cell["searched"])
        row = (cell["cell"], cell["trials"], cell["seeds"], cell["done"], searched)
        table.add_row(*map(str, row))
    Console().print(table)
    done = sum(cell["done"] for cell in cells)
    typer.echo(f"{len(cells)} cells, {trials} trials, {done} of them done")
    held = f"{filesize.decimal(disk['pixels'])} of images in {files.home() / 'store'}"
    typer.echo(f"disk: {held}, where {filesize.decimal(disk['free'])} are free")
    for warning in warnings:
        typer.echo(f"note: {warning}")


def _warnings(experiment: "Experiment") -> list[str]:
    """What `sweep` would refuse, or what a careful user would want to know before."""
    from mcl_bench import data
    from mcl_bench.spec import notes
    from mcl_bench.sweep.cluster import this_machine, trial_resources
    from mcl_bench.sweep.growth import refuse_changes

    warnings = [
        f"{cell.id}: {key} is not searched here: {why}"
        for cell in experiment.cells
        for key, why in cell.unsearched.items()
    ]
    warnings += [*notes(experiment), *data.notes(experiment)]
    machine = this_machine()
    checks: list[Callable[[], object]] = [
        partial(trial_resources, cell.resources, [machine]) for cell in experiment.cells
    ]
    if (files.home() / "sweeps" / experiment.name / "records.jsonl").exists():
        checks.append(partial(refuse_changes, stored(experiment.name), experiment))
    for look in checks:
        try:
            look()
        except UserError as error:
            warnings.append(error.rule.replace("the biggest node", "this machine"))
    return list(dict.fromkeys(warnings))


def _disk(experiment: "Experiment") -> dict[str, int]:
    """The bytes that all packed images take, and those that are free where they go."""
    import shutil

    from mcl_bench import data

    home = files.home()
    there = next(path for path in (home, *home.parents) if path.exists())
    return {
        "pixels": sum(data.pixel_bytes(experiment, store=home / "store").values()),
        "free": shutil.disk_usage(there).free,
    }
