"""The verbs that read the record: leaderboard and status. They load neither torch nor MLflow."""

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
    CSV = "csv"
    JSON = "json"


Names = Annotated[
    list[str] | None, typer.Argument(help="Sweeps; all of them by default.", show_default=False)
]


def leaderboard(
    names: Names = None,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    as_json: Json = False,
) -> None:
    """Compare the cells of finished or running sweeps, by their confirm trials only."""
    from mcl_bench import files, results

    rows = results.leaderboard(files.home(), names or ())
    if output is Format.CSV and not as_json:
        for warning in results.warnings(rows):
            typer.echo(f"Warning: {warning}", err=True)
    typer.echo(results.render(rows, "json" if as_json else output.value))


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
    import sys

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
