"""The verbs about data sets."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench import files
from mcl_bench.cli.bars import arriving, counted
from mcl_bench.cli.experiment import Json

if TYPE_CHECKING:
    from mcl_bench.data import Verification

app = typer.Typer(help="The data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="One of `data list`.", show_default=False)]
Root = Annotated[
    str | None,
    typer.Option(help="data.root; by default the official folder in $MCL_DATA, else in ./data."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="key=value: one of data.options; may be repeated."),
]


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


@app.command()
def fetch(
    name: Name,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the data set's own folder is put; by default $MCL_DATA, else ./data.",
        ),
    ] = None,
    optional: Annotated[
        bool, typer.Option("--optional", help="Also the archives that are optional.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch and unpack again what is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set where a link lives, else say which files to put where."""
    from mcl_bench import data
    from mcl_bench.data.fetching import fetch

    facts = data.facts_of(name)
    home = files.data_home() if root is None else root
    with _resumable(), arriving() as progress:
        got = fetch(facts, home=home, force=force, optional=optional, progress=progress)
    if as_json:
        archives = [
            {"name": one.name, "path": str(one.path), "state": one.state, "checked": one.checked}
            for one in got.archives
        ]
        place = None if got.root is None else str(got.root)
        typer.echo(json.dumps({"data": name, "root": place, "archives": archives}))
        return
    if got.root is None:
        typer.echo(f"{name} needs no fetching; its images: {facts.images}")
        return
    for one in got.archives:
        unsure = "" if one.checked else " (unchecked: no official md5 is known)"
        typer.echo(f"{one.name}: {one.state}, {one.path}{unsure}")
    typer.echo(f"next: mcl-bench data verify {name} --root {got.root}")


@contextmanager
def _resumable() -> Iterator[None]:
    """An interrupt ends a verb that goes on where it was left."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on with it", err=True)
        raise typer.Exit(130) from None


@app.command()
def verify(name: Name, root: Root = None, option: Options = None, as_json: Json = False) -> None:
    """Look at every list and every image of a data set, and name each file that is wrong."""
    from mcl_bench import data

    chosen = data.choose(name, home=files.data_home(), root=root, options=option or ())
    with counted(f"reading {name}") as progress:
        found = data.verify(chosen, cache=files.home() / "store" / "listings", progress=progress)
    if as_json:
        typer.echo(json.dumps(_document(found)))
    else:
        _print_verification(found, name)
    raise typer.Exit(3 if found.faults else 0)


def _document(found: "Verification") -> dict[str, object]:
    return {
        "images": found.images,
        "classes": found.classes,
        "splits": dict(found.splits),
        "faults": [
            {"kind": fault.kind, "file": fault.file, "detail": fault.told} for fault in found.faults
        ],
        "notes": list(found.notes),
    }


def _print_verification(found: "Verification", name: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, soft_wrap=True)
    splits = ", ".join(f"{split} {count:,}" for split, count in found.splits.items())
    console.print(
        f"{name}: {found.images:,} images of {found.classes} classes"
        + (f" ({splits})" if splits else "")
    )
    for note in found.notes:
        console.print(f"note: {note}")
    if not found.faults:
        console.print("no fault: every list and every image is in order")
        return
    table = Table("fault", "file", "what is wrong", box=None, pad_edge=False)
    for fault in found.faults:
        table.add_row(fault.kind, fault.file, fault.told)
    Console(highlight=False, markup=False).print(table)
    remedies = dict.fromkeys(fault.remedy for fault in found.faults if fault.remedy)
    console.print(f"{len(found.faults)} faults; what to do:")
    for remedy in remedies:
        console.print(f"  {remedy}")
