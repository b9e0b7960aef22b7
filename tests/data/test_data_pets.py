"""Oxford-IIIT Pet in its official layout: what is read, and what is wrong by file and line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_animals import format_of
from list_edit import edit
from listed_sets import faults_told
from pets_tree import write_pets

from mcl_bench import data
from mcl_bench.data.catalog.listed import ListedSource
from mcl_bench.data.catalog.pets import Pets
from mcl_bench.records import DataError, TestGrant
from mcl_bench.spec.schema import DataSpec


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes, each of four training and three test images."""
    root = tmp_path / "data" / "oxford-iiit-pet"
    write_pets(root)
    return root


def spec(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="pets", root=str(root), **{"resize": 32, "crop": 32, **changes})


def opened(root: Path) -> ListedSource:
    return Pets().open(spec(root), cache=root.parent / "cache")


def faults(root: Path) -> list[tuple[str, str, str | None]]:
    return faults_told(spec(root))


def test_classes_are_breeds_and_the_split_is_official(
    tree: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(tree), store=store)
    assert packed.classes == ("Abyssinian", "american_bulldog", "american_pit_bull_terrier")
    train, test = data.open_train(packed), data.open_test(packed, grant)
    assert torch.bincount(train.labels).tolist() == [4, 4, 4]
    assert torch.bincount(test.labels).tolist() == [3, 3, 3]
    lines = (tree / "annotations/test.txt").read_text().splitlines()
    listed = {f"images/{line.split()[0]}.jpg" for line in lines}
    assert set(test.ids) == listed
    for ids, labels in ((train.ids, train.labels), (test.ids, test.labels)):
        for name, label in zip(ids, labels.tolist(), strict=True):
            assert name.startswith(f"images/{packed.classes[label]}_")


def test_files_that_are_jpeg_by_name_only_are_read(tree: Path, store: Path) -> None:
    source = opened(tree)
    formats = {format_of(tree / member.id) for member in source.members}
    assert formats == {"JPEG", "GIF", "PNG", "BMP"}
    assert data.prepare(spec(tree), store=store).num_train == 12


def test_images_of_the_archive_that_no_list_has_and_other_files_are_passed_over(
    tree: Path,
) -> None:
    assert len(list((tree / "images").iterdir())) == 25
    assert len(opened(tree).members) == 21
    assert faults(tree) == []


def test_an_image_that_is_neither_in_a_list_nor_has_a_mask_is_an_orphan(tree: Path) -> None:
    shutil.copy(tree / "images/Abyssinian_1.jpg", tree / "images/Abyssinian_999.jpg")
    assert faults(tree) == [("orphan", "images/Abyssinian_999.jpg", None)]
    shutil.rmtree(tree / "annotations/trimaps")
    assert faults(tree) == []


def test_what_only_the_split_lists_tell_is_enough(tree: Path) -> None:
    whole = opened(tree).digest
    for name in ("trimaps", "xmls"):
        shutil.rmtree(tree / "annotations" / name)
    (tree / "annotations/list.txt").unlink()
    assert opened(tree).digest == whole


def test_each_fault_is_told_once_with_its_file_and_line(tree: Path) -> None:
    train, test = (tree / f"annotations/{name}.txt" for name in ("trainval", "test"))
    lines = (train.read_text() + test.read_text()).splitlines()
    names = [f"images/{line.split()[0]}.jpg" for line in lines]
    edit(train, {1: None, 2: "Abyssinian_8 2 1 1", 3: "Abyssinian_15 x 1 1"})
    edit(train, lambda row: row.replace("bulldog_1 2", "bulldog_1 0"))
    edit(test, lambda row: f"{row}\n{row}" if "bulldog_29 " in row else row)
    edit(test, lambda row: f"{row}\nAbyssinian_22 1 1 1" if "bulldog_36 " in row else row)
    edit(test, lambda row: f"{row}\n../x_1 1 1 1\nnonsense" if "bulldog_43 " in row else row)
    (tree / names[8]).unlink()
    assert sorted(faults(tree), key=str) == sorted(
        [
            ("split", names[0], "annotations/list.txt:5"),
            ("label", names[1], "annotations/trainval.txt:1"),
            ("label", names[2], "annotations/trainval.txt:2"),
            ("label", names[4], "annotations/trainval.txt:4"),
            ("duplicate", names[15], "annotations/test.txt:5"),
            ("split", names[3], "annotations/test.txt:7"),
            ("path", "images/../x_1.jpg", "annotations/test.txt:9"),
            ("corrupt", "annotations/test.txt", "annotations/test.txt:10"),
            ("missing", names[8], "annotations/trainval.txt:8"),
        ],
        key=str,
    )


def test_a_class_without_training_images_is_told(tree: Path) -> None:
    edit(tree / "annotations/trainval.txt", lambda row: None if row[0] == "A" else row)
    (tree / "annotations/list.txt").unlink()
    assert faults(tree) == [("split", "annotations/trainval.txt", None)]


@pytest.mark.parametrize("first", [0, 2])
def test_classes_that_are_off_by_one_are_told(tree: Path, first: int) -> None:
    for name in ("trainval", "test", "list"):
        edit(
            tree / f"annotations/{name}.txt",
            lambda row: (
                row
                if row[0] == "#"
                else " ".join([row.split()[0], str(int(row.split()[1]) - 1 + first), "1", "1"])
            ),
        )
    if first == 2:
        edit(
            tree / "annotations/test.txt",
            lambda row: row.replace(" 4 ", " 38 "),
        )
    kinds = {kind for kind, _, _ in faults(tree)}
    assert kinds == {"label"}
    with pytest.raises(DataError, match="which is not one of 1 to 37") as caught:
        opened(tree)
    assert "count from 1" in str(caught.value)


@pytest.mark.parametrize("name", ["trainval", "test"])
@pytest.mark.parametrize("state", ["absent", "empty", "a folder"])
def test_a_list_that_cannot_be_read_is_told(tree: Path, name: str, state: str) -> None:
    path = tree / f"annotations/{name}.txt"
    path.unlink()
    if state == "empty":
        path.touch()
    if state == "a folder":
        path.mkdir()
    kinds = {"absent": "missing", "empty": "empty", "a folder": "missing"}
    assert [fault[:2] for fault in faults(tree)] == [(kinds[state], f"annotations/{name}.txt")]


def test_without_the_data_it_says_what_to_get_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Pets().check(spec(tmp_path / "sets" / "oxford-iiit-pet"))
    for words in (
        "images.tar.gz (md5 5c4f3ee8e5d25df40f4fd59a7f44e54c)",
        "annotations.tar.gz (md5 95a8c909bbe2e81eed6a22bccdf3f68f)",
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        str(tmp_path / "sets/oxford-iiit-pet/annotations/trainval.txt"),
    ):
        assert words in str(caught.value)
