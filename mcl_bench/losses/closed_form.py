"""What both terms are made of, with its gradient in closed form: two numbers per image and class.

For x_j the ξ maps of one class of one image, m their mask and S their number of places k:

    logit  l = Σ_k max_j (m_j·x_jk) / S     dl/dx_jk = m_j·[j wins at k] / S
    spread h = Σ_k max_j p_jk               dh/dx_jk = p_jk·([j wins at k] - Σ_i p_ji·[j wins at i])

where p_j is the softmax of x_j over the places. Where channels tie, the first one wins. Between the
passes nothing but the maps themselves is kept (of a small batch what was made of them too): the
backward pass takes the softmax anew, a chunk of images at a time, so that what is made of a chunk
(its maps in order, their softmax, its gradient) stays in the cache, and the gradient is the only
new map.

There are loops over the ξ channels of a class and over the runs of equal ξ, none over classes. The
winners are found by comparing each channel of all classes with their maxima, which is much faster
than torch's maximum with indices and its scatter. `torch.compile` fuses a form of its own.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mcl_bench.losses.channels import Run

# B images of a batch or a chunk, C channels of all classes, K classes (of one run), X channels per
# class (ξ), S pixels (H·W), M masks: B or 1

CHUNK_ON_CPU = 2**20
"""Values per chunk: 4 MiB in float32, about what the caches of a few cores hold."""

CHUNK_AT_LEAST = 2**18
"""Values that are not worth dividing. Larger batches have eight chunks or more, so that forward and
backward hold at most two maps together."""

CHUNK_ELSEWHERE = 2**22
"""Values per chunk on other devices, where a start of a kernel costs more than a miss."""

UNROLLED_XI = 16
"""Up to this ξ the compiled form compares channel after channel; above, its code would be large."""


class Chunk(NamedTuple):
    """Some images of a batch: which they are, their maps in full precision, and their masks."""

    images: slice
    maps_BCS: Tensor
    mask_MC: Tensor | None


class Peaks(NamedTuple):
    """What the maxima over each class's channels are taken of in one run, and the maxima."""

    counted_BKXS: Tensor
    """What each channel counts as in the logits: the maps themselves where nothing is masked."""
    of_counted_BKS: Tensor
    softmax_BKXS: Tensor
    of_softmax_BKS: Tensor


class Upstream(NamedTuple):
    """The loss's gradients with respect to the logits' sums over places, and to the spreads."""

    logit_sums_BK1: Tensor
    spreads_BK1: Tensor


class _ClosedForm(torch.autograd.Function):
    """The logits and the spreads; `closed_form` is its caller."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, mask_MC: Tensor | None, runs: tuple[Run, ...], fill: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, mask_MC)
        ctx.runs = runs
        ctx.fill = fill
        ctx.held = None
        small = features.numel() <= CHUNK_AT_LEAST and not torch.compiler.is_compiling()
        logits, spreads = [], []
        for chunk in _chunks(features, mask_MC):
            peaks = _all_peaks(chunk, runs, fill)
            logits.append(_join([peak.of_counted_BKS.mean(-1) for peak in peaks], dim=1))
            spreads.append(
                _join([_spread(peak.softmax_BKXS, peak.of_softmax_BKS) for peak in peaks], dim=1)
            )
            if small:
                ctx.held = [(chunk, peaks)]  # too little for its memory to matter
        return _join(logits), _join(spreads)

    @staticmethod
    def backward(
        ctx: Any, dlogits_BK: Tensor, dspreads_BK: Tensor
    ) -> tuple[Tensor, None, None, None]:
        # In a backward pass gradients are enabled only where it shall be differentiated itself.
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("the Mutual-Channel Loss has no second derivative (create_graph)")
        features, mask_MC = ctx.saved_tensors
        measured, ctx.held = ctx.held, None  # they are spoilt, which a second pass must not see
        if measured is None:
            chunks = _chunks(features, mask_MC)
            measured = ((chunk, _all_peaks(chunk, ctx.runs, ctx.fill)) for chunk in chunks)
        build = _fused_gradient if torch.compiler.is_compiling() else _gradient
        gradient = torch.empty_like(features)
        for chunk, peaks in measured:
            images = chunk.images
            part_BCS = build(chunk, peaks, ctx.runs, dlogits_BK[images], dspreads_BK[images])
            gradient[images] = part_BCS.view(-1, *features.shape[1:])
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
        RuntimeError: in a backward pass with `create_graph`: there is no second derivative.
    """
    pair: tuple[Tensor, Tensor] = _ClosedForm.apply(features, mask_MC, runs, fill)
    return pair


def logits_of(features: Tensor, runs: Sequence[Run]) -> Tensor:
    """The logits alone, B×K, without a mask and without a gradient."""
    parts = []
    for chunk in _chunks(features, None):
        parts.append(_join([peak_of(run.of(chunk.maps_BCS)).mean(-1) for run in runs], dim=1))
    return _join(parts)


