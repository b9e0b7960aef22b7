"""The closed form for `mc_loss(compiled=True)`: two kernels that torch.compile makes of it.

The gradient is taken where the values are, in the forward pass: the first kernel reads the maps
once and leaves the logits, the spreads and, as the only new map, the slope dh/dx of the spreads.
The second kernel makes the loss's gradient of the slope, in place, once the two weights are known.
Both work on a few images at a time, so that what they hold in between stays in the cache.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mcl_bench.losses.channels import Run
from mcl_bench.losses.closed_form import all_counted, full_precision, kept_of, wins

# B images of a batch or a chunk, C channels of all classes, K classes (of one run), X channels per
# class (ξ), S pixels (H·W), M masks: B or 1

CHUNK_ON_CPU = 2**19
"""About the values that a kernel is given at once: 2 MiB in float32."""


class _Fused(torch.autograd.Function):
    """The logits and the spreads; `fused_form` is its caller."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
    ) -> tuple[Tensor, Tensor]:
        logits_BK, spreads_BK, slope_BCS = _measured(features, mask_MC, runs, fill)
        ctx.save_for_backward(features, mask_MC)
        ctx.slope = slope_BCS
        ctx.runs, ctx.fill = runs, fill
        return logits_BK, spreads_BK

    @staticmethod
    def backward(
        ctx: Any, dlogits_BK: Tensor, dspreads_BK: Tensor
    ) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("the Mutual-Channel Loss has no second derivative (create_graph)")
        features, mask_MC = ctx.saved_tensors
        gradient_BCS, ctx.slope = ctx.slope, None
        if gradient_BCS is None:  # a second backward pass over a retained graph
            gradient_BCS = _measured(features, mask_MC, ctx.runs, ctx.fill)[2]
        finish = _kernel(_finish_gradient_)
        weights_BK = dlogits_BK / gradient_BCS.shape[2]
        for images, maps_BCS, own_MC in _chunks(features, mask_MC):
            part_BCS = gradient_BCS[images]
            finish(
                part_BCS, maps_BCS, own_MC, ctx.runs, ctx.fill, weights_BK[images],
                dspreads_BK[images],
            )  # fmt: skip
        return gradient_BCS.view(features.shape).to(features.dtype), None, None, None


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
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits and the spreads, B×K, and the slope of the spreads, B×C×S."""
    measure = _kernel(_measure)
    slope_BCS = full_precision(features[:0]).new_empty(features.flatten(2).shape)
    parts = [
        measure(maps_BCS, own_MC, runs, fill, slope_BCS[images])
        for images, maps_BCS, own_MC in _chunks(features, mask_MC)
    ]
    logits_BK, spreads_BK = (torch.cat(values) for values in zip(*parts, strict=True))
    return logits_BK, spreads_BK, slope_BCS


@cache
def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled; it is compiled anew for other widths, places and groups."""
    return torch.compile(function, fullgraph=True)


def _chunks(
    features: Tensor, mask_MC: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Some images at a time: which they are, their maps B×C×S, and their masks."""
    batch, channels, height, width = features.shape
    size = batch
    if features.device.type == "cpu":
        size = max(1, min(batch, CHUNK_ON_CPU // (channels * height * width)))
    if mask_MC is not None:
        mask_MC = mask_MC.to(features.device, full_precision(features[:0]).dtype, non_blocking=True)
    for first in range(0, batch, max(size, 1)):
        images = slice(first, min(first + size, batch))
        own_MC = mask_MC if mask_MC is None or len(mask_MC) == 1 else mask_MC[images]
        yield images, full_precision(features[images]).contiguous().flatten(2), own_MC


def _measure(
    maps_BCS: Tensor,
    mask_MC: Tensor | None,
    runs: Sequence[Run],
    fill: float,
    slope_BCS: Tensor,
) -> tuple[Tensor, Tensor]:
    """The logits and the spreads of a chunk; writes the slope of the spreads."""
    logits, spreads = [], []
    for run in runs:
        maps_BKXS, slope_BKXS = run.of(maps_BCS), run.of(slope_BCS)
        counted_BKXS = all_counted(maps_BKXS, kept_of(mask_MC, run), fill)
        logits.append(_peak(counted_BKXS).mean(-1))
        if run.xi == 1:
            spreads.append(torch.ones_like(logits[-1]))
            slope_BKXS.zero_()
            continue
        softmax_BKXS = maps_BKXS.softmax(-1)
        spreads.append(_peak(softmax_BKXS).sum(-1))
        won_BKXS = torch.where(wins(softmax_BKXS), softmax_BKXS, 0.0)
        slope_BKXS.copy_(won_BKXS - softmax_BKXS * won_BKXS.sum(-1, keepdim=True))
    return torch.cat(logits, dim=1), torch.cat(spreads, dim=1)


def _finish_gradient_(
    slope_BCS: Tensor,
    maps_BCS: Tensor,
    mask_MC: Tensor | None,
    runs: Sequence[Run],
    fill: float,
    dlogit_sums_BK: Tensor,
    dspreads_BK: Tensor,
) -> None:
    """Make the loss's gradient of the slope of the spreads, in place."""
    for run in runs:
        share_BKX1 = dlogit_sums_BK[:, run.classes, None, None]
        if mask_MC is not None:
            share_BKX1 = share_BKX1 * run.of(mask_MC[:, :, None])
        counted_BKXS = all_counted(run.of(maps_BCS), kept_of(mask_MC, run), fill)
        through_logits_BKXS = torch.where(wins(counted_BKXS), share_BKX1, 0.0)
        weight_BK11 = dspreads_BK[:, run.classes, None, None]
        slope_BKXS = run.of(slope_BCS)
        slope_BKXS.copy_(slope_BKXS * weight_BK11 + through_logits_BKXS)


def _peak(values_BKXS: Tensor) -> Tensor:
    """B×K×S: the maximum over each class's channels, in the form that is fused best."""
    peak_BKS, *rest = values_BKXS.unbind(2)
    for channel_BKS in rest:
        peak_BKS = torch.maximum(peak_BKS, channel_BKS)
    return peak_BKS
