"""A batch that goes through the network in pieces, and their terms as those of the batch."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mcl_bench.data import Batch, Mix
from mcl_bench.losses import ObjectiveTerms

SMALLEST_PIECE = 2
"""BatchNorm in training needs so many images."""


def pieces_of(batch: Batch, count: int) -> list[Batch]:
    """The batch in `count` pieces, in order; they differ by one image at most.

    There are fewer where a piece would have fewer than `SMALLEST_PIECE` images.
    """
    images = len(batch.target)
    count = max(1, min(count, images // SMALLEST_PIECE))
    if count == 1:
        return [batch]
    ends = [images * piece // count for piece in range(count + 1)]
    return [_part(batch, slice(*both)) for both in itertools.pairwise(ends)]


def joined(terms: Sequence[ObjectiveTerms], shares: Sequence[float]) -> ObjectiveTerms:
    """The terms of a batch: the means over its pieces, weighted by their `shares` of the images."""
    if len(terms) == 1:
        return terms[0]

    def mean(values: Sequence[Tensor]) -> Tensor:
        weighted = [share * value for share, value in zip(shares, values, strict=True)]
        return torch.stack(weighted).sum()

    return ObjectiveTerms(
        total=mean([one.total for one in terms]),
        parts={name: mean([one.parts[name] for one in terms]) for name in terms[0].parts},
    )


def _part(batch: Batch, images: slice) -> Batch:
    mix = batch.mix
    return Batch(
        images=batch.images[images],
        target=batch.target[images],
        indices=batch.indices[images],
        mix=None if mix is None else Mix(target=mix.target[images], share=mix.share),
    )