def spreads_of(features: Tensor, runs: Sequence[Run]) -> Tensor:
    """The spreads alone, B×K, without a gradient; exactly 1 for a class of one channel."""
    parts = []
    for chunk in _chunks(features, None):
        softmax_BCS = chunk.maps_BCS.softmax(-1)
        parts.append(_join([_spread(run.of(softmax_BCS)) for run in runs], dim=1))
    return _join(parts)


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are.

    Autocast makes no half-precision values of them again: it lowers products of matrices and
    convolutions only, and the losses have neither.
    """
    return values.float() if values.dtype in {torch.float16, torch.bfloat16} else values


def _chunks(features: Tensor, mask_MC: Tensor | None) -> Iterator[Chunk]:
    """The batch in chunks of whole images, at least one; in one chunk for a compiler."""
    batch, channels, height, width = features.shape
    size = max(batch, 1)
    if not torch.compiler.is_compiling():
        most = CHUNK_ON_CPU if features.device.type == "cpu" else CHUNK_ELSEWHERE
        values = min(most, max(CHUNK_AT_LEAST, features.numel() // 8))
        size = min(size, max(1, values // (channels * height * width)))
    if mask_MC is not None:
        mask_MC = mask_MC.to(features.device, full_precision(features[:0]).dtype, non_blocking=True)
    for first in range(0, max(batch, 1), size):
        images = slice(first, first + size)
        # Other memory formats are put in order: the work on slices of them takes longer.
        maps_BCS = full_precision(features[images]).contiguous().flatten(2)
        own_MC = mask_MC if mask_MC is None or len(mask_MC) == 1 else mask_MC[images]
        yield Chunk(images, maps_BCS, own_MC)


def _all_peaks(chunk: Chunk, runs: Sequence[Run], fill: float) -> list[Peaks]:
    """The peaks of a chunk, for each run."""
    softmax_BCS = chunk.maps_BCS.softmax(-1)
    peaks = []
    for run in runs:
        counted_BKXS = all_counted(run.of(chunk.maps_BCS), kept_of(chunk.mask_MC, run), fill)
        softmax_BKXS = run.of(softmax_BCS)
        peaks.append(
            Peaks(counted_BKXS, peak_of(counted_BKXS), softmax_BKXS, peak_of(softmax_BKXS))
        )
    return peaks


def _spread(softmax_BKXS: Tensor, peak_BKS: Tensor | None = None) -> Tensor:
    """B×K: the sum over places of the peaks; a softmax's own sum is 1 only up to rounding."""
    if softmax_BKXS.shape[2] == 1:
        return softmax_BKXS.new_ones(softmax_BKXS.shape[:2])
    return (peak_of(softmax_BKXS) if peak_BKS is None else peak_BKS).sum(-1)


def _gradient(
    chunk: Chunk,
    peaks: Sequence[Peaks],
    runs: Sequence[Run],
    dlogits_BK: Tensor,
    dspreads_BK: Tensor,
) -> Tensor:
    """B×C×S: the gradient of a chunk's maps; spoils the peaks and what they are of."""
    gradient_BCS = torch.empty_like(chunk.maps_BCS)
    for run, peak in zip(runs, peaks, strict=True):
        upstream = _upstream(chunk, run, dlogits_BK, dspreads_BK)
        _spread_gradient(peak, run.of(gradient_BCS), upstream)
        _add_logit_gradient_(run.of(gradient_BCS), peak, kept_of(chunk.mask_MC, run), upstream)
    return gradient_BCS


def _upstream(chunk: Chunk, run: Run, dlogits_BK: Tensor, dspreads_BK: Tensor) -> Upstream:
    return Upstream(
        dlogits_BK[:, run.classes, None] / chunk.maps_BCS.shape[2],
        dspreads_BK[:, run.classes, None],
    )


def kept_of(mask_MC: Tensor | None, run: Run) -> Tensor | None:
    """M×K×X, the mask of one run's channels; None for none."""
    return None if mask_MC is None else run.of(mask_MC[:, :, None])[..., 0]


def peak_of(values_BKXS: Tensor) -> Tensor:
    """B×K×S: the maximum over each class's channels."""
    channels = values_BKXS.unbind(2)
    if not torch.compiler.is_compiling() or len(channels) > UNROLLED_XI:
        return values_BKXS.amax(2)
    return functools.reduce(torch.maximum, channels)  # in which a compiler sees no reduction


def _spread_gradient(peaks: Peaks, out_BKXS: Tensor, upstream: Upstream) -> None:
    """Write the loss's gradient through the spreads."""
    softmax_BKXS = peaks.softmax_BKXS
    if softmax_BKXS.shape[2] == 1:
        out_BKXS.zero_()
        return
    # No share is above 1: with 2 added, a place that has been won is won by nobody else.
    _mark_winners(softmax_BKXS, peaks.of_softmax_BKS, out_BKXS, added=2.0)
    out_BKXS.mul_(softmax_BKXS)
    out_BKXS.addcmul_(softmax_BKXS, out_BKXS.sum(-1, keepdim=True), value=-1)
    out_BKXS.mul_(upstream.spreads_BK1[:, :, None])


