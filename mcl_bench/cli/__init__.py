"""The command line: wires the rooms together and prints. Heavy imports stand inside the verbs."""

import sys
from collections.abc import Callable

import typer

from mcl_bench import __version__
from mcl_bench.cli import (
    catalog,
    claims,
    doctor,
    ending,
    experiment,
    explain,
    models,
    planning,
    record,
    recorded,
    replaying,
    retry,
    run,
)
from mcl_bench.records import UserError

app = typer.Typer(
    name="mcl-bench",
    help="Does the Mutual-Channel Loss help, on which data and backbones, by more than the noise?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


VERBS: tuple[Callable[..., None], ...] = (
    run.sweep,
    planning.plan,
    run.train,
    ending.stop,
    doctor.doctor,
    replaying.replay,
    record.leaderboard,
    record.status,
    claims.compare,
    claims.audit,
    recorded.best,
    retry.retry,
    record.ui,
    explain.explain,
    experiment.show,
    experiment.schema,
    models.models,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(catalog.app, name="data")


def main() -> None:
    """Run one verb; what the user can mend is told in one message, without a traceback."""
    try:
        app(prog_name="mcl-bench")
    except UserError as error:
        typer.echo(f"mcl-bench: {error}", err=True)
        sys.exit(error.exit_code)
