"""One setting of one cell as an experiment file of its own."""

from collections.abc import Mapping
from typing import Any

from mcl_bench.spec.cells import Cell
from mcl_bench.spec.experiment import Experiment
from mcl_bench.spec.interpolate import escaped
from mcl_bench.spec.settings import trial_spec


def single_setting(
    experiment: Experiment, cell: Cell, settings: Mapping[str, Any], *, name: str
) -> dict[str, Any]:
    """The plain values of a file that trains just these settings of a cell, with the same seeds.

    Its search is one trial with nothing left to search; it is confirmed as the sweep's cells are.
    """
    training = trial_spec(settings).model_dump(mode="json", by_alias=True)
    resolved = experiment.resolved
    plain: dict[str, Any] = escaped(
        {
            "version": 1,
            "name": name,
            "data": training["data"],
            "model": training["model"],
            "arms": {cell.arm: {"loss": training["loss"]}},
            "train": training["train"],
        }
    )
    search = {**resolved["search"], "trials": 1, "space": {}, "enqueue": []}
    kept = ("confirm", "budget", "files", "tracking")
    return {
        **plain,
        "search": search,
        "resources": cell.resources.model_dump(mode="json"),
        **{part: resolved[part] for part in kept},
    }
