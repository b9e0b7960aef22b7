"""What a sweep will take of this machine: trials at once, their device, their checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass

from mcl_bench import training
from mcl_bench.records import UserError
from mcl_bench.spec import Experiment
from mcl_bench.sweep.cluster import this_machine, trial_resources
from mcl_bench.sweep.quota import checkpoint_bytes


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Trials that run at once here, their kind of device, and the bytes of their checkpoints.

    Only trials that run have checkpoints. All is 0 where this machine can place none.
    """

    slots: int
    device: str
    checkpoint_bytes: int


def demand(experiment: Experiment, classes: Mapping[str, int]) -> Demand:
    """What the sweep takes here; `classes` are the numbers of classes by data label."""
    machine = this_machine()
    device = "cuda" if machine.gpus else "cpu"
    try:
        needed = [trial_resources(cell.resources, [machine]) for cell in experiment.cells]
    except UserError:  # told among the plan's warnings
        return Demand(slots=0, device=device, checkpoint_bytes=0)
    if not any(one["GPU"] for one in needed):
        device = "cpu"
    at_once = max(machine.count(one) for one in needed)
    limit = experiment.spec.resources.max_concurrent
    at_once = min(at_once, limit or at_once)
    networks = {
        (repr(cell.spec.model), repr(cell.spec.train.optimizer), cell.data_label): cell
        for cell in experiment.cells
    }
    largest = 0
    for cell in networks.values():
        parameters = training.describe(cell.spec, classes[cell.data_label]).parameters
        largest = max(largest, checkpoint_bytes(parameters, cell.spec.train.optimizer))
    return Demand(slots=at_once, device=device, checkpoint_bytes=at_once * largest)
