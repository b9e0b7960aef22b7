"""The verbs that run trials or tell what would run: sweep, plan, train."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import File, Json, Overrides, placed, read
from mcl_bench.cli.progress import shown
from mcl_bench.cli.recorded import find_trial, stored
from mcl_bench.cli.tally import Goal, Tally
from mcl_bench.records import EpochRecord, TrialRecord, UserError

if TYPE_CHECKING:
    from mcl_bench.results import MlflowTracker
    from mcl_bench.spec import Cell, Experiment
    from mcl_bench.sweep.run import SweepOutcome


def sweep(
    file: File,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default a local Ray is started.")
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start afresh; what is there is kept as NAME.N.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the leaderboard.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also what Ray, Optuna and MLflow say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a sweep, or go on with it: search, confirm on test, leaderboard."""
    experiment = read(file, overrides)
    try:
        with placed(experiment):
            outcome = _run(
                experiment, address=address, new=new, quiet=quiet, verbose=verbose, err=as_json
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on with it", err=True)
        raise typer.Exit(130) from None
    from mcl_bench import results

    rows = results.leaderboard(files.home(), [experiment.name])
    if as_json:
        document = {
            "sweep": experiment.name,
            "state": outcome.state,
            "exit": outcome.exit,
            "trials": outcome.trials,
            **json.loads(results.render(rows, "json")),
        }
        typer.echo(json.dumps(document))
    else:
        typer.echo(results.render(rows, "table"))
    for record, log in outcome.failed:
        name = f"{record.cell}/{record.stage}-{record.trial}"
        typer.echo(f"failed: {name}: {record.cause} (see {log})", err=True)
    if outcome.state == "interrupted":
        typer.echo("interrupted; the same command goes on with it", err=True)
    raise typer.Exit(outcome.exit)


def plan(file: File, overrides: Overrides = None, as_json: Json = False) -> None:
    """Tell what a sweep would run, without training anything."""
    experiment = read(file, overrides)
    with placed(experiment):
        _check(experiment)
    from mcl_bench import results

    search, confirm = experiment.spec.search, experiment.spec.confirm
    known = results.read_records(files.home() / "sweeps" / experiment.name)
    cells: list[dict[str, Any]] = [
        {
            "cell": cell.id,
            "arm": cell.arm,
            "trials": search.trials,
            "seeds": confirm.seeds,
            "done": sum(record.cell == cell.id for record in known),
            "searched": sorted(cell.space),
            "not_searched": dict(cell.unsearched),
            "equal_budget": cell.equal_budget,
        }
        for cell in experiment.cells
    ]
    warnings = _warnings(experiment)
    trials = len(cells) * (search.trials + confirm.seeds)
    if as_json:
        document = {"cells": cells, "trials": trials, "warnings": warnings}
        typer.echo(json.dumps(document))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("cell", "search", "confirm", "done", "searched", box=None, pad_edge=False)
    for cell in cells:
        searched = " ".join(cell["searched"])
        row = (cell["cell"], cell["trials"], cell["seeds"], cell["done"], searched)
        table.add_row(*map(str, row))
    Console().print(table)
    done = sum(cell["done"] for cell in cells)
    typer.echo(f"{len(cells)} cells, {trials} trials, {done} of them done")
    for warning in warnings:
        typer.echo(f"note: {warning}")


def train(
    file: Annotated[
        str,
        typer.Argument(help="The experiment file, or NAME/CELL/STAGE-NUMBER.", show_default=False),
    ],
    overrides: Overrides = None,
    arm: Annotated[str | None, typer.Option(help="Which arm; the first by default.")] = None,
    cell: Annotated[
        str | None, typer.Option(help="Which cell, where the arm is in several.")
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Train as a confirm trial: a look at test.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train one trial in this process, or a recorded one again; no Ray."""
    epochs: list[EpochRecord] = []

    def report(record: EpochRecord) -> None:
        epochs.append(record)
        words = " ".join(f"{name} {value:.4f}" for name, value in record.metrics.items())
        typer.echo(f"epoch {record.epoch}: {words}", err=as_json)

    recorded = None if Path(file).exists() else find_trial(file)
    if recorded is not None:
        if overrides or arm or cell or confirm:
            raise UserError("a recorded trial is trained as it was: nothing can be overridden")
        from mcl_bench.sweep.single import train_again

        train_again(*recorded, home=files.home(), listener=report)
        document = _compared(*recorded, epochs)
        typer.echo(f"recorded {document['recorded']}, again {document['value']}", err=as_json)
    else:
        experiment = read(Path(file), overrides)
        with placed(experiment):
            _check(experiment)
            chosen = _cell(experiment, arm, cell)
            from mcl_bench.sweep.single import train_one

            train_one(experiment, chosen, home=files.home(), confirm=confirm, listener=report)
        document = {"cell": chosen.id}
    if as_json:
        document["epochs"] = [record.to_dict() for record in epochs]
        typer.echo(json.dumps(document))


def _compared(
    experiment: "Experiment", record: TrialRecord, epochs: list[EpochRecord]
) -> dict[str, Any]:
    """The recorded value of a trial beside the one of the same epoch now."""
    metric = experiment.spec.search.metric if record.stage == "search" else "test/top1"
    last = record.epochs[-1].epoch if record.epochs else len(epochs)
    again = epochs[last - 1].metrics.get(metric)
    return {"cell": record.cell, "recorded": record.value, "value": again}


def _warnings(experiment: "Experiment") -> list[str]:
    """What `sweep` would refuse, or what a careful user would want to know before."""
    from mcl_bench.spec import notes
    from mcl_bench.sweep.cluster import this_machine, trial_resources
    from mcl_bench.sweep.growth import refuse_changes

    warnings = [
        f"{cell.id}: {key} is not searched here: {why}"
        for cell in experiment.cells
        for key, why in cell.unsearched.items()
    ]
    warnings += notes(experiment)
    machine = this_machine()
    checks: list[Callable[[], object]] = [
        partial(trial_resources, cell.resources, machine) for cell in experiment.cells
    ]
    if (files.home() / "sweeps" / experiment.name / "records.jsonl").exists():
        checks.append(partial(refuse_changes, stored(experiment.name), experiment))
    for check in checks:
        try:
            check()
        except UserError as error:
            warnings.append(error.rule.replace("the cluster", "this machine"))
    return list(dict.fromkeys(warnings))


def _check(experiment: "Experiment") -> None:
    """Tell every user error before anything is started."""
    from mcl_bench import data, training

    data.check(experiment)
    classes = data.count_classes(experiment, store=files.home() / "store")
    training.check(experiment, classes)


def _run(
    experiment: "Experiment",
    *,
    address: str | None,
    new: bool,
    quiet: bool,
    verbose: bool,
    err: bool,
) -> "SweepOutcome":
    from mcl_bench import results
    from mcl_bench.sweep.run import Outlets, run_sweep

    home = files.home()
    spec = experiment.spec
    tally = Tally(
        experiment.name,
        (
            Goal(
                cell=cell.id,
                trials=spec.search.trials,
                seeds=spec.confirm.seeds,
                epochs=cell.spec.train.epochs,
            )
            for cell in experiment.cells
        ),
        metric=spec.search.metric,
        records=() if new else results.read_records(home / "sweeps" / experiment.name),
    )
    with shown(tally, err=err, quiet=quiet, verbose=verbose) as listener:
        outlets = Outlets(
            tracker=_tracker(experiment, home, verbose=verbose, new=new),
            write_table=partial(results.write_table, metric=spec.search.metric),
            listener=listener,
            check=partial(_check, experiment),
            progress=listener.packing,
        )
        return run_sweep(
            experiment, home=home, outlets=outlets, address=address, verbose=verbose, new=new
        )


def _tracker(experiment: "Experiment", home: Path, *, verbose: bool, new: bool) -> "MlflowTracker":
    from mcl_bench.results import MlflowTracker

    tracking = experiment.spec.tracking
    return MlflowTracker(
        sweep=experiment.name,
        uri=tracking.uri or f"sqlite:///{home / 'mlflow.db'}",
        home=home,
        experiment=tracking.experiment,
        verbose=verbose,
        new=new,
    )


def _cell(experiment: "Experiment", arm: str | None, cell: str | None) -> "Cell":
    """The cell that `train` means: the named one, or the only one of the arm."""
    cells = {entry.id: entry for entry in experiment.cells}
    arms = list(experiment.spec.arms)
    if arm is not None and arm not in arms:
        raise UserError(f"no arm is named {arm}", remedy=f"arms: {', '.join(arms)}")
    if cell is not None:
        if cell not in cells:
            raise UserError(f"no cell is named {cell}", remedy=f"cells: {', '.join(cells)}")
        return cells[cell]
    wanted = arms[0] if arm is None else arm
    found = [entry for entry in cells.values() if entry.arm == wanted]
    if len(found) > 1:
        raise UserError(
            f"{len(found)} cells have the arm {wanted}",
            remedy=f"--cell {' | '.join(entry.id for entry in found)}",
        )
    return found[0]
