"""How long what is left of a sweep will take, from what trials like its own have taken."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcl_bench.records import TrialRecord
from mcl_bench.results.pace import Pace
from mcl_bench.results.winners import best_search, by_cell, confirmed, count_searched
from mcl_bench.spec import Cell, Experiment


@dataclass(frozen=True, kw_only=True)
class CellForecast:
    """What is left of one cell: trials to ask and to confirm, and how many only repeat a setting.

    `device_seconds` are the lower quartile, the median and the upper quartile; None where the
    cell has no history.
    """

    cell: str
    search: int
    confirm: int
    duplicates: int
    pace: Pace | None
    device_seconds: tuple[float, float, float] | None


def forecast(
    experiment: Experiment,
    records: Iterable[TrialRecord],
    paces: Mapping[str, Pace | None],
) -> list[CellForecast]:
    """What is left of each cell, beside the `records` that the sweep has."""
    own = by_cell(records)
    return [
        _cell_forecast(experiment, cell, own=own.get(cell.id, []), pace=paces[cell.id])
        for cell in experiment.cells
    ]


def total(cells: Sequence[CellForecast]) -> tuple[float, float, float] | None:
    """The device seconds of all cells that have a history; None where none has."""
    known = [cell.device_seconds for cell in cells if cell.device_seconds is not None]
    if not known:
        return None
    low, middle, high = (sum(column) for column in zip(*known, strict=True))
    return low, middle, high


def _cell_forecast(
    experiment: Experiment, cell: Cell, *, own: Sequence[TrialRecord], pace: Pace | None
) -> CellForecast:
    spec = experiment.spec
    searched = count_searched(own)
    search = max(0, cell.trials - searched)
    best = best_search(own, metric=spec.search.metric)
    confirm = max(0, spec.confirm.seeds - len(confirmed(own, best)))
    # Without a space every trial has the cell's own settings: the first is trained.
    fresh = min(search, 0 if searched else 1)
    duplicates = 0 if cell.space else search - fresh
    seconds = None
    if pace is not None:
        share = 1.0 if spec.search.pruner.name == "none" else pace.run_share or 1.0
        epochs = cell.spec.train.epochs
        asked = pace.search or pace.confirm
        scored = pace.confirm or pace.search
        assert asked is not None and scored is not None, "a pace is of some trials"
        low, middle, high = (
            epochs * ((search - duplicates) * share * one + confirm * other)
            for one, other in zip(asked, scored, strict=True)
        )
        seconds = (low, middle, high)
    return CellForecast(
        cell=cell.id,
        search=search,
        confirm=confirm,
        duplicates=duplicates,
        pace=pace,
        device_seconds=seconds,
    )
