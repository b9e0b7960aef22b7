"""The verbs that hold claims against the record: compare and audit. They load no torch."""

from typing import Annotated

import typer

from mcl_bench.cli.experiment import Json
from mcl_bench.cli.record import Arm, Backbone, Dataset, Names, Weights
from mcl_bench.records import UserError

RowName = Annotated[
    str, typer.Argument(help="A row: SWEEP/CELL, or CELL where it is unique.", show_default=False)
]


def compare(a: RowName, b: RowName, as_json: Json = False) -> None:
    """Compare two rows: paired difference, power, and where their protocols are unlike."""
    from mcl_bench import files, results

    found = results.compare(files.home(), a, b)
    if as_json:
        typer.echo(results.json_text(results.comparison_json(found), indent=2))
    else:
        typer.echo(results.comparison_text(found))


def audit(
    names: Names = None,
    *,
    claim: Annotated[str, typer.Option(help="The number: percent, or a fraction of at most 1.")],
    cell: Annotated[str | None, typer.Option(help="Only this cell.")] = None,
    dataset: Dataset = None,
    backbone: Backbone = None,
    weights: Weights = None,
    arm: Arm = None,
    as_json: Json = False,
) -> None:
    """Say where a claimed top-1 falls among our runs, and how often one would reach it."""
    from mcl_bench import files, results

    claimed = results.read_claim(claim)
    wanted = results.Slice(cell=cell, dataset=dataset, backbone=backbone, weights=weights, arm=arm)
    found = results.audit(wanted.of(results.leaderboard(files.home(), names or ())), claimed)
    if not found:
        raise UserError(
            "no row has a confirm trial yet: there is nothing to hold the claim against",
            remedy="run a sweep to its confirm stage first, or set MCL_HOME to where one was run",
        )
    if as_json:
        typer.echo(results.json_text(results.audit_json(found, claimed), indent=2))
    else:
        typer.echo(results.audit_text(found, claimed))
