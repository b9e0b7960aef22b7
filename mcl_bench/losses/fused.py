"""The closed form for `mc_loss(compiled=True)`: two kernels that torch.compile makes of it.

The gradient is taken where the values are, in the forward pass: the first kernel reads the maps
once and leaves the logits, the spreads, which channel wins at each place and, as the only new map,
the slope dh/dx of the spreads. Once the two weights are known, the second kernel makes the loss's
gradient of the slope, in place and without the maps.
Both work on a few images at a time, so that what they hold in between stays in the cache.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mcl_bench.losses.channels import Run
from mcl_bench.losses.closed_form import (
    all_counted,
    full_precision,
    kept_of,
    peak_of,
    positions,
    winner_of,
    wins,
)

# B images of a batch or a chunk, C channels of all classes, K classes (of one run), X channels per
# class (ξ), S pixels (H·W), M masks: B or 1

CHUNK_ON_CPU = 2**19
"""About the values that a kernel is given at once: 2 MiB in float32."""


class Made(NamedTuple):
    """What the first kernel leaves for the second."""

    slope_BCS: Tensor
    winners_BKS: Tensor
    """Which channel of each class counts most in the logits, the first among equals."""


class _Fused(torch.autograd.Function):
    """The logits and the spreads; `fused_form` is its caller."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
    ) -> tuple[Tensor, Tensor]:
        logits_BK, spreads_BK, ctx.made = _measured(features, mask_MC, runs, fill)
        ctx.save_for_backward(features, mask_MC)
        ctx.runs, ctx.fill = runs, fill
        return logits_BK, spreads_BK

    @staticmethod
    def backward(
        ctx: Any, dlogits_BK: Tensor, dspreads_BK: Tensor
    ) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("the Mutual-Channel Loss has no second derivative (create_graph)")
        features, mask_MC = ctx.saved_tensors
        made, ctx.made = ctx.made, None
        if made is None:  # a second backward pass over a retained graph
            made = _measured(features, mask_MC, ctx.runs, ctx.fill)[2]
        finish = _kernel(_finish_gradient_)
        weights_BK = dlogits_BK / made.slope_BCS.shape[2]
        for images, own_MC in _chunks(features, mask_MC):
            finish(
                made.slope_BCS[images], made.winners_BKS[images], own_MC, ctx.runs,
                weights_BK[images], dspreads_BK[images],
            )  # fmt: skip
        return made.slope_BCS.view(features.shape).to(features.dtype), None, None, None


def fused_form(
    features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
) -> tuple[Tensor, Tensor]:
    """What `closed_form` gives, with the same arguments, by compiled kernels.

    Raises:
        RuntimeError: in a backward pass with `create_graph`: there is no second derivative.
    """
    pair: tuple[Tensor, Tensor] = _Fused.apply(features, mask_MC, runs, fill)
    return pair


def _measured(
    features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
) -> tuple[Tensor, Tensor, Made]:
    """The logits and the spreads, B×K, and what their gradient is made of."""
    measure = _kernel(_measure)
    maps_BCS = features.flatten(2)
    batch, _, pixels = maps_BCS.shape
    made = Made(
        full_precision(maps_BCS[:0]).new_empty(maps_BCS.shape),
        torch.empty(
            (batch, runs[-1].classes.stop, pixels),
            dtype=torch.uint8 if max(run.xi for run in runs) <= 256 else torch.int32,
            device=features.device,
        ),
    )
    parts = []
    for images, own_MC in _chunks(features, mask_MC):
        own_BCS = full_precision(features[images]).contiguous().flatten(2)
        parts.append(measure(own_BCS, own_MC, runs, fill, Made(*(part[images] for part in made))))
    logits_BK, spreads_BK = (torch.cat(values) for values in zip(*parts, strict=True))
    return logits_BK, spreads_BK, made


@cache
def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled; it is compiled anew for other widths, places and groups."""
    return torch.compile(function, fullgraph=True)


def _chunks(features: Tensor, mask_MC: Tensor | None) -> Iterator[tuple[slice, Tensor | None]]:
    """Some images at a time: which they are, and their masks."""
    batch, channels, height, width = features.shape
    size = batch
    if features.device.type == "cpu":
        size = max(1, min(batch, CHUNK_ON_CPU // (channels * height * width)))
    if mask_MC is not None:
        mask_MC = mask_MC.to(features.device, full_precision(features[:0]).dtype, non_blocking=True)
    for first in range(0, batch, max(size, 1)):
        images = slice(first, min(first + size, batch))
        own_MC = mask_MC if mask_MC is None or len(mask_MC) == 1 else mask_MC[images]
        yield images, own_MC


def _measure(
    maps_BCS: Tensor, mask_MC: Tensor | None, runs: Sequence[Run], fill: float, made: Made
) -> tuple[Tensor, Tensor]:
    """The logits and the spreads of a chunk; writes what is made for the second kernel."""
    logits, spreads = [], []
    for run in runs:
        maps_BKXS, slope_BKXS = run.of(maps_BCS), run.of(made.slope_BCS)
        counted_BKXS = all_counted(maps_BKXS, kept_of(mask_MC, run), fill)
        logits.append(peak_of(counted_BKXS).mean(-1))
        made.winners_BKS[:, run.classes].copy_(winner_of(counted_BKXS))
        if run.xi == 1:
            spreads.append(torch.ones_like(logits[-1]))
            slope_BKXS.zero_()
            continue
        softmax_BKXS = _softmax(maps_BKXS)
        won_BKXS = torch.where(wins(softmax_BKXS), softmax_BKXS, 0.0)
        shares_BKX1 = won_BKXS.sum(-1, keepdim=True)
        spreads.append(shares_BKX1.sum((2, 3)))
        slope_BKXS.copy_(won_BKXS - softmax_BKXS * shares_BKX1)
    return torch.cat(logits, dim=1), torch.cat(spreads, dim=1)


def _softmax(maps_BKXS: Tensor) -> Tensor:
    """The softmax over places, without its divisions: fused, they'd be done again and again."""
    exponentials_BKXS = (maps_BKXS - maps_BKXS.amax(-1, keepdim=True)).exp()
    return exponentials_BKXS * exponentials_BKXS.sum(-1, keepdim=True).reciprocal()


def _finish_gradient_(
    slope_BCS: Tensor,
    winners_BKS: Tensor,
    mask_MC: Tensor | None,
    runs: Sequence[Run],
    dlogit_sums_BK: Tensor,
    dspreads_BK: Tensor,
) -> None:
    """Make the loss's gradient of the slope of the spreads, in place."""
    for run in runs:
        share_BKX1 = dlogit_sums_BK[:, run.classes, None, None]
        if mask_MC is not None:
            share_BKX1 = share_BKX1 * run.of(mask_MC[:, :, None])
        slope_BKXS = run.of(slope_BCS)
        won_BKXS = winners_BKS[:, run.classes, None].to(torch.int32) == positions(slope_BKXS)
        through_logits_BKXS = torch.where(won_BKXS, share_BKX1, 0.0)
        weight_BK11 = dspreads_BK[:, run.classes, None, None]
        slope_BKXS.copy_(slope_BKXS * weight_BK11 + through_logits_BKXS)
