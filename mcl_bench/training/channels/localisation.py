"""What the true class's channels look at: the object's parts or box, and always the same part."""

# B batch, N images, K classes, C maps, X channels of the widest class (ξ), P parts,
# H×W positions, S = H·W

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mcl_bench.training.channels.landmarks import Landmarks, cell_centres

HALF_WINDOW = 36 / 224
"""Half the side of the window round a channel's peak, as a share of the crop's side."""

CONSISTENT = 0.8
"""The share of a class's images in which a consistent channel must find the same part.

Source of both: Huang et al., "Evaluation and Improvement of Interpretability for Self-Explainable
Part-Prototype Networks", ICCV 2023.
"""

SHUFFLES = 10
"""How many times images are shuffled for the consistency's chance level."""

MEANS = ("pointing", "pointing_chance", "energy_box", "consistency", "consistency_chance")
"""What is measured of places, by the names of the metrics."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """Where the true class's channels peak, over N images; what can't be told is None.

    A sight is an image, with something known in it, and one of its class's channels that has an
    activation there. The first three are means over sights: `pointing` is the share whose peak's
    cell has its centre in the known region (the box where the set has boxes, else within 15/224 of
    the crop's side of a visible part), `pointing_chance` what a random cell gives, which is the
    region's share of the cells, and `energy_box` the share of the map's softmax that lies there
    (a flat map's is `pointing_chance`).

    `consistency` is the share of channels of classes with images and parts that find one and the
    same part, within a window of 72/224 of the crop's side round the peak, in 80 % of the class's
    images where that part is visible; `consistency_chance` is the same where each image has the
    parts of another, drawn at random. `pointing_K` is by class, NaN where it has no sight.
    """

    pointing: float | None
    pointing_chance: float | None
    energy_box: float | None
    consistency: float | None
    consistency_chance: float | None
    pointing_K: Tensor

    def metrics(self, prefix: str) -> dict[str, float]:
        """The means by their names, `prefix/pointing` and so on; what is None is left out."""
        found = {f"{prefix}/{name}": getattr(self, name) for name in MEANS}
        return {name: value for name, value in found.items() if value is not None}


class Sights:
    """Adds up batches of own maps; keeps a few numbers of each map, not the map.

    Args:
        landmarks: those of all images of the set.
    """

    def __init__(self, landmarks: Landmarks) -> None:
        self._landmarks = landmarks
        self._size = (1, 1)
        self._indices: list[Tensor] = []
        self._values: list[tuple[Tensor, ...]] = []

    def add(self, own_BXHW: Tensor, target_B: Tensor, indices_B: Tensor) -> None:
        """Count one batch: maps of the true class's channels, empty places zero."""
        self._size = (own_BXHW.shape[2], own_BXHW.shape[3])
        own_BXS = own_BXHW.flatten(2)
        region_BS = self._landmarks.of(indices_B).region(*self._size).to(own_BXS.device)
        cell_BX, active_BX = own_BXS.argmax(-1), own_BXS.amax(-1) > 0
        hit_BX = region_BS.gather(1, cell_BX)
        energy_BX = (own_BXS.softmax(-1) * region_BS[:, None]).sum(-1)
        share_B1 = region_BS.double().mean(1, keepdim=True)
        self._indices.append(indices_B)
        self._values.append((target_B, cell_BX, active_BX, hit_BX, energy_BX, share_B1))

    def localisation(self, groups: Sequence[int]) -> Localisation:
        """The scores over all images counted so far; `groups` has the channels per class."""
        label_N, cell_NX, active_NX, hit_NX, energy_NX, share_N1 = (
            torch.cat(parts).cpu() for parts in zip(*self._values, strict=True)
        )
        places = self._landmarks.of(torch.cat(self._indices))
        sight_NX = active_NX & places.known()[:, None]

        def mean(value_NX: Tensor) -> float | None:
            return value_NX[sight_NX].double().mean().item() if sight_NX.any() else None

        def by_class(value_NX: Tensor) -> Tensor:
            return label_N.bincount(value_NX.double().sum(1), minlength=len(groups))

        steady, chance = consistency(
            cell_centres(*self._size)[cell_NX], active_NX, label_N, groups=groups, places=places
        )
        return Localisation(
            pointing=mean(hit_NX),
            pointing_chance=mean(share_N1.expand_as(hit_NX)),
            energy_box=mean(energy_NX),
            consistency=steady,
            consistency_chance=chance,
            pointing_K=by_class(hit_NX & sight_NX) / by_class(sight_NX),
        )


def consistency(
    peak_NX2: Tensor,
    active_NX: Tensor,
    label_N: Tensor,
    *,
    groups: Sequence[int],
    places: Landmarks,
) -> tuple[float | None, float | None]:
    """The share of consistent channels, and its chance level: None where there is no part to find.

    `peak_NX2` has x and y of the peaks of the true class's channels as shares of the crop, and
    `active_NX` tells which have one: a channel without activation finds nothing. The chance level
    is the mean over SHUFFLES fixed shuffles of the images' parts.
    """
    owned_KX = torch.arange(peak_NX2.shape[1]) < torch.tensor(groups)[:, None]

    def share(order_N: Tensor) -> float | None:
        visible_NP = places.visible_NP[order_N]
        offset_NXP2 = peak_NX2[:, :, None] - places.parts_NP2[order_N][:, None]
        near_NXP = (offset_NXP2.abs() <= HALF_WINDOW).all(-1)
        found_NXP = near_NXP & visible_NP[:, None] & active_NX[:, :, None]
        seen_KP = _by_class(visible_NP, label_N, len(groups))
        rate_KXP = _by_class(found_NXP, label_N, len(groups)) / seen_KP[:, None]
        unit_KX = owned_KX & (seen_KP > 0).any(1, keepdim=True)
        # 0/0, of a part that is never seen, compares as False.
        steady_KX = (rate_KXP >= CONSISTENT).any(-1) & unit_KX
        return (steady_KX.sum() / unit_KX.sum()).item() if unit_KX.any() else None

    count = len(label_N)
    steady = share(torch.arange(count))
    generator = torch.Generator().manual_seed(0)
    shuffled = [share(torch.randperm(count, generator=generator)) for _ in range(SHUFFLES)]
    known = [value for value in shuffled if value is not None]
    return steady, sum(known) / len(known) if known else None


def _by_class(found_N: Tensor, label_N: Tensor, num_classes: int) -> Tensor:
    """Counts by class of what is true of the images; other dimensions stay."""
    counts = torch.zeros(num_classes, *found_N.shape[1:], dtype=torch.float64)
    return counts.index_add(0, label_N, found_N.double())
