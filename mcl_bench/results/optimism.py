"""The optimism gap: what choosing the best epoch on test would have claimed; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mcl_bench.results.scores import SeedScore


@dataclass(frozen=True, kw_only=True)
class Optimism:
    """Top-1 on test of the same runs, told three ways; fractions, over `n` seeds.

    `last_mean` is what a row reports: the mean over seeds of the last epoch. `best_mean` is the
    mean over seeds of each one's best epoch on test, `maximum` the best epoch of the best seed.
    """

    n: int
    last_mean: float
    best_mean: float
    maximum: float

    @property
    def gap(self) -> float:
        """How much the best epochs on test claim above the last ones: best_mean - last_mean."""
        return self.best_mean - self.last_mean

    @property
    def maximum_gap(self) -> float:
        """How much the best epoch of the best seed claims above the mean: maximum - last_mean."""
        return self.maximum - self.last_mean


def optimism(scores: Sequence[SeedScore]) -> Optimism | None:
    """What best-on-test would have claimed of the seeds that were scored after each epoch.

    None where none was: `confirm.gap: false`.
    """
    pairs = [(score.top1, score.best_top1) for score in scores if score.best_top1 is not None]
    if not pairs:
        return None
    best = [best for _, best in pairs]
    return Optimism(
        n=len(pairs),
        last_mean=math.fsum(last for last, _ in pairs) / len(pairs),
        best_mean=math.fsum(best) / len(pairs),
        maximum=max(best),
    )
