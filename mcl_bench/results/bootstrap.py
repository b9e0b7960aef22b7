"""Bootstrap intervals over training seeds and test images, from stored predictions; pure.

They are shown beside the t intervals and decide nothing: with few seeds a bootstrap over them is
too narrow.

Legend: n seeds, N images, D draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcl_bench.results.stats import CONFIDENCE

DRAWS = 2000
"""How many resamples an interval is made of."""

AT_ONCE = 1 << 24
"""Weights of images that are held at one time."""

Correct = npt.NDArray[np.bool_]
"""n × N: whether the training of this seed was right about this image."""


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The mean and its percentile interval over seeds × images, as fractions."""

    mean: float
    low: float
    high: float


def bootstrap(
    correct: Correct,
    *,
    minus: Correct | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Bootstrap:
    """The mean of `correct` (n × N), or of its difference to `minus`, with its interval.

    Seeds and images are drawn anew, each with replacement, independently of each other; with
    `minus` (n × N, the same seeds and images in the same order) both are drawn for the pair.
    Percentiles of the means of all draws.

    Raises:
        ValueError: there is no value, or the two are not of one shape.
    """
    if not correct.size:
        raise ValueError("a bootstrap needs at least one seed and one image")
    if minus is not None and minus.shape != correct.shape:
        raise ValueError(f"paired predictions differ in shape: {correct.shape}, {minus.shape}")
    values_nN = correct.astype(np.float32)
    if minus is not None:
        values_nN -= minus.astype(np.float32)
    n = len(values_nN)
    generator = np.random.default_rng(seed)
    by_seed_Dn = np.concatenate(list(_resampled_means(values_nN, draws, generator)))
    seeds_Dn = generator.integers(n, size=(draws, n))
    means_D = np.take_along_axis(by_seed_Dn, seeds_Dn, axis=1).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_D, [tail, 1 - tail])
    return Bootstrap(mean=float(values_nN.mean()), low=float(low), high=float(high))


def _resampled_means(
    values_nN: npt.NDArray[np.float32], draws: int, generator: np.random.Generator
) -> Iterator[npt.NDArray[np.float32]]:
    """Each seed's mean over resampled images, D × n in parts."""
    count = values_nN.shape[1]
    step = max(1, AT_ONCE // count)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        weights_DN = generator.multinomial(count, np.full(count, 1 / count), size=size)
        yield weights_DN.astype(np.float32) @ values_nN.T / count
