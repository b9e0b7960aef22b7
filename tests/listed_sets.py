"""Looking at a set of lists: its images, its refusal, and the faults that an inspection tells."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from photographs import Photograph

from mcl_bench.data.catalog import DATASETS, Source
from mcl_bench.data.catalog.source import Fault, Inspected
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec


def spec(name: str, root: Path, **options: Any) -> DataSpec:
    """The data of one set at its root."""
    return DataSpec(name=name, root=str(root), resize=32, crop=32, options=options)


def opened(data: DataSpec) -> Source:
    """The set, opened to be used."""
    return DATASETS[data.name].open(data, cache=Path(str(data.root)).parent / "cache")


def listed(source: Source) -> dict[str, tuple[int, str | None]]:
    """Label and split of each image, by path."""
    return {member.id: (member.label, member.split) for member in source.members}


def drawn(photographs: Iterable[Photograph]) -> dict[str, tuple[int, str | None]]:
    """What `listed` must give for these photographs."""
    return {one.path: (one.label, one.split) for one in photographs}


def inspected(data: DataSpec) -> tuple[list[Fault], Source | None]:
    """All faults, and the source of what is right."""
    entry = cast(Inspected, DATASETS[data.name])
    faults: list[Fault] = []
    found = entry.inspect(data, cache=Path(str(data.root)).parent, report=faults.append)
    return faults, None if found is None else found[1]


def refused(data: DataSpec) -> DataError:
    """What a set that has faults is refused with."""
    with pytest.raises(DataError) as caught:
        opened(data)
    assert caught.value.exit_code == 3
    assert caught.value.key == "data.root"
    assert caught.value.remedy
    return caught.value


def refusal(data: DataSpec) -> str:
    """The one message with which a set that has faults is refused."""
    return str(refused(data))


def only_fault(data: DataSpec) -> Fault:
    """The only fault of a set; a refusal says the same with its place."""
    faults, _ = inspected(data)
    assert len(faults) == 1, faults
    told = refusal(data)
    assert faults[0].detail in told
    assert str(Path(str(data.root)) / (faults[0].place or faults[0].file)) in told
    return faults[0]


def faults_told(data: DataSpec) -> list[tuple[str, str, str | None]]:
    """Kind, file and place of all that is wrong; opening tells one of them, if there are any."""
    found, _ = inspected(data)
    if found:
        told, root = refusal(data), Path(str(data.root))
        assert any(str(root / (one.place or one.file)) in told for one in found)
    return [(one.kind, one.file, one.place) for one in found]
