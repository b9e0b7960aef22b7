"""The leaderboard: one row for each cell of each sweep, computed from confirm trials only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench.records import Costs, TrialRecord
from mcl_bench.results.best_of import budget_sizes, expected_best
from mcl_bench.results.costs import read_costs
from mcl_bench.results.folder import (
    ledger_warnings,
    looks_by_cell,
    read_digests,
    read_records,
    sweep_folders,
)
from mcl_bench.results.kept_rows import kept_rows
from mcl_bench.results.protocol import Protocol, protocol_of
from mcl_bench.results.row import Aside, Budget, Row
from mcl_bench.results.scores import SeedScore, seed_scores, trial_name
from mcl_bench.results.stats import (
    Difference,
    Interval,
    holm,
    paired_difference,
    t_interval,
    tiers,
)
from mcl_bench.results.winners import (
    best_search,
    by_cell,
    cell_state,
    confirmed,
    count_searched,
    search_values,
)
from mcl_bench.spec import Cell, Experiment, load
from mcl_bench.spec.settings import nest

CONFIG_PARTS = ("data", "model", "loss", "train")
"""What a row's `config` holds of the confirmed configuration."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One cell with its trials, its best search trial, its confirm trials and its looks at test.

    `scores` are those of the confirm trials, `digest` that of its images.
    """

    cell: Cell
    records: Sequence[TrialRecord]
    best: TrialRecord | None
    confirm: Sequence[TrialRecord]
    scores: tuple[SeedScore, ...]
    looks: int
    digest: str | None

    @property
    def top1_by_seed(self) -> dict[int, float]:
        """Top-1 on test by confirm seed."""
        return {score.seed: score.top1 for score in self.scores}


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
    return [
        row for folder in sweep_folders(home, names) for row in kept_rows(folder, make=sweep_rows)
    ]


def sweep_rows(folder: Path) -> list[Row]:
    """The rows of the sweep in this folder, made from its record."""
    return experiment_rows(load(folder / "experiment.yaml"), folder)


def experiment_rows(experiment: Experiment, folder: Path) -> list[Row]:
    """The rows of this experiment's sweep in this folder, made from its record."""
    every = read_records(folder)
    sweep = _Sweep(
        name=folder.name,
        experiment=experiment,
        warnings=ledger_warnings(folder, every),
        costs=read_costs(folder),
    )
    standings = _standings(experiment, every, folder)
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


def _standings(
    experiment: Experiment, every: Sequence[TrialRecord], folder: Path
) -> list[Standing]:
    records = by_cell(every)
    twins = {trial_name(record): record for record in every if record.stage == "confirm"}
    digests = read_digests(folder)
    looks = looks_by_cell(folder)
    standings = []
    for cell in experiment.cells:
        own = records.get(cell.id, [])
        best = best_search(own, metric=experiment.spec.search.metric)
        confirm = confirmed(own, best)
        standings.append(
            Standing(
                cell=cell,
                records=own,
                best=best,
                confirm=confirm,
                scores=seed_scores(confirm, twins),
                looks=looks[cell.id],
                digest=digests.get(cell.data_label),
            )
        )
    return standings


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
        aside=_aside(
            standing,
            sweep=sweep,
            difference=seen,
            xi_differs=best is not None and baseline_xi not in {None, best.xi},
            left_out=max(0, asked - searched) if sweep.closed else 0,
        ),
    )


def _aside(
    standing: Standing,
    *,
    sweep: _Sweep,
    difference: Difference,
    xi_differs: bool,
    left_out: int,
) -> Aside:
    metric = sweep.experiment.spec.search.metric
    return Aside(
        baseline=sweep.experiment.baseline,
        group=standing.cell.group,
        metric=metric,
        common_seeds=difference.n,
        no_variation=difference.no_variation,
        xi_differs=xi_differs,
        sign_flip_p=difference.sign_flip_p,
        sign_flip_floor=difference.sign_flip_floor,
        scores=standing.scores,
        protocol=_protocol(standing, metric),
        budgets=_budgets(standing.records, metric),
        warnings=sweep.warnings,
        costs=sweep.costs,
        left_out=left_out,
    )


def _protocol(standing: Standing, metric: str) -> Protocol | None:
    if standing.best is None:
        return None
    return protocol_of(standing.best, standing.confirm, digest=standing.digest, metric=metric)


def _budgets(records: Sequence[TrialRecord], metric: str) -> tuple[Budget, ...]:
    """What smaller searches than this one would have been expected to find."""
    values = search_values(records)
    sizes = budget_sizes(len(values))
    found = expected_best(values, sizes, minimise=metric == "val/loss")
    return tuple(Budget(trials=size, value=value) for size, value in zip(sizes, found, strict=True))


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
