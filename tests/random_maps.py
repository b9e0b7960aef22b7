"""Random maps, targets and masks of a few groupings, for tests of the losses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl_bench.losses import draw_mask

EVEN = (3, 3, 3, 3)
UNEVEN = (2, 2, 2, 3, 3)
ARBITRARY = (4, 1, 1, 3, 2, 2)
SINGLE = (1, 1, 1)


def random_maps(
    groups: Sequence[int], *, batch: int = 4, height: int = 2, width: int = 3, seed: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, sum(groups), height, width)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_target(groups: Sequence[int], *, batch: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(groups), (batch,), generator=generator)


def random_mask(groups: Sequence[int], *, ratio: float = 0.5, seed: int = 0) -> Tensor:
    return draw_mask(groups, ratio, generator=torch.Generator().manual_seed(seed))
