"""What both terms are made of, with its gradient in closed form: two numbers per image and class.

For x_j the ξ maps of one class of one image, m their mask and S their number of places k:

    logit  l = Σ_k max_j (m_j·x_jk) / S     dl/dx_jk = m_j·[j wins at k] / S
    spread h = Σ_k max_j p_jk               dh/dx_jk = p_jk·([j wins at k] - Σ_i p_ji·[j wins at i])

where p_j is the softmax of x_j over the places. Where channels tie, the first one wins. The
gradient is built in place in the softmax, which the backward pass takes anew: between the passes
nothing but the maps themselves is kept, and within one at most one map and 2/ξ of one are made.

There are loops over the ξ channels of a class and over the runs of equal ξ, none over classes:
every step is an elementwise operation on one channel of all classes, which is much faster than
torch's maximum with indices and its scatter. `torch.compile` fuses a form of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mcl_bench.losses.channels import Run

# B batch, C channels of all classes, K classes of one run, X channels per class (ξ),
# S pixels (H·W), M masks: B or 1

UNROLLED_XI = 16
"""Up to this ξ the compiled form compares channel after channel; above, its code would be large."""

Gradients = tuple[Tensor, Tensor]
"""What arrives for the logits and for the spreads, each B×K×1."""


class _ClosedForm(torch.autograd.Function):
    """The logits and the spreads; `closed_form` is its caller."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, mask_MC)
        ctx.runs = runs
        ctx.fill = fill
        return logits_of(features, runs, mask_MC, fill=fill), spreads_of(features, runs)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dlogits_BK: Tensor, dspreads_BK: Tensor
    ) -> tuple[Tensor, None, None, None]:
        features, mask_MC = ctx.saved_tensors
        maps_BCS = _flat(features)
        compiling = torch.compiler.is_compiling()
        gradient_BCS = None if compiling else _softmax(maps_BCS)
        parts = []
        for run in ctx.runs:
            kept_MKX = _kept(mask_MC, run, maps_BCS)
            dlogits_BK1 = dlogits_BK[:, run.classes, None] / maps_BCS.shape[2]
            given = (dlogits_BK1, dspreads_BK[:, run.classes, None])
            if gradient_BCS is None:
                part = _fused_gradient(run.of(maps_BCS), kept_MKX, ctx.fill, given)
                parts.append(part.flatten(1, 2))
            else:
                _spread_gradient_(run.of(gradient_BCS), given[1])
                _add_logit_gradient_(
                    run.of(gradient_BCS), run.of(maps_BCS), kept_MKX, ctx.fill, given[0]
                )
        if gradient_BCS is None:
            gradient_BCS = _join(parts)
        gradient = gradient_BCS.to(features.dtype).view(features.shape)
        return gradient, None, None, None


def closed_form(
    features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
) -> tuple[Tensor, Tensor]:
    """The logits l and the spreads h of all classes, each B×K, float32 or float64.

    Args:
        features: B×C×H×W, any floating type and memory format; half precision counts as float32.
        mask_MC: zeros and ones, one row for all images or one for each; None for all ones.
        runs: the classes and their channels, as `channel_runs` gives them.
        fill: what a dropped channel counts as in the logits: 0 or -inf.

    Raises:
        RuntimeError: in a second derivative, which there is none of.
    """
    pair: tuple[Tensor, Tensor] = _ClosedForm.apply(features, mask_MC, runs, fill)
    return pair


def logits_of(
    features: Tensor, runs: Sequence[Run], mask_MC: Tensor | None = None, *, fill: float = 0.0
) -> Tensor:
    """The logits alone, B×K, without a gradient."""
    maps_BCS = _flat(features)
    parts = []
    for run in runs:
        kept_MKX = _kept(mask_MC, run, maps_BCS)
        parts.append(_peak(run.of(maps_BCS), kept_MKX, fill).mean(-1))
    return _join(parts)


def spreads_of(features: Tensor, runs: Sequence[Run]) -> Tensor:
    """The spreads alone, B×K, without a gradient; exactly 1 for a class of one channel."""
    maps_BCS = _flat(features)
    softmax_BCS = _softmax(maps_BCS) if any(run.xi > 1 for run in runs) else maps_BCS
    parts = []
    for run in runs:
        if run.xi == 1:
            # A softmax sums to 1 only up to rounding.
            parts.append(maps_BCS.new_ones(maps_BCS.shape[0], run.num_classes))
        else:
            parts.append(_peak(run.of(softmax_BCS)).sum(-1))
    return _join(parts)


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are.

    Autocast makes no half-precision values of them again: it lowers products of matrices and
    convolutions only, and the losses have neither.
    """
    return values.float() if values.dtype in {torch.float16, torch.bfloat16} else values


def _flat(features: Tensor) -> Tensor:
    """B×C×S in full precision: a view of contiguous or channels-last maps, a copy of others."""
    features = full_precision(features)
    if not features.is_contiguous(memory_format=torch.channels_last):
        features = features.contiguous()
    return features.flatten(2)


def _softmax(maps_BCS: Tensor) -> Tensor:
    """The softmax over the places, in the memory order of the maps."""
    if maps_BCS.is_contiguous():
        return maps_BCS.softmax(-1)
    # torch would copy maps of another order.
    return maps_BCS.transpose(1, 2).softmax(1).transpose(1, 2)


def _kept(mask_MC: Tensor | None, run: Run, like: Tensor) -> Tensor | None:
    """M×K×X, the mask of one run's channels; None for none."""
    if mask_MC is None:
        return None
    mask_MC1 = mask_MC.to(like, non_blocking=True)[:, :, None]
    return run.of(mask_MC1)[..., 0]


