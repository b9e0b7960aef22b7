"""How many classes and bytes each data of an experiment has, before anything is packed."""

from collections.abc import Iterator
from pathlib import Path

from mcl_bench.data.catalog import Source
from mcl_bench.data.check import CheckedExperiment
from mcl_bench.data.mode import mode_of, stored_bytes
from mcl_bench.data.store import dataset_named, stored_size
from mcl_bench.spec.schema import DataSpec


def count_classes(experiment: CheckedExperiment, *, store: Path) -> dict[str, int]:
    """The number of classes by data label; lists folders, reads no image.

    Raises DataError where a source's listing shows that it cannot be used.
    """
    return {label: len(source.classes) for label, _, source in _sources(experiment, store)}


def pixel_bytes(experiment: CheckedExperiment, *, store: Path) -> dict[str, int]:
    """The bytes that the images of each data label take in the store, train and test together.

    Exact where they are kept decoded, an estimate where encoded. Lists folders, reads no image.
    Raises DataError as `count_classes`.
    """
    found = {}
    for label, data, source in _sources(experiment, store):
        count, size = len(source.members), stored_size(data)
        mode = mode_of(data, num_images=count, size=size)
        found[label] = stored_bytes(mode, num_images=count, size=size)
    return found


def _sources(experiment: CheckedExperiment, store: Path) -> Iterator[tuple[str, DataSpec, Source]]:
    """Each data label with its data and their source."""
    seen = set()
    for cell in experiment.cells:
        if cell.data_label not in seen:
            seen.add(cell.data_label)
            data = cell.spec.data
            yield (
                cell.data_label,
                data,
                dataset_named(data.name).open(data, cache=store / "listings"),
            )
