"""Oxford 102 Flowers in its official layout: what is read, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed_sets import drawn, inspected, listed, only_fault, opened, spec
from mat_trees import FLOWERS, change, write_flowers102
from photographs import Photograph
from torchvision.datasets import Flowers102

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS
from mcl_bench.data.catalog.flowers102_names import FLOWERS as NAMES
from mcl_bench.records import DataError, TestGrant, UserError

LABELS, SETS = "imagelabels.mat", "setid.mat"


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, list[Photograph]]:
    root = tmp_path / "flowers-102"
    return root, write_flowers102(root)


def test_classes_have_their_common_names_and_images_their_official_split(
    tree: tuple[Path, list[Photograph]],
) -> None:
    source = opened(spec("flowers102", tree[0]))
    assert tuple(source.classes) == tuple(FLOWERS.values())
    assert listed(source) == drawn(tree[1])


def test_the_names_are_those_in_common_use() -> None:
    assert list(NAMES) == Flowers102.classes


def test_swapped_trains_on_tstid_and_tests_on_trnid(
    tree: tuple[Path, list[Photograph]], store: Path, grant: TestGrant
) -> None:
    root, photographs = tree
    official, swapped = (spec("flowers102", root, split=one) for one in ("official", "swapped"))
    turned = {"train": "test", "test": "train", "validation": "validation"}
    source = opened(swapped)
    assert listed(source) == {one.path: (one.label, turned[one.split]) for one in photographs}
    assert source.digest != opened(official).digest
    sizes = [
        (packed.num_train, packed.num_test)
        for packed in (data.prepare(one, store=store) for one in (official, swapped))
    ]
    assert sizes == [(16, 16), (24, 8)]
    tested = data.open_test(data.prepare(swapped, store=store), grant)
    assert set(tested.ids) == {one.path for one in photographs if one.split == "train"}


def test_the_official_validation_split_is_valid(
    tree: tuple[Path, list[Photograph]], store: Path
) -> None:
    official = spec("flowers102", tree[0]).model_copy(update={"validation": "official"})
    DATASETS["flowers102"].check(official)
    images = data.open_train(data.prepare(official, store=store))
    held = {name for name, held in zip(images.ids, images.official, strict=True) if held}
    assert held == {one.path for one in tree[1] if one.split == "validation"}


def test_without_the_files_it_says_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        DATASETS["flowers102"].check(spec("flowers102", tmp_path / "flowers-102"))
    for words in ("102flowers.tgz", LABELS, SETS, "a5357ecc9cb78c4bef273ce3793fc85c"):
        assert words in str(caught.value)


def test_a_split_that_is_none_is_refused(tree: tuple[Path, list[Photograph]]) -> None:
    with pytest.raises(UserError) as caught:
        DATASETS["flowers102"].check(spec("flowers102", tree[0], split="trainval"))
    assert (caught.value.key, caught.value.exit_code) == ("data.options.split", 2)


def relabel(root: Path, place: int, number: float) -> None:
    def edited(labels: Any) -> Any:
        labels = labels.astype(float)
        labels[0, place] = number
        return labels

    change(root / LABELS, labels=edited)


@pytest.mark.parametrize("number", [0, 103, 2.5])
def test_a_class_out_of_range_is_told_with_its_image(
    tree: tuple[Path, list[Photograph]], number: float
) -> None:
    relabel(tree[0], 4, number)
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("label", "jpg/image_00005.jpg")
    assert fault.place == f"{LABELS}:labels(5)"
    assert ("off by one" in fault.detail) is (number != 2.5)


@pytest.mark.parametrize(("by", "classes"), [(-1, "0 to 101"), (1, "2 to 103")])
def test_classes_that_are_all_off_by_one_are_told_once(
    tmp_path: Path, by: int, classes: str
) -> None:
    counts = {"train": 1, "test": 1, "validation": 1}
    write_flowers102(tmp_path, classes=range(1, 103), counts=counts)
    change(tmp_path / LABELS, labels=lambda labels: labels.astype(int) + by)
    fault = only_fault(spec("flowers102", tmp_path))
    assert (fault.kind, fault.file) == ("label", LABELS)
    assert f"its classes are {classes}, they must be 1 to 102" in fault.detail


def appended(*numbers: int) -> Any:
    return lambda ids: np.hstack([ids.astype(int), [numbers]])


def first_of(tree: tuple[Path, list[Photograph]], split: str) -> int:
    return next(i for i, one in enumerate(tree[1], start=1) if one.split == split)


def test_an_image_in_two_splits_is_told(tree: tuple[Path, list[Photograph]]) -> None:
    number = first_of(tree, "train")
    change(tree[0] / SETS, tstid=appended(number))
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("split", f"jpg/image_{number:05d}.jpg")
    assert fault.place == f"{SETS}:tstid(17)"
    assert fault.detail == f"is in train and in test, first at {SETS}:trnid(1)"


def test_an_image_twice_in_one_split_is_a_duplicate(tree: tuple[Path, list[Photograph]]) -> None:
    change(tree[0] / SETS, tstid=appended(first_of(tree, "test")))
    assert only_fault(spec("flowers102", tree[0])).kind == "duplicate"


def test_an_image_in_no_split_is_told(tree: tuple[Path, list[Photograph]]) -> None:
    number = first_of(tree, "test")
    change(tree[0] / SETS, tstid=lambda ids: ids[:, 1:])
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("split", f"jpg/image_{number:05d}.jpg")
    assert fault.detail == f"is in none of the splits of {SETS}"


@pytest.mark.parametrize("number", [0, 33])
def test_a_number_that_has_no_class_is_told(
    tree: tuple[Path, list[Photograph]], number: int
) -> None:
    change(tree[0] / SETS, trnid=appended(number))
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("label", f"jpg/image_{number:05d}.jpg")
    assert f"image {number} has no class: {LABELS} has those of images 1 to 32" in fault.detail


def test_a_class_of_which_nothing_is_trained_on_is_told(
    tree: tuple[Path, list[Photograph]],
) -> None:
    numbers = [i for i, one in enumerate(tree[1], start=1) if one.label == 1]
    trained = [i for i in numbers if tree[1][i - 1].split == "train"]
    change(
        tree[0] / SETS,
        trnid=lambda ids: ids[:, ~np.isin(ids[0], trained)],
        tstid=appended(*trained),
    )
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("empty", SETS)
    assert fault.detail == 'class "colt\'s foot" has no training image'


def test_a_split_without_test_images_is_told(tree: tuple[Path, list[Photograph]]) -> None:
    tested = [i for i, one in enumerate(tree[1], start=1) if one.split == "test"]
    change(tree[0] / SETS, tstid=lambda ids: ids[:, :0], trnid=appended(*tested))
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file, fault.detail) == ("split", SETS, "names no test image")


@pytest.mark.parametrize("file", [LABELS, SETS])
def test_a_damaged_list_is_told(tree: tuple[Path, list[Photograph]], file: str) -> None:
    (tree[0] / file).write_bytes((tree[0] / file).read_bytes()[:150])
    fault = only_fault(spec("flowers102", tree[0]))
    assert (fault.kind, fault.file) == ("corrupt", file)


def test_missing_images_and_strays_are_all_told(tree: tuple[Path, list[Photograph]]) -> None:
    root, photographs = tree
    (root / photographs[3].path).unlink()
    (root / photographs[9].path).rename(root / "jpg/image_09999.jpg")
    faults, source = inspected(spec("flowers102", root))
    assert sorted((fault.kind, fault.file) for fault in faults) == [
        ("missing", photographs[3].path),
        ("missing", photographs[9].path),
        ("orphan", "jpg/image_09999.jpg"),
    ]
    assert source is not None
    left = [one for one in photographs if one not in (photographs[3], photographs[9])]
    assert listed(source) == drawn(left)
