"""Checking an experiment's data before anything is started."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mcl_bench.data.catalog import DATASETS, DatasetFacts
from mcl_bench.data.catalog.options import no_official_validation
from mcl_bench.data.recipe import check_recipe
from mcl_bench.data.store import dataset_named, stored_size
from mcl_bench.records import UserError
from mcl_bench.spec.schema import DataSpec, TrialSpec

UNUSED = {
    "test": "the test split is a given one",
    "max_faults": "the images are no files that could be damaged",
}
"""Why a key says nothing of some data."""


class Searched(Protocol):
    """What is looked at of a searched setting."""

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that decide whether all are possible."""
        ...


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

    @property
    def space(self) -> Mapping[str, Searched]:
        """What the cell searches, by setting."""
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


def facts_of(name: str) -> DatasetFacts:
    """The facts of one dataset; UserError, with the nearest, for a name that isn't known."""
    return dataset_named(name).facts


def check(experiment: CheckedExperiment) -> None:
    """Raise UserError or DataError for the first data of a cell that cannot be served.

    Looks at names, roots, options, sizes and recipes; reads no image and writes nothing.
    """
    checked: list[DataSpec] = []
    labels = {cell.data_label for cell in experiment.cells}
    for cell in experiment.cells:
        for data in _tried(cell):
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


def check_one(data: DataSpec) -> None:
    """`check`, for data that is in no experiment."""
    _check(data)
    _refuse_unused([data])


def _tried(cell: CheckedCell) -> list[DataSpec]:
    """The cell's data as it stands, and with each recipe that is searched."""
    data, searched = cell.spec.data, cell.space.get("data.augment")
    recipes = () if searched is None else searched.ends
    return [data, *(data.model_copy(update={"augment": recipe}) for recipe in recipes)]


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
    check_recipe(data.augment, stored=size, crop=crop)
    if not dataset.facts.needs_root:
        no_official_validation(data)
    dataset.check(data)
