"""Holding out whole groups: images of one object are never cut apart.

Legend: N images, G groups, K classes.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Integers = npt.NDArray[np.int64]


def held_count(images: int, share: float) -> int:
    """How many of a class's images a share holds out: at least one, and never all of them."""
    return min(max(math.floor(images * share + 0.5), 1), images - 1)


def hold_groups(
    labels_N: Integers, groups: Sequence[str], share: float, *, order_seed: int
) -> npt.NDArray[np.bool_]:
    """True for the images that are held out, bool of length N; a group is held out whole.

    Groups are gone through in an order that their names and `order_seed` decide, whatever the
    order of the images. One is held out if that brings its classes' counts nearer to their shares
    (Σ_k (held_k - wanted_k)² / images_k falls). A class of which nothing is held out yet gives the
    group that costs least. The last group of a class is never held out, so that each is trained on.
    """
    number = {name: place for place, name in enumerate(sorted(set(groups)))}
    group_N = np.array([number[name] for name in groups], dtype=np.int64)
    cut = _Cut(labels_N, group_N, len(number), share)
    generator = torch.Generator().manual_seed(order_seed)
    order = torch.randperm(len(number), generator=generator).tolist()
    for group in order:
        if cut.cost(group) < 0 and cut.spares(group):
            cut.hold(group)
    of_label: dict[int, list[int]] = {label: [] for label in cut.bare()}
    for group in order:
        for label in of_label.keys() & set(cut.labels[group].tolist()):
            of_label[label].append(group)
    for label, own in of_label.items():
        able = [group for group in own if cut.spares(group)]
        if able and not cut.held_K[label]:
            cut.hold(min(able, key=cut.cost))
    return np.asarray(cut.held_G[group_N])


class _Cut:
    """How much of each class is held out, and what one more group would change."""

    def __init__(
        self, labels_N: Integers, group_N: Integers, num_groups: int, share: float
    ) -> None:
        num_classes = int(labels_N.max()) + 1
        images_K = np.bincount(labels_N, minlength=num_classes)
        self._images_K = np.maximum(images_K, 1)
        self._wanted_K = np.array([held_count(max(int(n), 2), share) for n in images_K])
        pairs, counts = np.unique(group_N * num_classes + labels_N, return_counts=True)
        of_group, of_label = np.divmod(pairs, num_classes)
        starts = np.searchsorted(of_group, np.arange(num_groups + 1))
        self.labels = [of_label[a:b] for a, b in itertools.pairwise(starts)]
        self._counts = [counts[a:b] for a, b in itertools.pairwise(starts)]
        self._left_K = np.bincount(of_label, minlength=num_classes)
        self.held_K = np.zeros(num_classes, dtype=np.int64)
        self.held_G = np.zeros(num_groups, dtype=bool)

    def cost(self, group: int) -> float:
        """By how much holding this group out moves its classes away from their shares."""
        labels, counts = self.labels[group], self._counts[group]
        missing = self.held_K[labels] - self._wanted_K[labels]
        return float((((missing + counts) ** 2 - missing**2) / self._images_K[labels]).sum())

    def spares(self, group: int) -> bool:
        """Whether each of its classes has another group to be trained on."""
        return not self.held_G[group] and bool((self._left_K[self.labels[group]] > 1).all())

    def hold(self, group: int) -> None:
        self.held_G[group] = True
        self.held_K[self.labels[group]] += self._counts[group]
        self._left_K[self.labels[group]] -= 1

    def bare(self) -> list[int]:
        """The classes of which nothing is held out, fewest groups first."""
        bare = np.flatnonzero((self.held_K == 0) & (self._left_K > 1))
        return [int(label) for label in bare[np.argsort(self._left_K[bare], kind="stable")]]
