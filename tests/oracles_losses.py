"""Slow oracles of the losses beside MC-Loss, from the published formulas with plain loops.

Inputs are nested lists (`tensor.tolist()`); nothing of the package is used. Each gives one number
per image, unless it says otherwise.
"""

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def log_softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    log_sum = top + math.log(math.fsum(math.exp(value - top) for value in row))
    return [value - log_sum for value in row]


def weighted_mean(
    losses: Sequence[float], target: Sequence[int], class_weights: Sequence[float] | None
) -> float:
    """Σ_b w[y_b]·l_b / Σ_b w[y_b]; all weights 1 if None."""
    weights = [1.0 if class_weights is None else class_weights[label] for label in target]
    total = math.fsum(weight * loss for weight, loss in zip(weights, losses, strict=True))
    return total / math.fsum(weights)


def cross_entropy(logits: Rows, target: Sequence[int]) -> list[float]:
    return [-log_softmax(row)[label] for row, label in zip(logits, target, strict=True)]


def label_smoothing(
    logits: Rows,
    target: Sequence[int],
    smoothing: float,
    class_weights: Sequence[float] | None = None,
) -> float:
    """Σ_b Σ_k q_bk·w_k·(-log p_bk) / Σ_b w[y_b], q = (1 - ε)·one-hot + ε/K: the whole batch."""
    num_classes = len(logits[0])
    weights = [1.0] * num_classes if class_weights is None else class_weights
    total = 0.0
    for row, label in zip(logits, target, strict=True):
        for k, log_p in enumerate(log_softmax(row)):
            q = smoothing / num_classes + (1 - smoothing if k == label else 0.0)
            total += q * weights[k] * -log_p
    return total / sum(weights[label] for label in target)


def focal(logits: Rows, target: Sequence[int], gamma: float) -> list[float]:
    """(1 - p_y)^γ·(-log p_y)."""
    losses = []
    for row, label in zip(logits, target, strict=True):
        log_p = log_softmax(row)[label]
        losses.append((1 - math.exp(log_p)) ** gamma * -log_p)
    return losses


def cosine(logits: Rows, target: Sequence[int]) -> list[float]:
    """1 - z_y/‖z‖."""
    return [
        1 - row[label] / math.sqrt(math.fsum(value * value for value in row))
        for row, label in zip(logits, target, strict=True)
    ]


def squared_distance(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def distances_to_own(embedding: Rows, centres: Rows, target: Sequence[int]) -> list[float]:
    """‖x - c_y‖²."""
    return [squared_distance(x, centres[y]) for x, y in zip(embedding, target, strict=True)]


def centre_steps(embedding: Rows, centres: Rows, target: Sequence[int]) -> list[list[float]]:
    """Δc_j = Σ_{b: y_b = j} (c_j - x_b) / (1 + n_j), K×D: the paper's update is c_j - α·Δc_j."""
    steps = []
    for j, centre in enumerate(centres):
        own = [x for x, y in zip(embedding, target, strict=True) if y == j]
        steps.append(
            [
                math.fsum(value - x[d] for x in own) / (1 + len(own))
                for d, value in enumerate(centre)
            ]
        )
    return steps


def gaussian_mixture(
    embedding: Rows, means: Rows, target: Sequence[int], margin: float
) -> list[float]:
    """-log [ e^{-(1+α)d_y} / (e^{-(1+α)d_y} + Σ_{k≠y} e^{-d_k}) ], d_k = ‖x - μ_k‖²/2."""
    losses = []
    for x, label in zip(embedding, target, strict=True):
        logits = [-squared_distance(x, mean) / 2 for mean in means]
        logits[label] *= 1 + margin
        losses.append(-log_softmax(logits)[label])
    return losses


def cosines(embedding: Rows, directions: Rows) -> list[list[float]]:
    """cos θ of each embedding with each class's direction, B×K."""

    def length(v: Sequence[float]) -> float:
        return math.sqrt(math.fsum(value * value for value in v))

    return [
        [
            math.fsum(a * b for a, b in zip(x, w, strict=True)) / (length(x) * length(w))
            for w in directions
        ]
        for x in embedding
    ]


def margin_softmax(
    name: str,
    embedding: Rows,
    directions: Rows,
    target: Sequence[int],
    *,
    margin: float,
    scale: float,
) -> list[float]:
    """Cross-entropy of scale·cos θ with the target's cosine made worse as `name` does it."""
    losses = []
    for x, row, label in zip(embedding, cosines(embedding, directions), target, strict=True):
        length = math.sqrt(math.fsum(value * value for value in x))
        factor = scale * (length if name == "sphereface" else 1.0)
        logits = list(row)
        logits[label] = worse_cosine(name, row[label], margin)
        losses.append(-log_softmax([factor * value for value in logits])[label])
    return losses


def worse_cosine(name: str, cosine_of_target: float, margin: float) -> float:
    theta = math.acos(cosine_of_target)
    if name == "cosface":
        return cosine_of_target - margin
    if name == "arcface":
        m = math.radians(margin)
        if theta + m <= math.pi:
            return math.cos(theta + m)
        return math.cos(theta) - m * math.sin(m)
    k = math.floor(theta * margin / math.pi)
    return float((-1) ** k * math.cos(margin * theta) - 2 * k)
