"""Mean ranks over data × models and the difference that tells them apart (Demšar 2006); pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mcl_bench.results.stats import CONFIDENCE

MIN_ARMS, MIN_GROUPS = 2, 2
"""With fewer there is nothing to rank, or nothing to average."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Mean rank of each arm (1 is best) over `groups` data × models that all arms have.

    Two arms whose mean ranks are closer than `critical_difference` can't be told apart (Nemenyi).
    `friedman_p` is that all arms are equal; None for two arms or where all ranks are tied.
    """

    mean_rank: Mapping[str, float]
    groups: int
    critical_difference: float
    friedman_p: float | None


def mean_ranks(
    values: Mapping[str, Mapping[str, float]], *, level: float = 1 - CONFIDENCE
) -> Ranks | None:
    """The ranks of arms by their values (higher is better) in each data × model.

    `values[group][arm]`; groups that lack an arm of another are left out, ties share their mean
    rank. The critical difference is q·√(k(k + 1) / 6N) of k arms and N groups, q the studentised
    range's quantile over √2. None where fewer than two groups or arms are left.
    """
    arms = sorted({arm for of_group in values.values() for arm in of_group})
    whole = [of_group for of_group in values.values() if set(of_group) == set(arms)]
    k, count = len(arms), len(whole)
    if k < MIN_ARMS or count < MIN_GROUPS:
        return None
    scores = np.array([[of_group[arm] for arm in arms] for of_group in whole])
    ranks = stats.rankdata(-scores, axis=1)
    quantile = float(stats.studentized_range.ppf(1 - level, k, np.inf)) / math.sqrt(2)
    varied = bool((ranks != ranks[:, :1]).any())
    friedman = float(stats.friedmanchisquare(*scores.T).pvalue) if k > 2 and varied else None
    return Ranks(
        mean_rank=dict(zip(arms, map(float, ranks.mean(axis=0)), strict=True)),
        groups=count,
        critical_difference=quantile * math.sqrt(k * (k + 1) / (6 * count)),
        friedman_p=friedman,
    )
