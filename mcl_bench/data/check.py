"""Checking an experiment's data before anything is started."""

from collections.abc import Sequence
from typing import Protocol

from mcl_bench.data.augment import RECIPES
from mcl_bench.data.catalog import DATASETS, DatasetFacts
from mcl_bench.data.catalog.options import nearest, no_official_validation
from mcl_bench.data.store import dataset_named, stored_size
from mcl_bench.records import UserError
from mcl_bench.spec.schema import DataSpec, TrialSpec

UNUSED = {
    "test": "the test split is a given one",
    "max_faults": "the images are no files that could be damaged",
}
"""Why a key says nothing of some data."""


class CheckedCell(Protocol):
    """What is looked at of a cell."""

    @property
    def spec(self) -> TrialSpec:
        """The cell's configuration."""
        ...

    @property
    def data_label(self) -> str:
        """The cell's data, as the matrix calls it."""
        ...


class CheckedExperiment(Protocol):
    """What is looked at of an experiment."""

    @property
    def cells(self) -> Sequence[CheckedCell]:
        """All cells."""
        ...


def names() -> tuple[DatasetFacts, ...]:
    """The facts of every known dataset."""
    return tuple(dataset.facts for dataset in DATASETS.values())


def check(experiment: CheckedExperiment) -> None:
    """Raise UserError or DataError for the first data of a cell that cannot be served.

    Looks at names, roots, options, sizes and recipes; reads no image and writes nothing.
    """
    checked: list[DataSpec] = []
    labels = {cell.data_label for cell in experiment.cells}
    for cell in experiment.cells:
        data = cell.spec.data
        if data in checked:
            continue
        try:
            _check(data)
        except UserError as error:
            if len(labels) == 1:
                raise
            rule = f"{error.rule} (data {cell.data_label})"
            raise type(error)(rule, key=error.key, remedy=error.remedy) from error
        checked.append(data)
    _refuse_unused(checked)


def _refuse_unused(specs: Sequence[DataSpec]) -> None:
    """Refuse a value other than the default that says nothing of any data that has it.

    Data that share a value may have it from one line, which is of use if one of them uses it.
    """
    for key, why in UNUSED.items():
        usual = DataSpec.model_fields[key].default
        of_use: dict[float, bool] = {}
        for data in specs:
            value = getattr(data, key)
            of_use[value] = of_use.get(value, False) or (
                key not in DATASETS[data.name].unused(data)
            )
        for value in (value for value, used in of_use.items() if not used and value != usual):
            named = sorted({data.name for data in specs if getattr(data, key) == value})
            raise UserError(
                f"data.{key} says nothing of {', '.join(named)}, got {value}: {why}",
                key=f"data.{key}",
                remedy=f"take data.{key} away",
            )


def _check(data: DataSpec) -> None:
    dataset = dataset_named(data.name)
    size = stored_size(data)
    crop = size if data.crop is None else data.crop
    if crop > size:
        raise UserError(
            f"data.crop must be at most data.resize, got {crop} and {size}", key="data.crop"
        )
    if data.augment not in RECIPES:
        raise UserError(
            f"data.augment must be one of {', '.join(RECIPES)}, got {data.augment!r}",
            key="data.augment",
            remedy=nearest(data.augment, RECIPES).strip() or None,
        )
    if not dataset.facts.needs_root:
        no_official_validation(data)
    dataset.check(data)
