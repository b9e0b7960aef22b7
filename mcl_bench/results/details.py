"""What a leaderboard tells beside its rows, when asked: nothing of it decides anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mcl_bench.results.row import Row

if TYPE_CHECKING:
    from mcl_bench.results.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Details:
    """One sweep's mean ranks of arms over its data × models; None where there is one of them."""

    sweep: str
    rows: Sequence[Row]
    ranks: "Ranks | None"


def details(rows: Sequence[Row]) -> list[Details]:
    """The details of each sweep of the table, in order; arms are ranked within one sweep only."""
    return [
        Details(sweep=sweep, rows=found, ranks=_ranks(found))
        for sweep, of_sweep in groupby(rows, key=lambda row: row.sweep)
        for found in [list(of_sweep)]
    ]


def details_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The details as plain values, one entry for each sweep."""
    return [
        {
            "sweep": found.sweep,
            "rows": [_row_json(row) for row in found.rows],
            "ranks": None if found.ranks is None else dict(vars(found.ranks)),
        }
        for found in details(rows)
    ]


def _ranks(rows: Sequence[Row]) -> "Ranks | None":
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.test_top1_mean is not None:
            values.setdefault(" × ".join(row.aside.group), {})[row.arm] = row.test_top1_mean
    if len(values) < 2:
        return None
    from mcl_bench.results.ranks import mean_ranks  # imports scipy.stats, which takes a while

    return mean_ranks(values)


def _row_json(row: Row) -> dict[str, Any]:
    aside, claimed = row.aside, row.aside.optimism
    return {
        "cell": row.cell,
        "common_seeds": aside.common_seeds,
        "sign_flip_p": aside.sign_flip_p,
        "sign_flip_floor": aside.sign_flip_floor,
        "optimism": None
        if claimed is None
        else {**vars(claimed), "gap": claimed.gap, "maximum_gap": claimed.maximum_gap},
        "expected_best": {
            "metric": aside.metric,
            "budgets": [dict(vars(budget)) for budget in aside.budgets],
        },
        "seeds": [dict(vars(score)) for score in aside.scores],
        "protocol": None if aside.protocol is None else dict(aside.protocol),
    }
