"""How many classes and bytes each data of an experiment has, before anything is packed."""

from collections.abc import Iterator
from pathlib import Path

from mcl_bench.data.catalog import Source
from mcl_bench.data.check import CheckedExperiment
from mcl_bench.data.store import dataset_named, stored_size


def count_classes(experiment: CheckedExperiment, *, store: Path) -> dict[str, int]:
    """The number of classes by data label; lists folders, reads no image.

    Raises DataError where a source's listing shows that it cannot be used.
    """
    return {label: len(source.classes) for label, source, _ in _sources(experiment, store)}


def pixel_bytes(experiment: CheckedExperiment, *, store: Path) -> dict[str, int]:
    """The bytes that the pixels of each data label take in the store, train and test together.

    Lists folders, reads no image. Raises DataError as `count_classes`.
    """
    return {
        label: len(source.members) * 3 * size**2
        for label, source, size in _sources(experiment, store)
    }


def _sources(experiment: CheckedExperiment, store: Path) -> Iterator[tuple[str, Source, int]]:
    """Each data label with its source and the side, in pixels, that it is stored with."""
    seen = set()
    for cell in experiment.cells:
        if cell.data_label not in seen:
            seen.add(cell.data_label)
            data = cell.spec.data
            source = dataset_named(data.name).open(data, cache=store / "listings")
            yield cell.data_label, source, stored_size(data)