def _add_logit_gradient_(
    gradient_BKXS: Tensor, peaks: Peaks, kept_MKX: Tensor | None, upstream: Upstream
) -> None:
    """Add, in place, the loss's gradient through the logits."""
    share_BKX1 = upstream.logit_sums_BK1[:, :, None]
    if kept_MKX is not None:
        share_BKX1 = share_BKX1 * kept_MKX[..., None]
    counted_BKXS, peak_BKS = peaks.counted_BKXS, peaks.of_counted_BKS
    won_BKXS = torch.empty_like(counted_BKXS) if kept_MKX is None else counted_BKXS
    _mark_winners(counted_BKXS, peak_BKS, won_BKXS, added=torch.finfo(peak_BKS.dtype).max)
    gradient_BKXS.addcmul_(won_BKXS, share_BKX1)


def all_counted(maps_BKXS: Tensor, kept_MKX: Tensor | None, fill: float) -> Tensor:
    """What each channel counts as in the logits: itself or, if dropped, `fill`."""
    if kept_MKX is None:
        return maps_BKXS
    kept_MKX1 = kept_MKX[..., None]
    return maps_BKXS * kept_MKX1 if fill == 0 else maps_BKXS + kept_MKX1.log()


def _mark_winners(values_BKXS: Tensor, peak_BKS: Tensor, out_BKXS: Tensor, added: float) -> None:
    """Write 1 where a channel is its class's first to have the peak, else 0; spoils the peak.

    `added` lifts a peak out of reach once it has been won. The output may be the values.
    """
    channels = zip(values_BKXS.unbind(2), out_BKXS.unbind(2), strict=True)
    for j, (channel_BKS, won_BKS) in enumerate(channels, start=1):
        torch.eq(channel_BKS, peak_BKS, out=won_BKS)
        if j < values_BKXS.shape[2]:
            peak_BKS.add_(won_BKS, alpha=added)


def _fused_gradient(
    chunk: Chunk,
    peaks: Sequence[Peaks],
    runs: Sequence[Run],
    dlogits_BK: Tensor,
    dspreads_BK: Tensor,
) -> Tensor:
    """`_gradient` in the form that a compiler fuses best."""
    parts = []
    for run, peak in zip(runs, peaks, strict=True):
        upstream = _upstream(chunk, run, dlogits_BK, dspreads_BK)
        part_BKXS = _fused_run(peak, kept_of(chunk.mask_MC, run), upstream)
        parts.append(part_BKXS.flatten(1, 2))
    return _join(parts, dim=1)


def _fused_run(peaks: Peaks, kept_MKX: Tensor | None, upstream: Upstream) -> Tensor:
    share_BKX1 = upstream.logit_sums_BK1[:, :, None]
    if kept_MKX is not None:
        share_BKX1 = share_BKX1 * kept_MKX[..., None]
    gradient_BKXS = torch.where(wins(peaks.counted_BKXS), share_BKX1, 0.0)
    softmax_BKXS = peaks.softmax_BKXS
    if softmax_BKXS.shape[2] == 1:
        return gradient_BKXS
    won_BKXS = torch.where(wins(softmax_BKXS), softmax_BKXS, 0.0)
    slope_BKXS = won_BKXS - softmax_BKXS * won_BKXS.sum(-1, keepdim=True)
    return gradient_BKXS + slope_BKXS * upstream.spreads_BK1[:, :, None]


def wins(values_BKXS: Tensor) -> Tensor:
    """B×K×X×S: whether a channel is the highest of its class at a place, the first among equals."""
    return winner_of(values_BKXS)[:, :, None] == positions(values_BKXS)


def positions(values_BKXS: Tensor) -> Tensor:
    """X×1: 0 to X - 1, the places of a class's channels among them."""
    places_X = torch.arange(values_BKXS.shape[2], device=values_BKXS.device, dtype=torch.int32)
    return places_X[:, None]


def winner_of(values_BKXS: Tensor) -> Tensor:
    """B×K×S: which channel of each class is highest at each place, the first among equals."""
    channels = values_BKXS.unbind(2)
    if len(channels) > UNROLLED_XI:
        return values_BKXS.argmax(dim=2).to(torch.int32)
    peak_BKS = channels[0]
    winner_BKS = torch.zeros_like(peak_BKS, dtype=torch.int32)
    for j, channel_BKS in enumerate(channels[1:], start=1):
        winner_BKS = torch.where(channel_BKS > peak_BKS, j, winner_BKS)
        peak_BKS = torch.maximum(peak_BKS, channel_BKS)
    return winner_BKS


def _join(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)
