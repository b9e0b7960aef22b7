"""A row of the leaderboard: its columns, and what is told beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcl_bench.records import Costs
from mcl_bench.results.optimism import Optimism, optimism
from mcl_bench.results.protocol import Protocol
from mcl_bench.results.scores import SeedScore
from mcl_bench.results.winners import CellState


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search of `trials` trials is expected to find: its best value; None if none."""

    trials: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Aside:
    """What a row's text says beside its columns; decides nothing.

    `group` names the data × model, `baseline` the arm that it is compared with, `common_seeds` the
    number of seeds of both. `scores` has each confirm seed, `protocol` how the numbers were made
    (None before the search has a best trial), `budgets` the expected best `metric` of smaller
    searches. `warnings` says what is wrong with the sweep's looks at test, if anything is; `costs`
    where the sweep's time went. `left_out` search trials were not asked, because a budget closed
    the search.
    """

    baseline: str
    group: tuple[str, str]
    metric: str
    common_seeds: int = 0
    no_variation: bool = False
    xi_differs: bool = False
    sign_flip_p: float | None = None
    sign_flip_floor: float | None = None
    scores: tuple[SeedScore, ...] = ()
    protocol: Protocol | None = None
    budgets: tuple[Budget, ...] = ()
    warnings: tuple[str, ...] = ()
    costs: Costs | None = None
    left_out: int = 0

    @property
    def optimism(self) -> Optimism | None:
        """What best-on-test would have claimed; None where test was not scored each epoch."""
        return optimism(self.scores)


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

    @property
    def pieces(self) -> int:
        """In how many pieces its batches were trained."""
        train: Mapping[str, Any] = (self.config or {}).get("train", {})
        return int(train.get("micro_batches", 1))

    def to_dict(self) -> dict[str, Any]:
        """This row's columns as plain values, in order."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(name for name in Row.__dataclass_fields__ if name != "aside")
"""A row's columns, in order."""


def warnings(rows: Iterable[Row]) -> list[str]:
    """What is wrong with the records of these rows' sweeps, each once."""
    return list(dict.fromkeys(warning for row in rows for warning in row.aside.warnings))
