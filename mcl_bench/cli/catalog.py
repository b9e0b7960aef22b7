"""The verbs about data sets."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench import files
from mcl_bench.cli.bars import arriving, counted
from mcl_bench.cli.experiment import Json
from mcl_bench.cli.packs import Name, Options, Root, prepare, show

if TYPE_CHECKING:
    from mcl_bench.data import DatasetFacts, Verification
    from mcl_bench.data.catalog.source import Archive

SHOWN = 100
"""Faults, and files that were kept, that are told to people; a document has all."""

app = typer.Typer(help="The data sets.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """The data sets."""


@app.command("list")
def list_(
    name: Annotated[
        str | None, typer.Argument(help="Tell all of this one.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the data sets that an experiment file can name, or tell all that is known of one."""
    from mcl_bench import data

    facts = data.names() if name is None else (data.facts_of(name),)
    if as_json:
        typer.echo(json.dumps({"data": [dataclasses.asdict(entry) for entry in facts]}))
    elif name is None:
        _print_list(facts)
    else:
        _print_facts(*facts)


def _print_list(facts: "Iterable[DatasetFacts]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("images", no_wrap=True)
    table.add_column("root", no_wrap=True)
    table.add_column("to get", no_wrap=True)
    table.add_column("traps", justify="right", no_wrap=True)
    table.add_column("what")
    for entry in facts:
        counts = "/".join(map(str, entry.counts.values()))
        needed = "yes" if entry.needs_root else "no"
        traps = str(len(entry.traps)) if entry.traps else "–"
        classes = str(entry.classes or "any")
        row = (entry.name, classes, counts or "–", needed, _to_get(entry), traps, entry.title)
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print(
        "images: train/validation/test, or train/test. root: is data.root needed?\n"
        "to get: fetch (mcl-bench data fetch NAME), by hand, partly by hand, or yours.\n"
        "mcl-bench data list NAME tells all of one: citation, licence, archives, traps."
    )


def _to_get(facts: "DatasetFacts") -> str:
    """How the images are got: fetched, by hand in part or all; `–` where there is no need."""
    needed = [archive for archive in facts.archives if not archive.optional]
    if not needed:
        return "yours" if facts.needs_root else "–"
    linked = sum(bool(archive.urls) for archive in needed)
    return "fetch" if linked == len(needed) else "partly" if linked else "by hand"


def _print_facts(facts: "DatasetFacts") -> None:
    from rich.console import Console
    from rich.table import Table

    counts = ", ".join(f"{split} {count:,}" for split, count in facts.counts.items())
    folder = "" if facts.folder is None else f", its folder {facts.folder}"
    rows = [
        ("name", facts.name),
        ("what", facts.title),
        ("classes", str(facts.classes or "as many as there are")),
        ("images", counts or "as many as there are"),
        ("from", facts.images),
        ("data.root", f"needed{folder}" if facts.needs_root else "not used"),
        ("citation", facts.citation),
        ("licence", facts.licence),
        *(("archive", _told(archive)) for archive in facts.archives),
        *(("trap", trap) for trap in facts.traps),
        *([("notes", facts.notes)] if facts.notes else []),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _told(archive: "Archive") -> str:
    size = "" if archive.nbytes is None else f", {archive.nbytes:,} bytes"
    links = " ".join(archive.urls) or f"no link lives; get it from {archive.page}"
    optional = "optional; " if archive.optional else ""
    return f"{archive.name} (md5 {archive.md5 or 'not known'}{size}): {optional}{links}"


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
    home = files.data_home() if root is None else root.expanduser()
    with _resumable(), arriving() as progress:
        got = fetch(facts, home=home, force=force, optional=optional, progress=progress)
    if as_json:
        archives = [
            {
                "name": one.name,
                "path": str(one.path),
                "state": one.state,
                "checked": one.checked,
                "kept": [str(path) for path in one.kept],
            }
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
        _print_kept(one.kept)
    typer.echo(f"next: mcl-bench data verify {name} --root {got.root}")


def _print_kept(paths: Sequence[Path]) -> None:
    """Tell which files were left though they are not the official ones, and how to get those."""
    for path in paths[:SHOWN]:
        typer.echo(f"  kept, though it is not the official file: {_printable(str(path))}")
    if len(paths) > SHOWN:
        typer.echo(f"  … and {len(paths) - SHOWN:,} more; --json names all")
    if paths:
        typer.echo("  for the official file, delete the kept one and fetch again")


@contextmanager
def _resumable() -> Iterator[None]:
    """An interrupt ends a verb that goes on where it was left."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on with it", err=True)
        raise typer.Exit(130) from None


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
    table = Table(box=None, pad_edge=False)
    table.add_column("fault", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("what is wrong", overflow="fold")
    for fault in found.faults[:SHOWN]:
        table.add_row(fault.kind, _printable(fault.file), _printable(fault.told))
    Console(highlight=False, markup=False).print(table)
    if len(found.faults) > SHOWN:
        console.print(f"… and {len(found.faults) - SHOWN:,} more; --json names all")
    kinds = Counter(fault.kind for fault in found.faults)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    console.print(f"faults: {told}. What to do:")
    for remedy in dict.fromkeys(fault.remedy for fault in found.faults if fault.remedy):
        console.print(f"  {_printable(remedy)}")


def _printable(text: str) -> str:
    """Text that moves no cursor, whatever a file is called."""
    return "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text
    )


for verb in (fetch, prepare, verify, show):
    app.command()(verb)
