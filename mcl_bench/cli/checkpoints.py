"""The room that a sweep's checkpoints will take, before it is run."""

from typing import TYPE_CHECKING

from mcl_bench import files
from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.spec import Experiment


def checkpoint_room(experiment: "Experiment") -> int:
    """Bytes, about: a checkpoint in each slot of this machine, and the weights of every cell.

    Of a width that is searched, the file's own counts.
    """
    from mcl_bench import data, training
    from mcl_bench.sweep.cluster import slots, this_machine, trial_resources
    from mcl_bench.sweep.quota import checkpoint_bytes, weights_bytes

    machine = this_machine()
    classes = data.count_classes(experiment, store=files.home() / "store")
    running, kept = [], 0
    for cell in experiment.cells:
        try:
            at_once = slots(trial_resources(cell.resources, machine), machine)
        except UserError:  # it does not fit this machine, which is told elsewhere
            at_once = 1
        at_once = min(at_once, experiment.spec.resources.max_concurrent or at_once)
        parameters = training.describe(cell.spec, classes[cell.data_label]).parameters
        running.append(at_once * checkpoint_bytes(parameters, cell.spec.train.optimizer))
        kept += weights_bytes(parameters)
    return max(running) + kept


def room_warnings(experiment: "Experiment", room: int) -> list[str]:
    """What to say if that is more than the experiment allows."""
    quota = experiment.spec.budget.checkpoint_gb
    if quota is None or room <= quota * 1e9:
        return []
    return [
        f"budget.checkpoint_gb: checkpoints will take about {room / 1e9:.3g} GB, {quota:g} are "
        "allowed: trials that find no room train without one"
    ]
