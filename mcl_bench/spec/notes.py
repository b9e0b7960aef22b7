"""What is allowed in an experiment, but does not do what its writer may expect."""

from mcl_bench.spec.cells import Cell
from mcl_bench.spec.experiment import Experiment
from mcl_bench.spec.loss import split_loss
from mcl_bench.spec.schema import NoPrunerSpec


def notes(experiment: Experiment) -> list[str]:
    """One line for each thing of an experiment that has no effect or gives nothing new.

    Told are a pruner that waits until trials have ended, trials that can only be duplicates, and
    a mask where a class has one channel only.
    """
    return [*_idle_pruner(experiment), *_duplicates(experiment), *_idle_mask(experiment)]


def _idle_pruner(experiment: Experiment) -> list[str]:
    """A line for each number of epochs that the pruner's grace leaves nothing of."""
    pruner = experiment.spec.search.pruner
    if isinstance(pruner, NoPrunerSpec):
        return []
    idle: dict[int, list[str]] = {}
    for cell in experiment.cells:
        epochs = _most_epochs(cell)
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
    empty = [cell.id for cell in experiment.cells if not cell.space]
    if trials == 1 or not empty:
        return []
    return [
        f"nothing is searched in {', '.join(empty)}: all but one of search.trials ({trials}) "
        "would be duplicates"
    ]


def _idle_mask(experiment: Experiment) -> list[str]:
    """A line for the cells whose ξ is fixed at 1 while their Mutual-Channel Loss has a mask."""
    idle = [cell.id for cell in experiment.cells if _has_idle_mask(cell)]
    if not idle:
        return []
    return [f"model.xi is 1 in {', '.join(idle)}: mask and λ do nothing at ξ = 1"]


def _has_idle_mask(cell: Cell) -> bool:
    _, plus = split_loss(cell.spec.loss)
    if plus is None or cell.spec.model.xi != 1 or "model.xi" in cell.space:
        return False
    searched = {"loss.mask_ratio", "loss.plus.mask_ratio"} & set(cell.space)
    return plus.mask_ratio > 0 or bool(searched)


def _most_epochs(cell: Cell) -> int:
    """The epochs of the cell's longest possible trial."""
    searched = cell.space.get("train.epochs")
    return cell.spec.train.epochs if searched is None else max(searched.ends)
