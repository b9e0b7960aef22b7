"""Which search trial of a cell is its best, which confirm trials speak for it, and how it stands.

A confirm trial belongs to the search trial named in its `of`. Where growth changed a cell's best,
the old confirm trials are superseded: that follows from `of`, and is never written into a record.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal

from mcl_bench.records import TrialRecord

CellState = Literal["search", "confirm", "complete", "failed"]
"""How far a cell is."""

VALUED = frozenset({"complete", "duplicate"})
"""The states of trials whose values count."""


def best_search(records: Iterable[TrialRecord], *, metric: str) -> TrialRecord | None:
    """The search trial of one cell with the best value, ties to the lower number.

    `metric` is the experiment's `search.metric`; `val/loss` is better when lower.
    """
    sign = 1 if metric == "val/loss" else -1
    found = [
        (sign * record.value, record.trial, record)
        for record in records
        if record.stage == "search"
        and record.state in VALUED
        and record.value is not None
        and math.isfinite(record.value)
    ]
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def confirmed(records: Iterable[TrialRecord], best: TrialRecord | None) -> list[TrialRecord]:
    """The confirm trials of one cell that speak for its best: scored on test, one for each seed."""
    if best is None:
        return []
    by_seed = {
        record.seed: record
        for record in records
        if record.stage == "confirm"
        and record.of == best.trial
        and record.state in VALUED
        and record.test_top1 is not None
        and math.isfinite(record.test_top1)
    }
    return list(by_seed.values())


def by_cell(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The records of one sweep by their cell, each in the order given."""
    cells: dict[str, list[TrialRecord]] = {}
    for record in records:
        cells.setdefault(record.cell, []).append(record)
    return cells


def derive_superseded(records: Iterable[TrialRecord], *, metric: str) -> list[TrialRecord]:
    """The records of one sweep, in order, with the state `superseded` where it applies.

    It applies to a confirm trial with a value whose `of` is not its cell's best search trial.
    """
    known = list(records)
    best = {cell: best_search(own, metric=metric) for cell, own in by_cell(known).items()}

    def derived(record: TrialRecord) -> TrialRecord:
        winner = best[record.cell]
        if record.stage != "confirm" or record.state not in VALUED or winner is None:
            return record
        if record.of == winner.trial:
            return record
        return dataclasses.replace(record, state="superseded")

    return [derived(record) for record in known]


def cell_state(
    records: Sequence[TrialRecord], *, metric: str, trials: int, seeds: int, closed: bool = False
) -> CellState:
    """Where one cell stands, of `trials` search trials and `seeds` confirm seeds.

    Where a budget has `closed` the search, what it has found is confirmed.
    """
    best = best_search(records, metric=metric)
    short = count_searched(records) < trials
    if short and (best is None or not closed):
        return "search"
    if best is None:
        return "failed"
    if len(confirmed(records, best)) >= seeds:
        return "complete"
    ended = sum(
        record.stage == "confirm" and record.of == best.trial and record.state != "retried"
        for record in records
    )
    return "failed" if ended >= seeds else "confirm"


def count_searched(records: Iterable[TrialRecord]) -> int:
    """How many search trials have ended; one that was tried again counts with its second."""
    return sum(record.stage == "search" and record.state != "retried" for record in records)


def search_values(records: Iterable[TrialRecord]) -> list[float | None]:
    """The value of each search trial that has ended; None for one whose value does not count."""
    return [
        record.value
        if record.state in VALUED and record.value is not None and math.isfinite(record.value)
        else None
        for record in records
        if record.stage == "search" and record.state != "retried"
    ]
