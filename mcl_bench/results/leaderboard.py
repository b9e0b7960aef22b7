"""The leaderboard: one row for each cell of each sweep, computed from confirm trials only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcl_bench.records import Costs, TrialRecord
from mcl_bench.results.costs import read_costs
from mcl_bench.results.folder import count_looks, ledger_warnings, read_records, sweep_folders
from mcl_bench.results.stats import (
    Difference,
    Interval,
    holm,
    paired_difference,
    t_interval,
    tiers,
)
from mcl_bench.results.winners import (
    CellState,
    best_search,
    by_cell,
    cell_state,
    confirmed,
    count_searched,
)
from mcl_bench.spec import Cell, Experiment, load
from mcl_bench.spec.settings import nest

CONFIG_PARTS = ("data", "model", "loss", "train")
"""What a row's `config` holds of the confirmed configuration."""


@dataclass(frozen=True, kw_only=True)
class Aside:
    """What a row's text says beside its columns; decides nothing.

    `baseline` is the arm that it is compared with, `common_seeds` the number of seeds of both.
    `warnings` says what is wrong with the sweep's looks at test, if anything is; `costs` where the
    sweep's time went. `left_out` search trials were not asked, because a budget closed the search.
    """

    baseline: str
    common_seeds: int = 0
    no_variation: bool = False
    xi_differs: bool = False
    sign_flip_p: float | None = None
    sign_flip_floor: float | None = None
    warnings: tuple[str, ...] = ()
    costs: Costs | None = None
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell. Accuracies and differences are fractions; what n does not allow is None.

    `config` is the confirmed configuration, nested; None before the search has a best trial.
    `difference` is to the baseline of the same data × model, paired over common seeds.
    """

    sweep: str
    cell: str
    dataset: str
    backbone: str
    weights: str
    arm: str
    xi: str | None
    maps: int | None
    parameters: int | None
    n: int
    test_top1_mean: float | None
    test_top1_sd: float | None
    test_top1_ci_low: float | None
    test_top1_ci_high: float | None
    test_macro_top1_mean: float | None
    tier: int | None
    difference: float | None
    difference_ci_low: float | None
    difference_ci_high: float | None
    p_adjusted: float | None
    test_looks: int
    trials: int
    device_hours: float
    equal_budget: bool
    state: CellState
    config: Mapping[str, Any] | None
    aside: Aside = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """This row's columns as plain values, in order."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(name for name in Row.__dataclass_fields__ if name != "aside")
