"""How many classes each data of an experiment has, before anything is packed."""

from pathlib import Path

from mcl_bench.data.check import CheckedExperiment
from mcl_bench.data.store import dataset_named


def count_classes(experiment: CheckedExperiment, *, store: Path) -> dict[str, int]:
    """The number of classes by data label; lists folders, reads no image.

    Raises DataError where a source's listing shows that it cannot be used.
    """
    counts: dict[str, int] = {}
    for cell in experiment.cells:
        if cell.data_label not in counts:
            data = cell.spec.data
            source = dataset_named(data.name).open(data, cache=store / "listings")
            counts[cell.data_label] = len(source.classes)
    return counts
