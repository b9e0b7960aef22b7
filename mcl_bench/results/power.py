"""Power: how often a difference of a given size would be told apart with so many seeds; pure."""

import math

from scipy import special

from mcl_bench.results.stats import CONFIDENCE, MIN_COMPARED

EFFECTS = (1.0, 2.0, 3.0)
"""The differences that tables give the power at, in standard deviations of a paired difference."""


def power(n: int, effect: float, *, level: float = 1 - CONFIDENCE) -> float | None:
    """The chance that the two-sided paired t test over `n` seeds shows a true difference.

    `effect` is the difference in standard deviations of the paired differences; the test is at
    `level` (divide it by the number of comparisons for the least that Holm leaves). None below 3
    seeds, with which nothing is told apart. Of the noncentral t with n - 1 degrees of freedom and
    noncentrality effect·√n: 1 - F(t) + F(-t), t the critical value.
    """
    if n < MIN_COMPARED:
        return None
    critical = float(special.stdtrit(n - 1, 1 - level / 2))
    shift = effect * math.sqrt(n)
    above = 1 - float(special.nctdtr(n - 1, shift, critical))
    below = float(special.nctdtr(n - 1, shift, -critical))
    return above + below
