"""A leaderboard as text: a table for the terminal, Markdown, LaTeX, CSV or JSON."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from mcl_bench.results.details import details_json
from mcl_bench.results.latex import latex
from mcl_bench.results.markdown import markdown
from mcl_bench.results.published import beside_all
from mcl_bench.results.row import COLUMNS, Row, warnings
from mcl_bench.results.terminal import WIDTH, table_text
from mcl_bench.results.unlike_rows import unlike_rows
from mcl_bench.results.visible import csv_text, finite, json_text

Format = Literal["table", "markdown", "latex", "csv", "json"]
"""The forms of text a leaderboard is printed in."""

DETAILED = frozenset({"table", "markdown", "json"})
"""The forms that can tell details too."""


def render(
    rows: Sequence[Row], format: Format | str, *, width: int = WIDTH, with_details: bool = False
) -> str:
    """The rows as text in one of the forms of `Format`, without a line end at its end.

    Details are told by the forms of `DETAILED`. Raises ValueError for another form.
    """
    if format == "table":
        return table_text(rows, width=width, with_details=with_details)
    if format == "markdown":
        return markdown(rows, with_details=with_details)
    if format == "latex":
        return latex(rows)
    if format == "csv":
        return _csv(rows)
    if format == "json":
        return json_text(_document(rows, with_details=with_details), indent=2)
    raise ValueError(
        f"a leaderboard is rendered as table, markdown, latex, csv or json, not {format}"
    )


def asides(rows: Sequence[Row]) -> list[str]:
    """What a form that holds rows only can't tell: warnings, and which rows are unlike."""
    return [*(f"Warning: {warning}" for warning in warnings(rows)), *unlike_rows(rows).notes]


def _document(rows: Sequence[Row], *, with_details: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {"rows": [row.to_dict() for row in rows]}
    if found := warnings(rows):
        plain["warnings"] = found
    if notes := unlike_rows(rows).notes:
        plain["unlike"] = list(notes)
    if costs := {row.sweep: row.aside.costs.to_dict() for row in rows if row.aside.costs}:
        plain["costs"] = costs
    if with_details:
        plain["details"] = details_json(rows)
        plain["published"] = [one.to_dict() for one in beside_all(rows)]
    return plain


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        plain = finite(row.to_dict())
        if plain["config"] is not None:
            plain["config"] = json_text(plain["config"])
        writer.writerow([_csv_cell(value) for value in plain.values()])
    return text.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    return csv_text(value) if isinstance(value, str) else value
