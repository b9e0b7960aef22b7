"""A leaderboard as text: a table for the terminal, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcl_bench.results.costs import costs_words
from mcl_bench.results.leaderboard import COLUMNS, Row
from mcl_bench.results.stats import half_width

Format = Literal["table", "markdown", "csv", "json"]
"""The forms a leaderboard is printed in."""

WIDTH = 80
"""Columns of a terminal that the table fits into."""

HEADS = ("cell", "ξ", "n", "top-1 %", "points against {baseline}", "p", "tier")

FOOTNOTE = (
    "Top-1 on test: mean ± half-width of the 95 % t interval over training seeds, of confirm "
    "trials only. Points: the difference over common seeds and its paired 95 % t interval. p: "
    "paired t, Holm over all comparisons of the sweep. Rows of one tier can't be told apart."
)


def render(rows: Sequence[Row], format: Format | str, *, width: int = WIDTH) -> str:
    """The rows as text in one of the forms of `Format`, without a line end at its end.

    Raises ValueError for another form.
    """
    if format == "table":
        return _table(rows, width)
    if format == "markdown":
        return _markdown(rows)
    if format == "csv":
        return _csv(rows)
    if format == "json":
        plain: dict[str, Any] = {"rows": [row.to_dict() for row in rows]}
        if found := warnings(rows):
            plain["warnings"] = found
        if costs := {row.sweep: row.aside.costs.to_dict() for row in rows if row.aside.costs}:
            plain["costs"] = costs
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=2)
    raise ValueError(f"a leaderboard is rendered as table, markdown, csv or json, not {format}")


def warnings(rows: Sequence[Row]) -> list[str]:
    """What is wrong with the records of these rows' sweeps, each once."""
    return list(dict.fromkeys(warning for row in rows for warning in row.aside.warnings))


def _table(rows: Sequence[Row], width: int) -> str:
    if not rows:
        return "no sweep yet"
    console = Console(width=width, file=io.StringIO(), force_terminal=False, highlight=False)
    with console.capture() as capture:
        for sweep, of_sweep in groupby(rows, key=lambda row: row.sweep):
            known = list(of_sweep)
            console.print(_sweep_table(sweep, known))
            for note in _notes(known):
                console.print(note, markup=False)
            console.print()
        console.print(FOOTNOTE, markup=False)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def _sweep_table(sweep: str, rows: Sequence[Row]) -> Table:
    title = Text(f"sweep {sweep}: top-1 on test", style="bold")
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    lines = [_table_cells(row) for row in rows]
    for place, head in enumerate(HEADS):
        # Where the terminal is narrow only the names of cells are folded, never numbers.
        widest = max(len(part) for cells in lines for part in cells[place].split("\n"))
        table.add_column(
            head.format(baseline=rows[0].aside.baseline),
            overflow="fold",
            justify="left" if head == "cell" else "right",
            min_width=None if head == "cell" else widest,
        )
    before = None
    for row, cells in zip(rows, lines, strict=True):
        group = row.cell.rpartition("-")[0]
        if before is not None and before != group:
            table.add_section()
        before = group
        table.add_row(*map(Text, cells))
    return table


def _table_cells(row: Row) -> tuple[str, ...]:
    return (
        "\n".join([row.cell, *(f"({remark})" for remark in _remarks(row))]),
        _xi(row),
        str(row.n),
        _top1(row),
        "\n".join(part for part in (_difference(row), _verdict(row)) if part),
        _p(row.p_adjusted),
        _number(row.tier),
    )


def _markdown(rows: Sequence[Row]) -> str:
    heads = ("sweep", *HEADS, "sign-flip p (floor)", "looks", "remarks")
    lines = [
        "| " + " | ".join(head.format(baseline="the baseline") for head in heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in rows:
        remarks = "; ".join(part for part in (_verdict(row), *_remarks(row)) if part)
        cells = (
            row.sweep,
            row.cell,
            _xi(row),
            str(row.n),
            _top1(row),
            _difference(row),
            _p(row.p_adjusted),
            _number(row.tier),
            _sign_flip(row),
            str(row.test_looks),
            remarks,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    notes = [f"- **Warning: {warning}**" for warning in warnings(rows)]
    notes += [f"- {note}" for note in [*_width_notes(rows), *_cost_notes(rows, named=True)]]
    return "\n".join([*lines, "", *notes, *([""] if notes else []), FOOTNOTE])


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        plain = row.to_dict()
        if plain["config"] is not None:
            plain["config"] = json.dumps(plain["config"], ensure_ascii=False, allow_nan=False)
        writer.writerow(["" if value is None else value for value in plain.values()])
    return text.getvalue().rstrip("\n")


def _top1(row: Row) -> str:
    if row.test_top1_mean is None:
        return "–"
    mean = f"{100 * row.test_top1_mean:.1f}"
    if row.test_top1_sd is None:
        return mean
    return f"{mean} ± {100 * half_width(row.test_top1_sd, row.n):.1f}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "baseline" if row.arm == row.aside.baseline else "–"
    mean = f"{100 * row.difference:+.1f}"
    if row.difference_ci_low is None or row.difference_ci_high is None:
        return mean
    return f"{mean} [{100 * row.difference_ci_low:+.1f}, {100 * row.difference_ci_high:+.1f}]"


def _verdict(row: Row) -> str:
    """Why a row that is compared has no p."""
    if row.difference is None or row.p_adjusted is not None:
        return ""
    return "no variation" if row.aside.no_variation else "too few to compare"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _number(value: int | None) -> str:
    return "–" if value is None else str(value)


def _xi(row: Row) -> str:
    return "–" if row.xi is None else f"{row.xi}{'≠' if row.aside.xi_differs else ''}"


def _remarks(row: Row) -> list[str]:
    remarks: list[str] = [] if row.state == "complete" else [row.state]
    if row.aside.left_out:
        remarks.append(f"budget: {row.trials} of {row.trials + row.aside.left_out} trials")
    if not row.equal_budget:
        remarks.append("unequal budget")
    return remarks


def _sign_flip(row: Row) -> str:
    aside = row.aside
    if aside.sign_flip_p is None or aside.sign_flip_floor is None:
        return "–"
    return f"{aside.sign_flip_p:.4g} ({aside.sign_flip_floor:.4g})"


def _notes(rows: Sequence[Row]) -> list[str]:
    flips = [f"{row.cell} {_sign_flip(row)}" for row in rows if row.aside.sign_flip_p is not None]
    notes = [f"Warning: {warning}" for warning in warnings(rows)] + _width_notes(rows)
    if flips:
        notes.append(f"Exact sign-flip p (its floor), which decides nothing: {', '.join(flips)}.")
    return notes + _cost_notes(rows)


def _cost_notes(rows: Sequence[Row], *, named: bool = False) -> list[str]:
    """Where the time of each sweep went, its name first if it is `named`."""
    costs = {row.sweep: row.aside.costs for row in rows if row.aside.costs is not None}
    return [
        f"Costs{f' of {sweep}' if named else ''}: {costs_words(own)}."
        for sweep, own in costs.items()
    ]


def _width_notes(rows: Sequence[Row]) -> list[str]:
    if not any(row.aside.xi_differs for row in rows):
        return []
    return ["≠: another ξ than the baseline's, so two tuned systems are compared, not two losses."]