"""A row's columns, in order."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One cell with its trials, its best search trial, its confirm trials and its looks at test."""

    cell: Cell
    records: Sequence[TrialRecord]
    best: TrialRecord | None
    confirm: Sequence[TrialRecord]
    looks: int

    @property
    def top1_by_seed(self) -> dict[int, float]:
        """Top-1 on test by confirm seed."""
        return {
            record.seed: record.test_top1 for record in self.confirm if record.test_top1 is not None
        }


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What all rows of one sweep share."""

    name: str
    experiment: Experiment
    warnings: tuple[str, ...]
    costs: Costs | None

    @property
    def closed(self) -> bool:
        return self.costs is not None and self.costs.closed


def leaderboard(home: Path, names: Sequence[str] = ()) -> list[Row]:
    """The rows of these sweeps under `home`, or of all of them.

    In the order of the names, then of the data × models of the file; the highest mean first.

    Raises:
        UserError: there is no sweep of such a name.
        DataError: a sweep's record is damaged.
    """
    return [row for folder in sweep_folders(home, names) for row in sweep_rows(folder)]


def sweep_rows(folder: Path) -> list[Row]:
    """The rows of the sweep in this folder."""
    experiment = load(folder / "experiment.yaml")
    metric = experiment.spec.search.metric
    every = read_records(folder)
    sweep = _Sweep(
        name=folder.name,
        experiment=experiment,
        warnings=ledger_warnings(folder, every),
        costs=read_costs(folder),
    )
    records = by_cell(every)
    standings = [
        _standing(cell, records.get(cell.id, []), metric=metric, looks=count_looks(folder, cell.id))
        for cell in experiment.cells
    ]
    compared = _compared(standings, experiment.baseline)
    adjusted = dict(
        zip(compared, holm([difference.p for difference in compared.values()]), strict=True)
    )
    tier = _tiers(standings)
    widths = {
        (*standing.cell.group, standing.cell.arm): None
        if standing.best is None
        else standing.best.xi
        for standing in standings
    }
    rows = [
        _row(
            standing,
            sweep=sweep,
            tier=tier[standing.cell.id],
            difference=compared.get(standing.cell.id),
            p_adjusted=adjusted.get(standing.cell.id),
            baseline_xi=widths[*standing.cell.group, experiment.baseline],
        )
        for standing in standings
    ]
    groups = list(dict.fromkeys(standing.cell.group for standing in standings))
    place = {standing.cell.id: groups.index(standing.cell.group) for standing in standings}
    return sorted(rows, key=lambda row: (place[row.cell], -(row.test_top1_mean or -1.0)))


def _standing(cell: Cell, records: Sequence[TrialRecord], *, metric: str, looks: int) -> Standing:
    best = best_search(records, metric=metric)
    return Standing(
        cell=cell, records=records, best=best, confirm=confirmed(records, best), looks=looks
    )


def _compared(standings: Sequence[Standing], baseline: str) -> dict[str, Difference]:
    """Each cell's difference to the baseline of its data × model, by the cell's id."""
    bases = {
        standing.cell.group: standing for standing in standings if standing.cell.arm == baseline
    }
    return {
        standing.cell.id: paired_difference(
            standing.top1_by_seed, bases[standing.cell.group].top1_by_seed
        )
        for standing in standings
        if standing.cell.arm != baseline
    }


def _tiers(standings: Sequence[Standing]) -> dict[str, int | None]:
    groups: dict[tuple[str, str], dict[str, Mapping[int, float]]] = {}
    for standing in standings:
        groups.setdefault(standing.cell.group, {})[standing.cell.id] = standing.top1_by_seed
    return {cell: tier for rows in groups.values() for cell, tier in tiers(rows).items()}


def _row(
    standing: Standing,
    *,
    sweep: _Sweep,
    tier: int | None,
    difference: Difference | None,
    p_adjusted: float | None,
    baseline_xi: str | None,
) -> Row:
    cell, best = standing.cell, standing.best
    values = list(standing.top1_by_seed.values())
    top1 = t_interval(values) if values else None
    seen = difference or Difference(n=0)
    searched, asked = count_searched(standing.records), cell.trials
    return Row(
        sweep=sweep.name,
        cell=cell.id,
        dataset=cell.spec.data.name,
        backbone=cell.spec.model.backbone,
        weights=cell.spec.model.weights or "none",
        arm=cell.arm,
        xi=None if best is None else best.xi,
        maps=None if best is None else best.maps,
        parameters=None if best is None else best.parameters,
        n=len(values),
        **_interval_columns(top1),
        test_macro_top1_mean=_mean([record.test_macro_top1 for record in standing.confirm]),
        tier=tier,
        difference=seen.mean,
        difference_ci_low=seen.low,
        difference_ci_high=seen.high,
        p_adjusted=p_adjusted,
        test_looks=standing.looks,
        trials=searched,
        device_hours=math.fsum(record.device_seconds for record in standing.records) / 3600,
        equal_budget=cell.equal_budget,
        state=cell_state(
            standing.records,
            metric=sweep.experiment.spec.search.metric,
            trials=asked,
            seeds=sweep.experiment.spec.confirm.seeds,
            closed=sweep.closed,
        ),
        config=None if best is None else _config(best),
        aside=Aside(
            baseline=sweep.experiment.baseline,
            common_seeds=seen.n,
            no_variation=seen.no_variation,
            xi_differs=best is not None and baseline_xi not in {None, best.xi},
            sign_flip_p=seen.sign_flip_p,
            sign_flip_floor=seen.sign_flip_floor,
            warnings=sweep.warnings,
            costs=sweep.costs,
            left_out=max(0, asked - searched) if sweep.closed else 0,
        ),
    )


def _interval_columns(top1: Interval | None) -> dict[str, float | None]:
    return {
        "test_top1_mean": None if top1 is None else top1.mean,
        "test_top1_sd": None if top1 is None else top1.sd,
        "test_top1_ci_low": None if top1 is None else top1.low,
        "test_top1_ci_high": None if top1 is None else top1.high,
    }


def _config(best: TrialRecord) -> dict[str, Any]:
    nested = nest(best.config)
    return {part: nested[part] for part in CONFIG_PARTS}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None