def _counted(
    channel_BKS: Tensor, kept_MK: Tensor, fill: float, out: Tensor | None = None
) -> Tensor:
    """What a channel of each class counts as in the logits: itself or, if dropped, `fill`."""
    if fill == 0:
        return torch.mul(channel_BKS, kept_MK[:, :, None], out=out)
    return torch.add(channel_BKS, kept_MK.log()[:, :, None], out=out)


def _peak(values_BKXS: Tensor, kept_MKX: Tensor | None = None, fill: float = 0.0) -> Tensor:
    """B×K×S, a tensor of its own: the maximum over each class's channels as they count."""
    channels = values_BKXS.unbind(2)
    if kept_MKX is None:
        peak_BKS = channels[0].clone()
    else:
        peak_BKS = _counted(channels[0], kept_MKX[:, :, 0], fill)
    # The compiler plans its own memory.
    in_place = not torch.compiler.is_compiling()
    scratch_BKS = torch.empty_like(peak_BKS) if in_place else None
    for j, channel_BKS in enumerate(channels[1:], start=1):
        counted_BKS = channel_BKS
        if kept_MKX is not None:
            counted_BKS = _counted(channel_BKS, kept_MKX[:, :, j], fill, out=scratch_BKS)
        peak_BKS = torch.maximum(peak_BKS, counted_BKS, out=peak_BKS if in_place else None)
    return peak_BKS


def _spread_gradient_(softmax_BKXS: Tensor, given_BK1: Tensor) -> None:
    """Make of the softmax, in place, the gradient of the spreads times what arrives for them."""
    if softmax_BKXS.shape[2] == 1:
        softmax_BKXS.zero_()
        return
    peak_BKS = _peak(softmax_BKXS)
    won_BKS = torch.empty_like(peak_BKS)
    for p_BKS in softmax_BKXS.unbind(2):
        torch.eq(p_BKS, peak_BKS, out=won_BKS)
        peak_BKS.add_(won_BKS, alpha=2)  # No share is above 1: nobody else wins there.
        won_BKS.mul_(p_BKS)
        won_BKS.addcmul_(p_BKS, won_BKS.sum(-1, keepdim=True), value=-1)
        torch.mul(won_BKS, given_BK1, out=p_BKS)


def _add_logit_gradient_(
    gradient_BKXS: Tensor,
    maps_BKXS: Tensor,
    kept_MKX: Tensor | None,
    fill: float,
    given_BK1: Tensor,
) -> None:
    """Add the gradient of the logits times what arrives for them."""
    peak_BKS = _peak(maps_BKXS, kept_MKX, fill)
    won_BKS = torch.empty_like(peak_BKS)
    above_all = torch.finfo(peak_BKS.dtype).max
    channels = zip(gradient_BKXS.unbind(2), maps_BKXS.unbind(2), strict=True)
    for j, (sum_BKS, channel_BKS) in enumerate(channels):
        counted_BKS, share_BK1 = channel_BKS, given_BK1
        if kept_MKX is not None:
            counted_BKS = _counted(channel_BKS, kept_MKX[:, :, j], fill, out=won_BKS)
            share_BK1 = given_BK1 * kept_MKX[:, :, j, None]
        torch.eq(counted_BKS, peak_BKS, out=won_BKS)
        peak_BKS.add_(won_BKS, alpha=above_all)
        sum_BKS.addcmul_(won_BKS, share_BK1)


def _fused_gradient(
    maps_BKXS: Tensor, kept_MKX: Tensor | None, fill: float, given: Gradients
) -> Tensor:
    """The gradient of one run's maps in the form that the compiler fuses best."""
    xi = maps_BKXS.shape[2]
    channels_X1 = torch.arange(xi, device=maps_BKXS.device, dtype=torch.int32)[:, None]
    dlogits_BKX1 = given[0][:, :, None]
    counted_BKXS = maps_BKXS
    if kept_MKX is not None:
        dlogits_BKX1 = dlogits_BKX1 * kept_MKX[..., None]
        fill_with = torch.mul if fill == 0 else torch.add
        counted_BKXS = fill_with(maps_BKXS, (kept_MKX if fill == 0 else kept_MKX.log())[..., None])
    gradient_BKXS = torch.where(_winner(counted_BKXS) == channels_X1, dlogits_BKX1, 0.0)
    if xi == 1:
        return gradient_BKXS
    softmax_BKXS = maps_BKXS.softmax(-1)
    won_BKXS = torch.where(_winner(softmax_BKXS) == channels_X1, softmax_BKXS, 0.0)
    slope_BKXS = won_BKXS - softmax_BKXS * won_BKXS.sum(-1, keepdim=True)
    return gradient_BKXS + slope_BKXS * given[1][:, :, None]


def _winner(values_BKXS: Tensor) -> Tensor:
    """B×K×1×S: which channel of each class is highest at each place, the first among equals."""
    channels = values_BKXS.unbind(2)
    if len(channels) > UNROLLED_XI:
        return values_BKXS.argmax(dim=2, keepdim=True)
    peak_BKS = channels[0]
    winner_BKS = torch.zeros_like(peak_BKS, dtype=torch.int32)
    for j, channel_BKS in enumerate(channels[1:], start=1):
        winner_BKS = torch.where(channel_BKS > peak_BKS, j, winner_BKS)
        peak_BKS = torch.maximum(peak_BKS, channel_BKS)
    return winner_BKS[:, :, None]


def _join(parts: Sequence[Tensor]) -> Tensor:
    """The parts of all runs side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
