"""The verb about backbones."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench.cli.experiment import Json

if TYPE_CHECKING:
    from mcl_bench.training import BackboneFacts

NOTES = (
    "signed: maps can be below zero. A bilinear head's embedding has maps² numbers, at most 2^20: "
    "1024 maps.",
    "Others: timm/NAME (pip install 'mcl-bench[timm]'), such as timm/resnet10t, and your own as "
    "package.module:function.",
    "With a FILTER: the maps' size, the parameters and the stages that model.freeze counts.",
)


def models(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILTER]",
            help="Part of a name, a pattern with *, timm/NAME or package.module:function; "
            "those are measured.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Share the maps out over so many.")] = 200,
    crop: Annotated[int, typer.Option(min=1, help="The side of the image, in pixels.")] = 224,
    as_json: Json = False,
) -> None:
    """List the backbones that an experiment file can name, with the maps that they give."""
    from mcl_bench import training

    measured = wanted is not None
    found = list(training.list_backbones(wanted, num_classes=classes, crop=crop, measured=measured))
    if as_json:
        rows = [dataclasses.asdict(one) for one in found]
        typer.echo(json.dumps({"classes": classes, "crop": crop, "models": rows}))
        return
    _print_table(found, classes, crop, measured=measured)


def _print_table(found: "list[BackboneFacts]", classes: int, crop: int, *, measured: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    size = (f"at {crop}", "params", "stages") if measured else ()
    numbers = ("maps", *size, f"ξ for {classes}")
    table.add_column("name", no_wrap=True)
    for head in numbers:
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("signed", "widen"):
        table.add_column(head, no_wrap=True)
    table.add_column("weights")
    for one in found:
        table.add_row(*_cells(one, measured=measured))
    console = Console()
    console.print(table)
    for one in found:
        if one.fault is not None:
            console.print(f"{one.name}: {one.fault}", markup=False)
    for line in NOTES if not measured else NOTES[:1]:
        console.print(line, markup=False, highlight=False)


def _cells(one: "BackboneFacts", *, measured: bool) -> list[str]:
    cells = [one.name, str(one.maps)]
    if measured:
        cells.append("–" if one.map_size is None else "×".join(map(str, one.map_size)))
        cells.append("–" if one.parameters is None else f"{one.parameters / 1e6:.2f} M")
        cells.append("–" if one.stages is None else str(one.stages))
    return [
        *cells,
        one.xi or "too few",
        "yes" if one.signed else "no",
        "yes" if one.widen else "no",
        ", ".join(one.weights) or "none",
    ]
