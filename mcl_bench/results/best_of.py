"""What a budget buys: the best validation value to be expected of a smaller search; pure."""

from collections.abc import Sequence

import numpy as np


def budget_sizes(count: int) -> list[int]:
    """The sizes of searches that tables tell of: 1, 2, 4, … below `count`, then `count` itself."""
    return [*(2**k for k in range(count.bit_length()) if 2**k < count), *([count] if count else [])]


def expected_best(
    values: Sequence[float | None], sizes: Sequence[int], *, minimise: bool = False
) -> list[float | None]:
    """The expected best value among `n` of the search trials, for each n of `sizes`.

    `values` has every trial of the search, None for one without a value (pruned, diverged,
    failed), which costs its place and is never best. Exact for n trials drawn without replacement:
    the i-th best of N is the best of the n with probability C(N - i, n - 1) / C(N, n). That takes
    trials for exchangeable, as random search makes them; of a sampler that learns, early trials
    are worse, so that its curve is too good at small n. None where no trial among n may have a
    value.

    Raises:
        ValueError: a size is below 1 or above the number of trials.
    """
    count = len(values)
    known = sorted((value for value in values if value is not None), reverse=not minimise)
    found: list[float | None] = []
    for size in sizes:
        if not 1 <= size <= count:
            raise ValueError(f"a size must be 1 to {count}, the number of trials, got {size}")
        chances = _chances(count, size)[: len(known)]
        share = float(chances.sum())
        found.append(float(chances @ np.asarray(known)) / share if share > 0 else None)
    return found


def _chances(count: int, size: int) -> np.ndarray:
    """The chance of each place, from the best, to be the best of `size` of `count`."""
    chances = np.zeros(count)
    left = 1.0
    for place in range(count - size + 1):
        chance = left * size / (count - place)
        chances[place] = chance
        left -= chance
    return chances
