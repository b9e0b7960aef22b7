"""Every data set keeps to the contract, on a tree in its official layout where it needs one."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aircraft_tree import write_aircraft
from cub_tree import draw_cub
from dogs_tree import write_dogs
from drawn_animals import drawn_animal, write_folder
from mat_trees import write_cars_annos, write_cars_devkit, write_flowers102
from pets_tree import write_pets

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS, Dataset
from mcl_bench.data.catalog.parts import Parts, PartsSource
from mcl_bench.data.catalog.source import DatasetFacts, Member
from mcl_bench.spec.defaults import OFFICIAL_VALIDATION
from mcl_bench.spec.schema import DataSpec
from mcl_bench.testing import DatasetContract

SMALL = {"classes": 3, "train": 4, "test": 3}


def write_split(root: Path) -> None:
    """Two classes under train/, val/ and test/."""
    for first, (split, count) in enumerate({"train": 5, "val": 2, "test": 3}.items()):
        for label in (0, 1):
            place = root / split / "xy"[label]
            place.mkdir(parents=True)
            for number in range(count):
                image = drawn_animal(100 * first + 10 * label + number, label=label)
                image.save(place / f"{number}.jpg")


def write_grouped(root: Path) -> None:
    """Two classes in the root, and of each three objects that two images show."""
    write_folder(root)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    lines = [f"{name},object {number // 2}" for number, name in enumerate(names)]
    (root / "groups.csv").write_text("\n".join(["path,group", *lines]), encoding="utf-8")


TREES: dict[str, Callable[[Path], object]] = {
    "aircraft": write_aircraft,
    "aircraft official": write_aircraft,
    "cars annos": write_cars_annos,
    "cars devkit": write_cars_devkit,
    "cub200": lambda root: draw_cub(root, **SMALL),
    "dogs": lambda root: write_dogs(root, **SMALL),
    "flowers102": write_flowers102,
    "flowers102 official": write_flowers102,
    "flowers102 swapped": write_flowers102,
    "folder": write_folder,
    "folder grouped": write_grouped,
    "folder official": write_split,
    "pets": lambda root: write_pets(root, **SMALL),
}
"""By the set's name (and a word more): what draws a small tree in its layout."""

WORDS: dict[str, dict[str, Any]] = {
    "official": {"validation": "official"},
    "swapped": {"options": {"split": "swapped"}},
}
"""What a word beside the name asks for."""

OTHERS: dict[str, dict[str, Any]] = {
    "digits": {"resize": 8, "crop": 8, "augment": "none"},
    "elpv": {"options": {"types": "mono"}, "augment": "dihedral"},
    "parts": {"options": {"classes": 3, "train_per_class": 4, "test_per_class": 3, "size": 32}},
}
"""Sets without a root, with what makes them quick."""


class TestDatasets(DatasetContract):
    @pytest.fixture(scope="class", params=[*TREES, *OTHERS])
    @classmethod
    def spec(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> DataSpec:
        name, _, word = request.param.partition(" ")
        if name == "elpv" and importlib.util.find_spec("elpv_dataset") is None:
            pytest.skip("needs the extra elpv")
        given: dict[str, Any] = {"resize": 32, "crop": 32, "validation": 0.2}
        given |= WORDS.get(word, {})
        if request.param not in TREES:
            return DataSpec(name=name, **{**given, **OTHERS[name]})
        root = tmp_path_factory.mktemp(name) / "tree"
        TREES[request.param](root)
        return DataSpec(name=name, root=str(root), **given)


def test_every_data_set_is_held_to_the_contract() -> None:
    assert {name.split()[0] for name in (*TREES, *OTHERS)} == set(DATASETS)


def test_sets_that_always_have_a_validation_split_are_validated_on_it() -> None:
    official = {name for name, one in DATASETS.items() if "validation" in one.facts.counts}
    assert official == OFFICIAL_VALIDATION


class Stripes(Parts):
    """A set that the catalog doesn't have."""

    facts = DatasetFacts(
        name="stripes",
        title="A set of one's own",
        classes=None,
        images="drawn",
        citation="one's own",
        licence="one's own",
        needs_root=False,
    )


class TestOwnDataset(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> DataSpec:
        options = {"classes": 2, "train_per_class": 3, "test_per_class": 2, "size": 16}
        return DataSpec(name="stripes", resize=16, crop=16, options=options)

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return Stripes()


def test_the_contract_finds_a_group_on_two_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_grouped(tmp_path / "tree")
    spec = DataSpec(name="folder", root=str(tmp_path / "tree"), resize=8, validation=0.3)
    source = DATASETS["folder"].open(spec, cache=tmp_path)
    packed = data.prepare(spec, store=tmp_path / "store")
    contract = DatasetContract()
    contract.test_no_group_is_on_two_sides(spec, source, packed)
    contract.test_each_class_of_two_images_or_more_is_on_both_sides_of_a_cut(spec, source, packed)
    whole = data.cut
    monkeypatch.setattr(data, "cut", lambda labels, **how: whole(labels, **{**how, "groups": None}))
    with pytest.raises(AssertionError):
        contract.test_no_group_is_on_two_sides(spec, source, packed)


class Broken(PartsSource):
    """Members that are not those of `parts`: what `members` is set to."""

    members: tuple[Member, ...] = ()


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[::-1],
        lambda members: (members[0], *members),
        lambda members: tuple(one for one in members if one.label),
        lambda members: (*members, Member(id="z", label=9, split="train")),
    ],
    ids=["unsorted", "twice", "untrained", "out of range"],
)
def test_the_contract_finds_members_that_break_it(
    change: Callable[[tuple[Member, ...]], tuple[Member, ...]], tmp_path: Path
) -> None:
    spec = DataSpec(name="parts", options={"classes": 2, "train_per_class": 2})
    members = Parts().open(spec, cache=tmp_path).members
    source = Broken.__new__(Broken)
    source._classes = ("a", "b")
    contract = DatasetContract()
    source.members = members
    contract.test_members_are_sorted_and_every_class_is_used_in_training(source)
    source.members = change(members)
    with pytest.raises(AssertionError):
        contract.test_members_are_sorted_and_every_class_is_used_in_training(source)
