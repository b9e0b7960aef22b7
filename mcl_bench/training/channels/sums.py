"""What the maps say by themselves: how different a class's channels are, and whose they are."""

# B batch, N images, K classes, C maps, X channels per class (ξ), H×W positions, S = H·W,
# V values per image

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mcl_bench.losses.channels import Run, channel_runs

MASKS = 4
"""How many fixed masks `alignment_masked` is the mean of, or ξ where that is less."""

_CACHED_VALUES = 1 << 18
"""Activations that are counted together on a CPU: few enough to stay in its cache."""

MEANS = (
    "diversity",
    "entropy",
    "alignment",
    "alignment_masked",
    "own_top1",
    "own_energy",
    "peak",
)
"""What is measured at each evaluation, by the names of the metrics."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelFacts:
    """Channel analysis over a set of N images; each is a mean over images, sums in float64.

    `diversity`: h/ξ, over classes too, in (0, 1]: 1/ξ where a class's channels are equal, 1 where
    none overlap.
    `entropy`: the entropy of a map's softmax over its S positions, as a share of log S, over maps
    too: 0 where one position has it all, 1 where the map is flat. Flat maps have h = 1.
    `alignment`: share of images whose own class wins in the parameter-free branch, argmax over
    classes of GAP(max over the class's channels), with no mask.
    `alignment_masked`: the same where ⌊ξ/2⌋ channels of each class are multiplied by 0, as a mean
    over the masks that `kept_channels` lists; None where ξ = 1.
    `own_top1`: share of images that the main head gets right when every channel but the true
    class's is 0; None where no head was given.
    `own_energy`: the true class's channels' share of the sum of squared activations, 0..1; where
    nothing is active their share of the channels, ξ/C.
    `peak`: the highest activation of a map, over maps too, in the activations' unit: the softmax
    over positions, and with it h and the entropy, depends on that scale.

    By class (NaN without images of it): `diversity_K` of the class's channels over all images,
    `alignment_K` and `own_energy_K` over the class's own images, `images_K` counts these.
    """

    diversity: float
    entropy: float
    alignment: float
    alignment_masked: float | None
    own_top1: float | None
    own_energy: float
    peak: float
    images_K: Tensor
    diversity_K: Tensor
    alignment_K: Tensor
    own_energy_K: Tensor

    def metrics(self, prefix: str) -> dict[str, float]:
        """The means by their names, `prefix/diversity` and so on; what is None is left out."""
        found = {f"{prefix}/{name}": getattr(self, name) for name in MEANS}
        return {name: value for name, value in found.items() if value is not None}


class ChannelSums:
    """Adds up batches of maps; the sums stay on the device until `facts` asks for them.

    Args:
        groups: channels per class, K positive integers.
        read: what the main head says of B×C×H×W maps, B×K logits; None leaves `own_top1` out.
    """

    def __init__(
        self, groups: Sequence[int], *, read: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self._runs = channel_runs(groups)
        self._groups = torch.tensor(groups)
        self._masks = 0 if max(groups) == 1 else min(MASKS, max(groups))
        self._read = read
        self._owner_C = torch.arange(len(groups)).repeat_interleave(self._groups)
        self._targets: list[Tensor] = []
        self._values: list[dict[str, Tensor]] = []
        self._diversity: list[Tensor] = []

    def add(self, maps_BCHW: Tensor, target_B: Tensor) -> None:
        """Count one batch of float32 or float64 maps."""
        self._owner_C = self._owner_C.to(maps_BCHW.device)
        at_once = len(target_B)
        if maps_BCHW.device.type == "cpu":
            at_once = max(1, _CACHED_VALUES // maps_BCHW[0].numel())
        parts = zip(torch.split(maps_BCHW, at_once), torch.split(target_B, at_once), strict=True)
        for part_BCHW, part_B in parts:
            self._count(part_BCHW, part_B)

    def _count(self, maps_BCHW: Tensor, target_B: Tensor) -> None:
        own_BC = self._owner_C == target_B[:, None]
        maps_BCS = maps_BCHW.flatten(2).contiguous()
        log_spread_BCS = maps_BCS.log_softmax(-1)
        spread_BCS = log_spread_BCS.exp()
        shares_BK = torch.cat([_shares(spread_BCS, run) for run in self._runs], dim=1)
        self._diversity.append(shares_BK.double().sum(0))
        self._targets.append(target_B)
        values = {
            "entropy": _entropy(spread_BCS, log_spread_BCS),
            "peak": maps_BCS.amax(2).mean(1),
            "own_energy": _own_energy(maps_BCS, own_BC),
            **self._aligned(maps_BCS, target_B),
        }
        if self._read is not None:
            logits_BK = self._read(maps_BCHW * own_BC[:, :, None, None])
            values["own_top1"] = logits_BK.argmax(1) == target_B
        self._values.append(values)

    def _aligned(self, maps_BCS: Tensor, target_B: Tensor) -> dict[str, Tensor]:
        """Whether the own class wins in the parameter-free branch: for each image, 0..1."""
        logits: list[list[Tensor]] = [[] for _ in range(1 + self._masks)]
        for run in self._runs:
            values_BKXS = _by_class(maps_BCS, run)
            logits[0].append(values_BKXS.amax(2).mean(-1))
            for which in range(self._masks):
                logits[1 + which].append(_masked_logits(values_BKXS, which, self._masks))
        right_MB = torch.stack([torch.cat(parts, 1).argmax(1) == target_B for parts in logits])
        aligned = {"alignment": right_MB[0]}
        if self._masks:
            aligned["alignment_masked"] = right_MB[1:].double().mean(0)
        return aligned

    def facts(self) -> ChannelFacts:
        """The means over all images counted so far; at least one is needed."""
        label_N = torch.cat(self._targets).cpu()
        values = {
            name: torch.cat([part[name] for part in self._values]).cpu().double()
            for name in self._values[0]
        }
        diversity_K = torch.stack(self._diversity).sum(0).cpu() / len(label_N)
        num_classes = len(diversity_K)
        images_K = label_N.bincount(minlength=num_classes)

        def by_class(name: str) -> Tensor:
            return label_N.bincount(values[name], minlength=num_classes) / images_K

        def mean(name: str) -> float | None:
            return values[name].mean().item() if name in values else None

        return ChannelFacts(
            diversity=diversity_K.mean().item(),
            entropy=values["entropy"].mean().item(),
            alignment=values["alignment"].mean().item(),
            alignment_masked=mean("alignment_masked"),
            own_top1=mean("own_top1"),
            own_energy=values["own_energy"].mean().item(),
            peak=values["peak"].mean().item(),
            images_K=images_K,
            diversity_K=diversity_K,
            alignment_K=by_class("alignment"),
            own_energy_K=by_class("own_energy"),
        )


def kept_channels(xi: int, which: int, count: int) -> list[int]:
    """The channels of a class that mask `which` of `count` keeps: ⌈ξ/2⌉ of 0..ξ-1.

    They are neighbours, with the first after the last, from ⌊which·ξ/count⌋ on; the masks differ
    in where they start, evenly spaced. One mask does the same in all classes of one ξ.
    """
    start = which * xi // count
    return [(start + step) % xi for step in range(xi - xi // 2)]


def _by_class(values_BCS: Tensor, run: Run) -> Tensor:
    """B×K×X×S: the channels of the classes of one run."""
    batch, _, positions = values_BCS.shape
    return values_BCS[:, run.channels].view(batch, run.num_classes, run.xi, positions)


def _shares(spread_BCS: Tensor, run: Run) -> Tensor:
    """B×K: h/ξ; exactly 1 for a class of one channel."""
    if run.xi == 1:
        return spread_BCS.new_ones(len(spread_BCS), run.num_classes)
    return _by_class(spread_BCS, run).amax(2).sum(-1) / run.xi


def _masked_logits(values_BKXS: Tensor, which: int, count: int) -> Tensor:
    """B×K: the mean over positions of the maximum over a class's masked channels."""
    xi = values_BKXS.shape[2]
    if xi == 1:
        return values_BKXS[:, :, 0].mean(-1)
    kept = kept_channels(xi, which, count)
    # Neighbours are read where they lie: taking them by index would copy them.
    ends = (slice(kept[0], min(kept[0] + len(kept), xi)), slice(0, kept[-1] + 1))
    peaks_BKS = values_BKXS[:, :, ends[0]].amax(2)
    if kept[-1] < kept[0]:
        peaks_BKS = peaks_BKS.maximum(values_BKXS[:, :, ends[1]].amax(2))
    # A dropped channel is 0 and takes part in the maximum.
    return peaks_BKS.clamp_min(0).mean(-1)


def _entropy(spread_BCS: Tensor, log_spread_BCS: Tensor) -> Tensor:
    """B: the mean over maps of -Σ p·log p / log S; 0 where there is one position."""
    positions = spread_BCS.shape[-1]
    total_B = -(spread_BCS * log_spread_BCS).sum((1, 2))
    return total_B / (spread_BCS.shape[1] * math.log(max(positions, 2)))


def _own_energy(maps_BCS: Tensor, own_BC: Tensor) -> Tensor:
    """B: the own channels' share of the sum of squares, or of the channels if that sum is 0."""
    energy_BC = maps_BCS.square().sum(2).double()
    energy_BC = torch.where(energy_BC.sum(1, keepdim=True) > 0, energy_BC, 1.0)
    return (energy_BC * own_BC).sum(1) / energy_BC.sum(1)
