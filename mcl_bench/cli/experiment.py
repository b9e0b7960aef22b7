"""The verbs about the experiment file itself: show, schema; and reading it for the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.spec import Experiment

File = Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key.sub=value: has the last word over the file.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@contextmanager
def placed(experiment: "Experiment") -> Iterator[None]:
    """Turn the key that a room complains about into its place in the experiment file."""
    try:
        yield
    except UserError as error:
        if error.place is None and error.key is not None:
            error.place = experiment.place(error.key)
        raise


def read(file: Path, overrides: list[str] | None) -> "Experiment":
    """The experiment of a file, its form checked."""
    from mcl_bench.spec import load

    return load(file, overrides or [])


def show(file: File, overrides: Overrides = None) -> None:
    """Print the resolved experiment as plain YAML, which loads as an experiment file again."""
    from mcl_bench.spec import dump_yaml

    typer.echo(dump_yaml(read(file, overrides).resolved), nl=False)


def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors."""
    import json

    from mcl_bench.spec import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
