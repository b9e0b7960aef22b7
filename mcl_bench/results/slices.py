"""A slice of a leaderboard: the rows of some cells, data sets, backbones, weights or arms.

Slicing hides rows and changes no number: p values are adjusted, and tiers made, over all rows.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from mcl_bench.records import UserError
from mcl_bench.results.row import Row
from mcl_bench.results.visible import visible


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Which rows are wanted; None is every one."""

    cell: str | None = None
    dataset: str | None = None
    backbone: str | None = None
    weights: str | None = None
    arm: str | None = None

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of this slice, in their order.

        Raises:
            UserError: no row has one of the values, or none has all of them.
        """
        left = list(rows)
        for column, wanted in vars(self).items():
            if wanted is None:
                continue
            known = sorted({str(getattr(row, column)) for row in rows})
            if rows and wanted not in known:
                near = difflib.get_close_matches(wanted, known, n=1)
                raise UserError(
                    f"--{column} {wanted}: no row has it",
                    remedy=visible(
                        f"did you mean {near[0]}?" if near else f"there: {', '.join(known)}"
                    ),
                )
            left = [row for row in left if getattr(row, column) == wanted]
        if rows and not left:
            given = ", ".join(f"{name} {value}" for name, value in vars(self).items() if value)
            raise UserError(f"no row has all of: {given}", remedy="leave one of them out")
        return left
