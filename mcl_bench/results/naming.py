"""Finding the row that a person names: SWEEP/CELL, or CELL where only one sweep has it."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from mcl_bench.records import UserError
from mcl_bench.results.leaderboard import leaderboard
from mcl_bench.results.row import Row
from mcl_bench.results.visible import visible

MANY = 8
"""More names than this are not listed in a message."""


def find_row(home: Path, name: str) -> Row:
    """The row of this name.

    Raises:
        UserError: there is no such row, or there are several.
        DataError: a sweep's record is damaged.
    """
    sweep, slash, cell = name.partition("/")
    if slash:
        return _only(name, leaderboard(home, [sweep]), cell)
    rows = leaderboard(home)
    if any(row.sweep == name for row in rows):
        cells = [row_name(row) for row in rows if row.sweep == name]
        raise UserError(f"{name} is a sweep, not a row", remedy=f"its rows: {_listed(cells)}")
    return _only(name, rows, name)


def row_name(row: Row) -> str:
    """How a row is named: SWEEP/CELL."""
    return f"{row.sweep}/{row.cell}"


def _only(name: str, rows: Iterable[Row], cell: str) -> Row:
    known = list(rows)
    found = [row for row in known if row.cell == cell]
    if len(found) == 1:
        return found[0]
    if found:
        names = [row_name(row) for row in found]
        raise UserError(
            f"several sweeps have a row {name}", remedy=f"name one of: {_listed(names)}"
        )
    near = difflib.get_close_matches(cell, [row.cell for row in known], n=1)
    names = [row_name(row) for row in known]
    raise UserError(
        f"there is no row {name}",
        remedy=f"did you mean {near[0]}?"
        if near
        else f"there: {_listed(names)}"
        if names
        else "run a sweep first, or set MCL_HOME to where one was run",
    )


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - MANY} more" if len(names) > MANY else ""
    return visible(", ".join(names[:MANY]) + more)
