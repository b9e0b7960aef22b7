"""Intervals, paired comparisons and tiers over training seeds; pure, in the units of the values.

Accuracies are fractions (0..1, higher is better). Values to compare are given by seed, because
arms are paired: confirm seed k is the same in every arm.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95
"""Of every interval; 1 - CONFIDENCE is the level below which rows are told apart."""

MIN_COMPARED = 3
"""With fewer common seeds neither p nor tier is given: too few to compare."""

SAME = 1e-12
"""Differences closer than this are equal; accuracies that are, differ by rounding only."""

MAX_SIGN_FLIPS = 40
"""The exact test takes memory for 2^(n/2) sums; with more values it is refused."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its t interval; `sd` and what follows from it is None for one value."""

    n: int
    mean: float
    sd: float | None = None
    half_width: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference over `n` common seeds; what n does not allow is None.

    `p` is the paired t test's, two-sided; None below 3 seeds, and where all differences are equal
    (`no_variation`). `sign_flip_p` is exact, and never below `sign_flip_floor` = 2 / 2^n.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    no_variation: bool = False
    sign_flip_p: float | None = None
    sign_flip_floor: float | None = None


def t_interval(
    values: Sequence[float],
    confidence: float = CONFIDENCE,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Interval:
    """The mean and its two-sided Student's t interval, clipped to `bounds`.

    The half-width, `half_width` of the values' sd, is not clipped. Raises ValueError without
    values.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(n=n, mean=mean)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = half_width(sd, n, confidence)
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(n=n, mean=mean, sd=sd, half_width=half, low=low, high=high)


def half_width(sd: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Half of the t interval of n >= 2 values whose sd has n - 1 degrees of freedom.

    t((1 + confidence) / 2; n - 1) · sd / √n.
    """
    return float(special.stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)


def paired_difference(a_by_seed: Mapping[int, float], b_by_seed: Mapping[int, float]) -> Difference:
    """The mean of a - b over the seeds that both have, with its paired t interval and test."""
    seeds = sorted(a_by_seed.keys() & b_by_seed.keys())
    if not seeds:
        return Difference(n=0)
    differences = [a_by_seed[seed] - b_by_seed[seed] for seed in seeds]
    n = len(differences)
    interval = t_interval(differences, bounds=None)
    if n < MIN_COMPARED:
        return Difference(n=n, mean=interval.mean, low=interval.low, high=interval.high)
    no_variation = max(differences) - min(differences) <= SAME
    exact = n <= MAX_SIGN_FLIPS
    return Difference(
        n=n,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=None if no_variation else _paired_p(interval),
        no_variation=no_variation,
        sign_flip_p=sign_flip_p(differences) if exact else None,
        sign_flip_floor=2.0 ** (1 - n) if exact else None,
    )


def sign_flip_p(differences: Sequence[float]) -> float:
    """The share of all 2^n sign flips whose |sum| is at least the one seen; exact, two-sided.

    Never below 2 / 2^n. Raises ValueError for no values, or more than MAX_SIGN_FLIPS.
    """
    n = len(differences)
    if not 1 <= n <= MAX_SIGN_FLIPS:
        raise ValueError(f"the exact sign-flip test takes 1 to {MAX_SIGN_FLIPS} values, got {n}")
    # Every flip is a flip of the first half plus one of the second, so the 2^n sums are counted
    # by sorting the 2^(n/2) sums of one half and looking the other half's up in them.
    left = _flipped_sums(differences[: n // 2])
    right = np.sort(_flipped_sums(differences[n // 2 :]))
    seen = abs(math.fsum(differences)) - n * SAME
    if seen <= 0:
        return 1.0
    above = right.size - np.searchsorted(right, seen - left, side="left")
    below = np.searchsorted(right, -seen - left, side="right")
    return float(above.sum() + below.sum()) / 2.0**n


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p values, in the order given; None stays and does not count.

    The i-th smallest of m (from 0) becomes max over j ≤ i of min(1, (m - j) · p_j).
    """
    order = sorted(
        (p, place) for place, p in enumerate(p_values) if p is not None and not math.isnan(p)
    )
    adjusted: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, place) in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p))
        adjusted[place] = reached
    return adjusted


def tiers(
    values_by_row: Mapping[str, Mapping[int, float]], *, level: float = 1 - CONFIDENCE
) -> dict[str, int | None]:
    """The tier of each row (its values by seed) among rows of one data × model.

    Tier 1 holds the highest mean and every row not significantly below it: paired t over all
    pairs of rows, Holm over those pairs. Tier 2 is made the same way from the rest. A row of
    fewer than 3 seeds has None; a pair without a p value is not told apart.
    """
    compared = [name for name, values in values_by_row.items() if len(values) >= MIN_COMPARED]
    pairs = [(a, b) for place, a in enumerate(compared) for b in compared[place + 1 :]]
    found = [paired_difference(values_by_row[a], values_by_row[b]) for a, b in pairs]
    adjusted = holm([difference.p for difference in found])
    below = _below(zip(pairs, found, adjusted, strict=True), level)
    means = {name: _mean(values_by_row[name]) for name in compared}
    left = sorted(compared, key=lambda name: (-means[name], name))
    result: dict[str, int | None] = dict.fromkeys(values_by_row)
    tier = 0
    while left:
        tier += 1
        top = left[0]
        for name in [name for name in left if (name, top) not in below]:
            result[name] = tier
            left.remove(name)
    return result


def _below(
    compared: Iterable[tuple[tuple[str, str], Difference, float | None]], level: float
) -> set[tuple[str, str]]:
    """The pairs whose first row is significantly below the second."""
    pairs = set()
    for (a, b), difference, p in compared:
        if p is not None and p < level and difference.mean is not None:
            pairs.add((a, b) if difference.mean < 0 else (b, a))
    return pairs


def _paired_p(interval: Interval) -> float:
    assert interval.sd is not None and interval.sd > 0
    t = interval.mean / (interval.sd / math.sqrt(interval.n))
    return float(2 * special.stdtr(interval.n - 1, -abs(t)))


def _flipped_sums(values: Sequence[float]) -> np.ndarray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _mean(values: Mapping[int, float]) -> float:
    return math.fsum(values.values()) / len(values)
