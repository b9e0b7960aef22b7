"""The verb that tells what would run: plan."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import File, Json, Overrides, placed, read
from mcl_bench.cli.recorded import stored
from mcl_bench.cli.run import check
from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.results.forecast import CellForecast
    from mcl_bench.spec import Cell, Experiment
    from mcl_bench.sweep.demand import Demand


def plan(file: File, overrides: Overrides = None, as_json: Json = False) -> None:
    """Tell what a sweep would run, without training anything."""
    experiment = read(file, overrides)
    with placed(experiment):
        check(experiment)
    from mcl_bench import data, results
    from mcl_bench.results.forecast import forecast
    from mcl_bench.results.pace import known_paces
    from mcl_bench.sweep.demand import demand

    home = files.home()
    records = results.read_records(home / "sweeps" / experiment.name)
    needed = demand(experiment, data.count_classes(experiment, store=home / "store"))
    known = known_paces(home, experiment.cells, device=needed.device)
    left = forecast(experiment, records, known.paces)
    done = Counter(record.cell for record in records)
    cells = [
        _cell(experiment, cell, done=done[cell.id], left=own)
        for cell, own in zip(experiment.cells, left, strict=True)
    ]
    document = {
        "cells": cells,
        "trials": sum(cell["trials"] + cell["seeds"] for cell in cells),
        "warnings": [*_warnings(experiment), *known.unread, *_short(experiment, left, needed)],
        "disk": {**_disk(experiment), "checkpoints": needed.checkpoint_bytes},
        "predicted": _predicted(left, needed),
    }
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _show(document)


def _cell(
    experiment: "Experiment", cell: "Cell", *, done: int, left: "CellForecast"
) -> dict[str, Any]:
    """What is planned, known and predicted of one cell."""
    return {
        "cell": cell.id,
        "arm": cell.arm,
        "trials": cell.trials,
        "seeds": experiment.spec.confirm.seeds,
        "done": done,
        "left": {"search": left.search, "confirm": left.confirm},
        "duplicates": left.duplicates,
        "searched": sorted(cell.space),
        "not_searched": dict(cell.unsearched),
        "equal_budget": cell.equal_budget,
        "history": None if left.pace is None else asdict(left.pace),
        "device_seconds": left.device_seconds,
    }


def _short(experiment: "Experiment", left: "list[CellForecast]", needed: "Demand") -> list[str]:
    """What of the budget will not be enough, as far as is predicted."""
    from mcl_bench.results.forecast import total
    from mcl_bench.sweep.budget import shortfalls

    short = []
    quota, room = experiment.spec.budget.checkpoint_gb, needed.checkpoint_bytes
    if quota is not None and room > quota * 1e9:
        short.append(
            f"budget.checkpoint_gb: checkpoints will take about {room / 1e9:.3g} GB, {quota:g} are "
            "allowed: trials that find no room train without one"
        )
    seconds = total(left)
    if seconds is not None and needed.slots:
        budget = experiment.spec.budget
        middle = seconds[1]
        short += shortfalls(budget, wall_seconds=middle / needed.slots, device_seconds=middle)
    return short


def _predicted(left: "list[CellForecast]", needed: "Demand") -> dict[str, Any]:
    """The time of all cells with a history: lower quartile, median, upper quartile; or none."""
    from mcl_bench.results.forecast import total

    seconds = total(left)
    return {
        "device": needed.device,
        "slots": needed.slots,
        "device_hours": None if seconds is None else [one / 3600 for one in seconds],
        "hours": None
        if seconds is None or not needed.slots
        else [one / 3600 / needed.slots for one in seconds],
        "no_history": [cell.cell for cell in left if cell.pace is None],
    }


def _show(plan: dict[str, Any]) -> None:
    """Print the plan for people."""
    from rich import filesize
    from rich.console import Console
    from rich.table import Column, Table

    cells, disk = plan["cells"], plan["disk"]
    longest = max(len(cell["cell"]) for cell in cells)
    cell_names = Column("cell", overflow="fold", min_width=min(26, longest))
    table = Table(cell_names, "search", "confirm", "done", "searched", box=None, pad_edge=False)
    for cell in cells:
        searched = " ".join(cell["searched"])
        row = (cell["cell"], cell["trials"], cell["seeds"], cell["done"], searched)
        table.add_row(*map(str, row))
    Console().print(table)
    done = sum(cell["done"] for cell in cells)
    typer.echo(f"{len(cells)} cells, {plan['trials']} trials, {done} of them done")
    for cell in cells:
        if cell["duplicates"]:
            said = f"{cell['duplicates']} search trials repeat one setting, and train nothing"
            typer.echo(f"known: {cell['cell']}: {said}")
    typer.echo(f"time: {_time(plan)}")
    held = f"{filesize.decimal(disk['pixels'])} of images in {files.home() / 'store'}"
    checkpoints = f"{filesize.decimal(disk['checkpoints'])} of checkpoints at once"
    free = f"where {filesize.decimal(disk['free'])} are free"
    typer.echo(f"disk: {held}, {checkpoints}, {free}")
    for warning in plan["warnings"]:
        typer.echo(f"note: {warning}")


def _time(plan: dict[str, Any]) -> str:
    """The predicted time in words, with its spread and what it is taken from."""
    predicted, cells = plan["predicted"], plan["cells"]
    if predicted["device_hours"] is None:
        return f"no history of these data and networks on {predicted['device']}"
    low, middle, high = (_hours(hours) for hours in predicted["device_hours"])
    said = f"{middle} of {predicted['device']} time ({low} to {high})"
    if predicted["hours"] is not None:
        said += f", {_hours(predicted['hours'][1])} with {predicted['slots']} trials at once"
    known = [cell["history"] for cell in cells if cell["history"] is not None]
    said += f", by {max(history['trials'] for history in known)} earlier trials"
    pruned = [history["pruned_share"] for history in known if history["pruned_share"]]
    if pruned:
        said += f", of whose searches {max(pruned):.0%} were pruned"
    missing = len(predicted["no_history"])
    return said + (f"; no history of {missing} of {len(cells)} cells" if missing else "")


def _hours(hours: float) -> str:
    """Hours in the unit that reads best."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


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
