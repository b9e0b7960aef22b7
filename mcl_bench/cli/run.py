"""The verbs that run trials: sweep and train."""

import contextlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import File, Json, Overrides, placed, read
from mcl_bench.cli.progress import shown
from mcl_bench.cli.recorded import find_trial
from mcl_bench.cli.report import keep_report
from mcl_bench.cli.tally import Goal, Tally
from mcl_bench.cli.unsent import tell_unsent
from mcl_bench.records import EpochRecord, TrialRecord, UserError

if TYPE_CHECKING:
    from mcl_bench.results import SpooledTracker
    from mcl_bench.spec import Cell, Experiment
    from mcl_bench.sweep.run import SweepOutcome

INTERRUPTED = "interrupted; the same command goes on with it"


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
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        experiment = read(file, overrides)
        with placed(experiment):
            tracker = _tracker(experiment, files.home(), verbose=verbose, new=new)
            outcome = _run(
                experiment,
                tracker,
                address=address,
                new=new,
                quiet=quiet,
                verbose=verbose,
                err=as_json,
            )
    except KeyboardInterrupt:
        typer.echo(INTERRUPTED, err=True)
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
    if outcome.state not in {"interrupted", "stopped"}:
        keep_report(files.home() / "sweeps" / experiment.name, tracker, quiet=quiet)
    tell_unsent(tracker, experiment.name)
    _tell_end(outcome, experiment)
    raise typer.Exit(outcome.exit)


def _tell_end(outcome: "SweepOutcome", experiment: "Experiment") -> None:
    """Say what failed, and what goes on with a sweep that is not complete."""
    for record, log in outcome.failed:
        name = f"{record.cell}/{record.stage}-{record.trial}"
        typer.echo(f"failed: {name}: {record.cause} (see {log})", err=True)
    for cell, why in outcome.unmet.items():
        typer.echo(f"failed: {cell}: {why}", err=True)
    if outcome.state in {"interrupted", "stopped"}:
        typer.echo(f"{outcome.state}; the same command goes on with it", err=True)
    if outcome.state == "budget":
        limits = experiment.spec.budget.model_dump(include={"hours", "device_hours"})
        names = " or ".join(f"budget.{key}" for key, limit in limits.items() if limit is not None)
        typer.echo(f"the budget is spent; raise {names} to go on", err=True)


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

        train_again(
            recorded.experiment,
            recorded.record,
            sweep=recorded.sweep,
            home=files.home(),
            listener=report,
        )
        document = _compared(recorded.experiment, recorded.record, epochs)
        typer.echo(f"recorded {document['recorded']}, again {document['value']}", err=as_json)
    else:
        experiment = read(Path(file), overrides)
        with placed(experiment):
            check(experiment)
            chosen = _cell(experiment, arm, cell)
            from mcl_bench.sweep.single import train_one

            train_one(experiment, chosen, home=files.home(), confirm=confirm, listener=report)
        document = {"cell": chosen.id}
    if as_json:
        document["epochs"] = [record.to_dict() for record in epochs]
        typer.echo(json.dumps(document))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM is Ctrl-C: until trials run there is nothing to write before leaving."""
    raise KeyboardInterrupt


def _compared(
    experiment: "Experiment", record: TrialRecord, epochs: list[EpochRecord]
) -> dict[str, Any]:
    """The recorded value of a trial beside the one of the same epoch now."""
    metric = experiment.spec.search.metric if record.stage == "search" else "test/top1"
    last = record.epochs[-1].epoch if record.epochs else len(epochs)
    again = epochs[last - 1].metrics.get(metric)
    return {"cell": record.cell, "recorded": record.value, "value": again}


def check(experiment: "Experiment") -> None:
    """Tell every user error before anything is started."""
    with contextlib.redirect_stdout(sys.stderr):  # a user's own code is run, and may print
        _check(experiment)


def _check(experiment: "Experiment") -> None:
    from mcl_bench import data, training

    data.check(experiment)
    classes = data.count_classes(experiment, store=files.home() / "store")
    training.check(experiment, classes)


def _run(
    experiment: "Experiment",
    tracker: "SpooledTracker",
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
                trials=cell.trials,
                seeds=spec.confirm.seeds,
                epochs=cell.spec.train.epochs,
            )
            for cell in experiment.cells
        ),
        metric=spec.search.metric,
        records=() if new else results.read_records(home / "sweeps" / experiment.name),
    )
    with shown(tally, err=err, quiet=quiet, verbose=verbose) as listener:

        def abandon(why: UserError | None) -> None:
            try:
                listener.__exit__(None, None, None)  # the terminal is as it was
                typer.echo(INTERRUPTED if why is None else f"mcl-bench: {why}", err=True)
            finally:  # the terminal may be gone
                os._exit(130 if why is None else why.exit_code)

        outlets = Outlets(
            tracker=tracker,
            write_table=partial(results.write_table, metric=spec.search.metric),
            listener=listener,
            check=partial(check, experiment),
            progress=listener.packing,
            abandon=abandon,
        )
        return run_sweep(
            experiment, home=home, outlets=outlets, address=address, verbose=verbose, new=new
        )


def _tracker(experiment: "Experiment", home: Path, *, verbose: bool, new: bool) -> "SpooledTracker":
    from mcl_bench.results import MlflowTracker, SpooledTracker
    from mcl_bench.sweep.faults import reach

    tracking = experiment.spec.tracking
    mlflow = MlflowTracker(
        sweep=experiment.name,
        uri=tracking.uri or f"sqlite:///{home / 'mlflow.db'}",
        home=home,
        experiment=tracking.experiment,
        verbose=verbose,
        new=new,
    )
    return SpooledTracker(mlflow, log=tracking.log, reach=reach)


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
