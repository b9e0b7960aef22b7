"""Slow oracles, written from the published formulas with plain loops over Python numbers.

Inputs are nested lists (`tensor.tolist()`); nothing of the package is used.

B images, K classes, class i owns the channels [sum(groups[:i]), sum(groups[:i + 1])).
"""

import math
from collections.abc import Sequence

Maps = Sequence[Sequence[Sequence[Sequence[float]]]]
"""B×C×H×W."""


def channels_of(groups: Sequence[int], label: int) -> range:
    """The channels that a class owns."""
    first = sum(groups[:label])
    return range(first, first + groups[label])


def discriminality(
    features: Maps,
    target: Sequence[int],
    groups: Sequence[int],
    mask: Sequence[float] | Sequence[Sequence[float]] | None = None,
    class_weights: Sequence[float] | None = None,
    *,
    mask_fill: str = "zero",
) -> float:
    """Cross-entropy of g, g(F_i) = the mean over pixels of max_j [M_ij · F_ijk].

    A mask of nested lists is one for each image.
    """
    logits = []
    for place, image in enumerate(features):
        own = mask[place] if mask is not None and isinstance(mask[0], list) else mask
        logits.append(alignment_logits(image, groups, own, mask_fill=mask_fill))
    return cross_entropy(logits, target, class_weights)


def alignment_logits(
    image: Sequence[Sequence[Sequence[float]]],
    groups: Sequence[int],
    mask: Sequence[float] | None = None,
    *,
    mask_fill: str = "zero",
) -> list[float]:
    """g(F_i) for each class of one C×H×W image; with `minus_inf` a dropped channel is left out."""
    height, width = len(image[0]), len(image[0][0])
    logits = []
    for label in range(len(groups)):
        total = 0.0
        for y in range(height):
            for x in range(width):
                highest = -math.inf
                for channel in channels_of(groups, label):
                    factor = 1.0 if mask is None else mask[channel]
                    if factor == 0 and mask_fill == "minus_inf":
                        continue
                    highest = max(highest, factor * image[channel][y][x])
                total += highest
        logits.append(total / (height * width))
    return logits


def diversity(
    features: Maps, groups: Sequence[int], *, reduction: str = "classes", form: str = "normalised"
) -> float:
    """The mean over images and classes of h/ξ, h = Σ_k max_j softmax over pixels (F_ij)_k.

    `literal` is that of h; `groups` is the sum over the different ξ of such means.
    """
    widths = [set(groups)] if reduction == "classes" else [{xi} for xi in set(groups)]
    return sum(_mean_spread(features, groups, some, form) for some in widths)


def _mean_spread(features: Maps, groups: Sequence[int], widths: set[int], form: str) -> float:
    """The mean over the classes whose ξ is one of `widths`."""
    total = 0.0
    num_classes = sum(xi in widths for xi in groups)
    for image in features:
        for label, xi in enumerate(groups):
            if xi not in widths:
                continue
            spreads = [spatial_softmax(image[channel]) for channel in channels_of(groups, label)]
            h = 0.0
            for pixel in range(len(spreads[0])):
                highest = 0.0
                for spread in spreads:
                    highest = max(highest, spread[pixel])
                h += highest
            total += h / xi if form == "normalised" else h
    return total / (len(features) * num_classes)


def spatial_softmax(channel: Sequence[Sequence[float]]) -> list[float]:
    """The softmax of one H×W channel over its pixels, row by row."""
    pixels = [value for row in channel for value in row]
    top = max(pixels)
    powers = [math.exp(value - top) for value in pixels]
    total = math.fsum(powers)
    return [power / total for power in powers]


def cross_entropy(
    logits: Sequence[Sequence[float]],
    target: Sequence[int],
    class_weights: Sequence[float] | None = None,
) -> float:
    """Σ_b w[y_b]·(-log softmax(logits_b)[y_b]) / Σ_b w[y_b]; all weights 1 if None."""
    total = 0.0
    weight_sum = 0.0
    for row, label in zip(logits, target, strict=True):
        weight = 1.0 if class_weights is None else class_weights[label]
        top = max(row)
        log_sum = top + math.log(math.fsum(math.exp(value - top) for value in row))
        total += weight * (log_sum - row[label])
        weight_sum += weight
    return total / weight_sum


def mutual_channel_loss(
    discriminality: float, diversity: float, *, mu: float, lambda_: float
) -> float:
    """μ·(L_dis + λ·(1 - diversity)), the canonical form."""
    return mu * (discriminality + lambda_ * (1.0 - diversity))
