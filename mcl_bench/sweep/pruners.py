"""The pruners: whether a search trial ends before its last epoch.

The horizon is the epochs of the cell's longest trial, known before the first: no pruner waits for a
trial to end to learn it. `grace` is the first epoch at which a trial may be pruned.
"""

import itertools
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mcl_bench.spec import AshaSpec, HyperbandSpec, MedianSpec, PrunerSpec


def pruner_of(spec: PrunerSpec, *, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a cell whose longest trial has so many epochs."""
    if isinstance(spec, MedianSpec):
        return optuna.pruners.MedianPruner(n_warmup_steps=spec.grace)
    if isinstance(spec, AshaSpec):
        return HalvingPruner(rungs(spec, epochs=epochs), reduction=spec.reduction)
    if isinstance(spec, HyperbandSpec):
        steps = rungs(spec, epochs=epochs)
        return HalvingPruner(steps, reduction=spec.reduction, num_brackets=len(steps))
    return optuna.pruners.NopPruner()


def rungs(spec: AshaSpec | HyperbandSpec, *, epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are compared: grace, grace × reduction, … up to the horizon."""
    powers = (spec.grace * spec.reduction**power for power in itertools.count())
    return tuple(itertools.takewhile(lambda epoch: epoch <= epochs, powers))


class HalvingPruner(optuna.pruners.BasePruner):
    """Asynchronous successive halving, in one bracket (ASHA) or in several (Hyperband).

    At a rung a trial goes on if its value is among the best 1/reduction of all that its bracket has
    reported at that epoch; among fewer than `reduction` values, if it is the best. It is decided as
    by Optuna's SuccessiveHalvingPruner, but from the reports alone, which a restart finds again.

    Bracket b has no rung before the b-th. Trials fill the brackets by their number, in turns as
    long as Hyperband's: Optuna's own pruner draws them by the study's name, which differs from one
    sweep to the next.
    """

    def __init__(self, steps: Sequence[int], *, reduction: int, num_brackets: int = 1) -> None:
        self._rungs = steps
        self._reduction = reduction
        self._turn = tuple(
            bracket
            for bracket, left in enumerate(reversed(range(num_brackets)))
            for _ in range(-(-num_brackets * reduction**left // (left + 1)))
        )

    def bracket(self, number: int) -> int:
        """The bracket of the trial of this number."""
        return self._turn[number % len(self._turn)] if self._turn else 0

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends at its last report."""
        step, bracket = trial.last_step, self.bracket(trial.number)
        if step is None or step not in self._rungs[bracket:]:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if step in other.intermediate_values
            and self.bracket(other.number) == bracket
            and other.number != trial.number
        ]
        value = trial.intermediate_values[step]
        best = sorted([*others, value], reverse=study.direction == StudyDirection.MAXIMIZE)
        last = best[max(len(best) // self._reduction, 1) - 1]
        return value < last if study.direction == StudyDirection.MAXIMIZE else value > last
