"""What is allowed in an experiment, but does not do what its writer may expect."""

from collections.abc import Sequence

from mcl_bench.spec.cells import Cell
from mcl_bench.spec.experiment import Experiment
from mcl_bench.spec.explanation import drop_text, idle, mutual_channel_part, widths_of
from mcl_bench.spec.schema import NoPrunerSpec
from mcl_bench.spec.tree import locate


def notes(experiment: Experiment) -> list[str]:
    """One line for each thing of an experiment that has no effect or gives nothing new.

    Told are a pruner that waits until trials have ended, trials that can only be duplicates, a
    number of trials beside a grid, settings of the Mutual-Channel Loss that cannot matter, and
    stages frozen at random weights.
    """
    return [
        *_idle_pruner(experiment),
        *_duplicates(experiment),
        *_idle_trials(experiment),
        *_idle_losses(experiment),
        *_frozen_at_random(experiment),
    ]


def _frozen_at_random(experiment: Experiment) -> list[str]:
    """A line for the cells whose frozen stages have no weights to keep."""
    models = {cell.id: cell.spec.model for cell in experiment.cells}
    ids = [one for one, model in models.items() if model.freeze and model.weights == "none"]
    if not ids:
        return []
    return [f"model.freeze keeps stages of {', '.join(ids)} at their random initial weights"]


def _idle_pruner(experiment: Experiment) -> list[str]:
    """A line for each number of epochs that the pruner's grace leaves nothing of."""
    pruner = experiment.spec.search.pruner
    if isinstance(pruner, NoPrunerSpec):
        return []
    idle: dict[int, list[str]] = {}
    for cell in experiment.cells:
        epochs = cell.most_epochs
        if cell.space and pruner.grace >= epochs:
            idle.setdefault(epochs, []).append(cell.id)
    return [
        f"search.pruner.grace {pruner.grace} is not less than the {epochs} epochs of "
        f"{', '.join(ids)}: none of their trials is ever pruned"
        for epochs, ids in idle.items()
    ]


def _duplicates(experiment: Experiment) -> list[str]:
    """A line for the cells that have nothing to search, if they get several trials."""
    trials = experiment.spec.search.trials
    empty = [cell.id for cell in experiment.cells if not cell.space and cell.trials > 1]
    if not empty:
        return []
    return [
        f"nothing is searched in {', '.join(empty)}: all but one of search.trials ({trials}) "
        "would be duplicates"
    ]


def _idle_trials(experiment: Experiment) -> list[str]:
    """A line where a number of trials is written that a grid does not read."""
    if experiment.spec.search.sampler != "grid" or not _is_written(experiment, "search.trials"):
        return []
    return [
        f"search.trials ({experiment.spec.search.trials}) is not read with sampler: grid: a cell "
        "has as many search trials as its grid has points, and those of search.enqueue"
    ]


def _is_written(experiment: Experiment, key: str) -> bool:
    return locate(experiment.tree, key)[1]


def _idle_losses(experiment: Experiment) -> list[str]:
    """A line for each reason why settings of a Mutual-Channel Loss have no effect in some cells."""
    told: dict[str, list[str]] = {}
    for cell in experiment.cells:
        for line in _idle_in(cell):
            told.setdefault(line, []).append(cell.id)
    return [f"{line} (in {', '.join(ids)})" for line, ids in told.items()]


def _idle_in(cell: Cell) -> list[str]:
    """What has no effect in a cell, whatever it searches.

    λ, and a mask ratio above 0, are told where they are fixed too: others' defaults are in them.
    """
    loss = mutual_channel_part(cell.spec.loss)
    if loss is None:
        return []
    prefix = "loss." if cell.spec.loss is loss else "loss.plus."
    highest = {
        field: max(cell.space[f"{prefix}{key}"].ends)
        for field, key in (("mu", "mu"), ("lambda_", "lambda"), ("mask_ratio", "mask_ratio"))
        if f"{prefix}{key}" in cell.space
    }
    groups = _known_groups(cell)
    reasons: dict[str, list[str]] = {}
    for key, why in idle(loss.model_copy(update=highest), groups).items():
        fixed = key == "lambda" or (key == "mask_ratio" and loss.mask_ratio > 0)
        if f"{prefix}{key}" in cell.space or fixed:
            reasons.setdefault(why, []).append(f"{prefix}{key}")
    lines = [f"{', '.join(keys)} cannot matter: {why}" for why, keys in reasons.items()]
    return lines + _same_masks(cell, f"{prefix}mask_ratio", groups)


def _same_masks(cell: Cell, key: str, groups: Sequence[int] | None) -> list[str]:
    """A line where every mask ratio that is searched drops the same channels, and some."""
    if key not in cell.space or groups is None:
        return []
    ends = cell.space[key].ends
    low, high = widths_of(groups, min(ends)), widths_of(groups, max(ends))
    if low != high or not any(width.dropped for width in low):
        return []
    return [f"{key} cannot matter: every value of its range drops {drop_text(low)} channels"]


def _known_groups(cell: Cell) -> Sequence[int] | None:
    """The channels of two classes, for all, where the file fixes them; None elsewhere."""
    xi = cell.spec.model.xi
    return (xi, xi) if isinstance(xi, int) and "model.xi" not in cell.space else None
