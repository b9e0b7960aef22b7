"""The verbs that read the record: leaderboard and status. They load neither torch nor MLflow."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench.cli.experiment import Json
from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.results import SweepStatus


class Format(StrEnum):
    """How a leaderboard is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


Names = Annotated[
    list[str] | None, typer.Argument(help="Sweeps; all of them by default.", show_default=False)
]
Dataset = Annotated[str | None, typer.Option(help="Only rows of this data set.")]
Backbone = Annotated[str | None, typer.Option(help="Only rows of this backbone.")]
Weights = Annotated[
    str | None, typer.Option(help="Only rows that start from these weights; none: from scratch.")
]
Arm = Annotated[str | None, typer.Option(help="Only rows of this arm.")]


def leaderboard(  # noqa: PLR0913 - an option for each slice
    names: Names = None,
    *,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    details: Annotated[
        bool, typer.Option("--details", help="Also what decides nothing: see docs/leaderboard.md.")
    ] = False,
    dataset: Dataset = None,
    backbone: Backbone = None,
    weights: Weights = None,
    arm: Arm = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it there; by default it is printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the cells of finished or running sweeps, by their confirm trials only."""
    from mcl_bench import files, results

    form = Format.JSON.value if as_json else output.value
    if details and form not in results.DETAILED:
        raise UserError(
            f"--format {form} has no details",
            remedy=f"ask for one of {', '.join(sorted(results.DETAILED))}",
        )
    wanted = results.Slice(dataset=dataset, backbone=backbone, weights=weights, arm=arm)
    rows = wanted.of(results.leaderboard(files.home(), names or ()))
    if form in {Format.CSV, Format.PARQUET}:
        for note in results.asides(rows):
            typer.echo(note, err=True)
    if form == Format.PARQUET:
        deliver(results.parquet_bytes(rows), out)
    else:
        deliver(results.render(rows, form, with_details=details) + "\n", out)


def deliver(content: str | bytes, out: Path | None) -> None:
    """Write the content to a file, or to stdout where none is named.

    Raises:
        UserError: the file can't be written, or bytes would go to a terminal.
    """
    from mcl_bench import files

    if out is not None:
        try:
            files.write_whole(out, content)
        except OSError as error:
            raise UserError(f"--out {out} can't be written: {error.strerror}") from error
        typer.echo(f"wrote {out}", err=True)
    elif isinstance(content, bytes) and sys.stdout.isatty():
        raise UserError(
            "--format parquet gives bytes, which a terminal can't show",
            remedy="name a file with --out FILE, or send them into one with > FILE",
        )
    else:
        typer.echo(content, nl=False)


def status(names: Names = None, as_json: Json = False) -> None:
    """Tell how far each sweep is: trials by state, best so far, what runs now."""
    import json

    from mcl_bench import files, results

    home = files.home()
    found = [_with_costs(home, sweep) for sweep in results.status(home, names or ())]
    if as_json:
        typer.echo(json.dumps(results.status_json(found)))
    else:
        typer.echo(results.render_status(found))


def _with_costs(home: Path, sweep: "SweepStatus") -> "SweepStatus":
    """The status with the costs as they stand at the sweep's last event."""
    import dataclasses

    from mcl_bench import results
    from mcl_bench.sweep.ledger import Ledger

    ledger = Ledger(results.read_events(home / "sweeps" / sweep.sweep))
    return dataclasses.replace(sweep, costs=ledger.costs(live=sweep.state == "running"))


def ui(
    name: Annotated[
        str | None, typer.Argument(help="A sweep; for its store if it has its own.")
    ] = None,
    port: Annotated[int, typer.Option(help="The port on this machine.")] = 5000,
) -> None:
    """Open MLflow's UI on the record, on this machine only, until Ctrl-C."""
    import subprocess

    from mcl_bench import files
    from mcl_bench.cli.recorded import stored

    home = files.home()
    uri = None if name is None else stored(name).spec.tracking.uri
    if uri is not None and uri.startswith(("http://", "https://")):
        typer.echo(f"the record of {name} is on a server: {uri}")
        return
    if uri is None and not (home / "mlflow.db").exists():
        raise UserError(
            f"there is no record in {home} yet",
            remedy="run a sweep first, or set MCL_HOME to where one was run",
        )
    typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    store = uri or f"sqlite:///{home / 'mlflow.db'}"
    command = ["-m", "mlflow", "ui", "--backend-store-uri", store, "--host", "127.0.0.1"]
    ended = subprocess.run([sys.executable, *command, "--port", str(port)], check=False)
    raise typer.Exit(ended.returncode)
