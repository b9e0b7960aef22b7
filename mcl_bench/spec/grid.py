"""The grid over a cell's search space: every combination of its ranges' points, by number."""

import math
from collections.abc import Mapping
from typing import Any

from mcl_bench.spec.space import Range


def num_grid_points(space: Mapping[str, Range]) -> int:
    """How many points the grid has; 1 where nothing is searched."""
    return math.prod(len(values.grid) for values in space.values())


def grid_point(space: Mapping[str, Range], index: int) -> dict[str, Any]:
    """The point of this number: the last key by name changes with every point.

    The order in which a file writes its keys does not matter.
    """
    found = {}
    for name in sorted(space, reverse=True):
        index, place = divmod(index, len(space[name].grid))
        found[name] = space[name].grid[place]
    return found
