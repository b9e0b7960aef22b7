"""The verbs about data sets."""

import dataclasses
import json

import typer

from mcl_bench.cli.experiment import Json

app = typer.Typer(help="The data sets.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """The data sets."""


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the data sets that an experiment file can name."""
    from mcl_bench import data

    facts = data.names()
    if as_json:
        typer.echo(json.dumps({"data": [dataclasses.asdict(entry) for entry in facts]}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "classes", "what", "licence", box=None, pad_edge=False)
    for entry in facts:
        table.add_row(entry.name, str(entry.classes or "any"), entry.title, entry.licence)
    Console().print(table)
