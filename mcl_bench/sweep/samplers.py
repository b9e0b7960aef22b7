"""The samplers: how the parameters of the next trial of a cell are found.

Every ask has a sampler of its own, whose seed is made of the cell and the trial's number. What it
decides follows from that seed and from the trials that are there, and from nothing that a driver
remembers: a search that was interrupted asks what an undisturbed one asks.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from mcl_bench.spec import Cell, Choice, IntRange, Range, SearchSpec, named_seed


def distribution(values: Range) -> BaseDistribution:
    """The Optuna distribution of one range of the search space."""
    if isinstance(values, Choice):
        return CategoricalDistribution(values.values)
    if isinstance(values, IntRange):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


Rows = dict[tuple[str, ...], dict[int, tuple[float, ...]]]
"""The parameters of trials as Optuna's numbers: by the names of the parameters, by the trial."""


def sampler_of(
    search: SearchSpec, cell: Cell, *, seed: int, number: int, rows: Rows | None = None
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial of a cell; `seed` is the sweep's.

    `tpe` and `gp` have a model from some finished trials on, and draw at random before that. What
    is in `rows` need not be worked out again; it is added to.
    """
    own = named_seed(seed, cell.id, number, bits=32)
    startup = min(10, max(3, search.trials // 3)) + len(cell.enqueue)
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=own)
    if search.sampler == "qmc":
        fixed = named_seed(seed, cell.id, "qmc", bits=32)
        return SequenceSampler(seed=fixed, place=number)
    if search.sampler == "grid":
        return GridSampler(cell.space, seed=own)
    if search.sampler == "gp":
        return optuna.samplers.GPSampler(
            seed=own, n_startup_trials=startup, warn_independent_sampling=False
        )
    if search.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
    return TpeSampler({} if rows is None else rows, seed=own, n_startup_trials=startup)


def decide(
    study: optuna.Study,
    draft: FrozenTrial,
    *,
    distributions: Mapping[str, BaseDistribution],
    fixed: Mapping[str, Any],
) -> dict[str, Any]:
    """All parameters of a trial that has not been written, by the study's sampler.

    What is `fixed` stays. As `Trial.suggest_…` of Optuna does it, but that nothing is written on
    the way, and that the space is told: Optuna looks at every trial to find what they share.
    """
    sampler = study.sampler
    searched = {
        name: values for name, values in sorted(distributions.items()) if not values.single()
    }
    sampler.before_trial(study, draft)
    free = searched.keys() - fixed.keys()
    related = sampler.sample_relative(study, draft, searched) if free else {}
    params = {}
    for name, values in distributions.items():
        if name in fixed:
            value = fixed[name]
        elif name not in searched:
            value = _only_value(values)
        elif name in related and values._contains(values.to_internal_repr(related[name])):
            value = related[name]
        else:
            value = sampler.sample_independent(study, draft, name, values)
        params[name] = values.to_external_repr(values.to_internal_repr(value))
    return params


class TpeSampler(optuna.samplers.TPESampler):
    """Optuna's, but that a trial's parameters are turned into numbers once, not at every ask."""

    def __init__(self, rows: Rows, *, seed: int, n_startup_trials: int) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        self._rows = rows

    def _get_internal_repr(
        self,
        trials: list[FrozenTrial],
        search_space: dict[str, BaseDistribution],
        study: optuna.Study,
    ) -> dict[str, np.ndarray]:
        known = self._rows.setdefault(tuple(search_space), {})
        for trial in trials:
            if trial.number not in known and search_space.keys() <= trial.params.keys():
                known[trial.number] = tuple(
                    values.to_internal_repr(trial.params[name])
                    for name, values in search_space.items()
                )
        del study
        rows = [known[trial.number] for trial in trials if trial.number in known]
        table = np.array(rows, dtype=float).reshape(len(rows), len(search_space))
        return dict(zip(search_space, np.ascontiguousarray(table.T), strict=True))


class SequenceSampler(optuna.samplers.BaseSampler):
    """Quasi-random: a trial's number is its place in one scrambled Sobol sequence.

    Optuna's own counts places in the study, so that a kill in an ask leaves a hole, and draws the
    first trial at random, again and again until one has not failed.
    """

    def __init__(self, *, seed: int, place: int) -> None:
        self._seed = seed
        self._place = place

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: the space is told."""
        del study, trial
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The point of the sequence, as values of these ranges."""
        del study, trial
        from scipy.stats.qmc import Sobol  # takes a second to import

        sequence = Sobol(len(search_space), scramble=True, rng=self._seed)
        if self._place:
            sequence.fast_forward(self._place)
        (point,) = sequence.random(1)
        return {
            name: value_at(values, float(share))
            for (name, values), share in zip(search_space.items(), point, strict=True)
        }

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never asked: every value is a coordinate of the point."""
        del study, trial, param_distribution
        raise AssertionError(f"{param_name} is no part of the sequence")


class GridSampler(optuna.samplers.BaseSampler):
    """What an entry of `enqueue` leaves open, drawn from the values of the grid.

    The points of the grid are fixed as they are asked; no sampler has a part in them.
    """

    def __init__(self, space: Mapping[str, Range], *, seed: int) -> None:
        self._space = space
        self._random = random.Random(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: each value is drawn by itself."""
        del study, trial
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Nothing: each value is drawn by itself."""
        del study, trial, search_space
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One of the values that the grid has of this key."""
        del study, trial, param_distribution
        return self._random.choice(self._space[param_name].grid)


def value_at(values: BaseDistribution, share: float) -> Any:
    """The value that this share of a range lies below; `share` is in [0, 1).

    In a log range shares are those of the logarithm; every value of a stepped one has as much room
    as the others.
    """
    if isinstance(values, CategoricalDistribution):
        return values.choices[int(share * len(values.choices))]
    assert isinstance(values, FloatDistribution | IntDistribution)
    low, high = values.low, values.high
    if values.step is None:
        return _between(low, high, share, log=values.log)
    if values.log:  # integers; those between two halves are rounded to the one they are nearest to
        drawn = _between(low - 0.5, high + 0.5, share, log=True)
        return min(max(round(drawn), low), high)
    count = round((high - low) / values.step) + 1
    return low + int(share * count) * values.step


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    value = low * (high / low) ** share if log else low + (high - low) * share
    return min(max(value, low), high)


def _only_value(values: BaseDistribution) -> Any:
    if isinstance(values, CategoricalDistribution):
        return values.choices[0]
    assert isinstance(values, FloatDistribution | IntDistribution)
    return values.low
