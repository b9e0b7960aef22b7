"""The verb that says what a setting of the Mutual-Channel Loss means: explain."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import File, Json, Overrides, placed, read
from mcl_bench.records import DataError, UserError

if TYPE_CHECKING:
    from mcl_bench.spec import Cell, Experiment
    from mcl_bench.spec.explanation import Explanation
    from mcl_bench.training import NetworkFacts


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One cell's setting on its network, which is measured without weights."""

    cell: "Cell"
    network: "NetworkFacts"
    explanation: "Explanation"

    @property
    def searched(self) -> list[str]:
        """What the cell searches of its Mutual-Channel Loss, as the loss names it, and of ξ."""
        prefix = "loss." if self.cell.spec.loss.name == "mc" else "loss.plus."
        keys = (key for key in self.cell.space if key.startswith(prefix))
        width = ["model.xi"] if "model.xi" in self.cell.space else []
        return [*(key.removeprefix(prefix) for key in keys), *width]


def explain(
    file: File,
    overrides: Overrides = None,
    arm: Annotated[str | None, typer.Option(help="Only the cells of this arm.")] = None,
    cell: Annotated[str | None, typer.Option(help="Only this cell.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what each MC-Loss setting means in every dialect, and what in it has no effect."""
    experiment = read(file, overrides)
    chosen = _chosen(experiment, arm, cell)
    with placed(experiment):
        classes, notes = _classes(experiment, chosen)
        explained = _explained(experiment, chosen, classes)
    if as_json:
        document = {"cells": [_document(one) for one in explained], "notes": notes}
        typer.echo(json.dumps(document, ensure_ascii=False))
        return
    for one in explained:
        _print(one)
    for note in notes:
        typer.echo(f"note: {note}")


def _chosen(experiment: "Experiment", arm: str | None, cell: str | None) -> "list[Cell]":
    """The cells with a Mutual-Channel Loss, of the arm and with the id that are asked for."""
    from mcl_bench.spec.explanation import mutual_channel_part

    ids = [entry.id for entry in experiment.cells]
    if arm is not None and arm not in experiment.spec.arms:
        raise UserError(f"no arm is named {arm}", remedy=f"arms: {', '.join(experiment.spec.arms)}")
    if cell is not None and cell not in ids:
        raise UserError(f"no cell is named {cell}", remedy=f"cells: {', '.join(ids)}")
    found = [
        entry
        for entry in experiment.cells
        if arm in (None, entry.arm)
        and cell in (None, entry.id)
        and mutual_channel_part(entry.spec.loss) is not None
    ]
    if not found:
        raise UserError(
            f"no cell {'asked for' if arm or cell else f'of {experiment.path}'} has an MC-Loss",
            remedy="name one whose arm has loss: {name: mc}, or plus: {name: mc}",
        )
    return found


def _classes(experiment: "Experiment", cells: "Sequence[Cell]") -> tuple[dict[str, int], list[str]]:
    """The number of classes by data label; where the images are missing, that of the catalog."""
    from mcl_bench import data

    known = {facts.name: facts.classes for facts in data.names()}
    counts: dict[str, int] = {}
    notes = []
    for cell in cells:
        if cell.data_label in counts:
            continue
        alone = dataclasses.replace(experiment, cells=(cell,))
        try:
            counts |= data.count_classes(alone, store=files.home() / "store")
        except UserError as error:
            usual = known.get(cell.spec.data.name)
            missing = isinstance(error, DataError) or error.key == "data.root"
            if usual is None or not missing:
                raise
            counts[cell.data_label] = usual
            notes.append(f"{cell.data_label}: {error.rule}; taken to have its {usual} classes")
    return counts, notes


def _explained(
    experiment: "Experiment", cells: "Sequence[Cell]", classes: dict[str, int]
) -> list[Explained]:
    """Every cell on its network: shapes do not depend on weights, so none are looked for."""
    from mcl_bench import training
    from mcl_bench.spec.explanation import explain_loss, mutual_channel_part

    bare = [dataclasses.replace(cell, spec=_unweighted(cell)) for cell in cells]
    training.check(dataclasses.replace(experiment, cells=tuple(bare)), classes)
    explained = []
    for cell in bare:
        network = training.describe(cell.spec, classes[cell.data_label])
        loss = mutual_channel_part(cell.spec.loss)
        assert loss is not None, "cells without an MC-Loss are not chosen"
        explanation = explain_loss(
            loss, groups=network.groups, map_size=network.map_size, signed=network.signed
        )
        explained.append(Explained(cell=cell, network=network, explanation=explanation))
    return explained


def _unweighted(cell: "Cell") -> Any:
    model = cell.spec.model.model_copy(update={"weights": "none"})
    return cell.spec.model_copy(update={"model": model})


def _document(one: Explained) -> dict[str, Any]:
    explanation, spec = one.explanation, one.cell.spec
    return {
        "cell": one.cell.id,
        "arm": one.cell.arm,
        "dataset": spec.data.name,
        "backbone": spec.model.backbone,
        "classes": len(one.network.groups),
        "maps": one.network.maps,
        "map_size": list(one.network.map_size),
        "signed": one.network.signed,
        "groups": [dataclasses.asdict(width) for width in explanation.widths],
        "loss": explanation.loss.model_dump(mode="json", by_alias=True),
        "searched": one.searched,
        "dialects": {
            translation.dialect: {
                "title": translation.title,
                "formula": translation.formula,
                "numbers": None if translation.numbers is None else dict(translation.numbers),
                "reason": translation.reason,
                "remarks": list(translation.remarks),
            }
            for translation in explanation.translations
        },
        "idle": dict(explanation.idle),
        "warnings": list(explanation.warnings),
    }


def _print(one: Explained) -> None:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from mcl_bench.spec.explanation import drop_text

    console = Console(highlight=False)
    height, width = one.network.map_size
    widths, loss = one.explanation.widths, one.explanation.loss
    facts = Table.grid(padding=(0, 2, 0, 0))
    rows = {
        "network": f"{one.network.maps} maps of {height}×{width}",
        "ξ": ", ".join(f"{each.classes} classes × {each.xi}" for each in widths),
        "mask": f"mask_ratio {loss.mask_ratio:g} drops {drop_text(widths)}",
        "searched": ", ".join(one.searched) + " (told is what the file has for them)",
    }
    for name, text in rows.items():
        if name != "searched" or one.searched:
            facts.add_row(Text(name, style="dim"), Text(text))
    table = Table("dialect", "its own numbers for the same gradient", box=None, pad_edge=False)
    for translation in one.explanation.translations:
        own = translation.dialect == loss.dialect
        lines = [Text(_numbers(translation), style="bold" if own else "")]
        lines += [Text(line, style="dim") for line in (translation.formula, *translation.remarks)]
        name = f"{translation.dialect} (the file's)" if own else translation.dialect
        table.add_row(Text(name, style="bold" if own else ""), Group(*lines))
    console.print(Text(one.cell.id, style="bold"))
    console.print(facts)
    console.print()
    console.print(table)
    for reason in dict.fromkeys(one.explanation.idle.values()):
        keys = ", ".join(key for key, why in one.explanation.idle.items() if why == reason)
        console.print(Text(f"no effect: {keys}: {reason}"))
    for warning in one.explanation.warnings:
        console.print(Text(f"note: {warning}"))
    console.print()


def _numbers(translation: Any) -> str:
    """`alpha_1 1.5, beta_1 20`; options as they usually are are left out."""
    from mcl_bench.spec import MutualChannelSpec

    if translation.numbers is None:
        return f"none: {translation.reason}"
    fields = MutualChannelSpec.model_fields
    told = (
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:.6g}"
        for name, value in translation.numbers.items()
        if not isinstance(value, str) or value != fields[name].default
    )
    return ", ".join(told)
