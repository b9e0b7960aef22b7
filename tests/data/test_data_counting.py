"""How many classes there are, told before anything is packed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cub_tree import draw_cub

from mcl_bench import data
from mcl_bench.records import DataError
from mcl_bench.spec.schema import CrossEntropySpec, DataSpec, ModelSpec, TrainSpec, TrialSpec


@dataclass(frozen=True)
class Cell:
    spec: TrialSpec
    data_label: str


@dataclass(frozen=True)
class Experiment:
    cells: Sequence[Cell]


def experiment(**labelled: DataSpec) -> Experiment:
    """Two cells on each of the data."""
    return Experiment(
        [
            Cell(
                TrialSpec(
                    data=spec,
                    model=ModelSpec(backbone="convnet"),
                    loss=CrossEntropySpec(name="ce"),
                    train=TrainSpec(),
                ),
                label,
            )
            for label, spec in labelled.items()
            for _ in range(2)
        ]
    )


def test_classes_are_counted_by_label(flat: Path, split: Path, store: Path) -> None:
    draw_cub(flat.parent / "birds", classes=4, train=2, test=1)
    counted = data.count_classes(
        experiment(
            digits=DataSpec(name="digits"),
            few=DataSpec(name="parts", options={"classes": 5}),
            many=DataSpec(name="parts", options={"classes": 17}),
            flat=DataSpec(name="folder", root=str(flat)),
            split=DataSpec(name="folder", root=str(split)),
            birds=DataSpec(name="cub200", root=str(flat.parent / "birds")),
        ),
        store=store,
    )
    assert counted == {"digits": 10, "few": 5, "many": 17, "flat": 3, "split": 2, "birds": 4}
    assert list(counted) == ["digits", "few", "many", "flat", "split", "birds"]


def test_counting_reads_no_image_and_writes_nothing(flat: Path, store: Path) -> None:
    for image in flat.rglob("*.png"):
        image.write_bytes(b"no image")
    before = sorted(flat.parent.rglob("*"))
    spec = DataSpec(name="folder", root=str(flat))
    assert data.count_classes(experiment(mine=spec), store=store) == {"mine": 3}
    assert sorted(flat.parent.rglob("*")) == before


def test_each_data_is_listed_once(flat: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcl_bench.data.catalog import DATASETS

    opened: list[str] = []
    whole = type(DATASETS["folder"]).open

    def counted(self: object, spec: DataSpec, *, cache: Path) -> object:
        opened.append(str(spec.root))
        return whole(self, spec, cache=cache)

    monkeypatch.setattr(type(DATASETS["folder"]), "open", counted)
    spec = DataSpec(name="folder", root=str(flat))
    data.count_classes(experiment(one=spec, other=spec), store=store)
    assert opened == [str(flat), str(flat)]


def test_a_listing_that_cannot_be_used_is_refused(flat: Path, store: Path) -> None:
    for image in (flat / "a").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="/a is a class folder without an image"):
        data.count_classes(experiment(mine=DataSpec(name="folder", root=str(flat))), store=store)
