"""Stanford Dogs in its official layout: what is read, and what is wrong by file and element."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dogs_tree import BREEDS, write_dogs, write_list
from drawn_animals import format_of
from listed_sets import faults_told
from scipy.io import loadmat, savemat

from mcl_bench import data
from mcl_bench.data.catalog.dogs import Dogs
from mcl_bench.data.catalog.listed import ListedSource
from mcl_bench.records import DataError, TestGrant
from mcl_bench.spec.schema import DataSpec


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes, each of four training and three test images."""
    root = tmp_path / "data" / "stanford_dogs"
    write_dogs(root)
    return root


def spec(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="dogs", root=str(root), **{"resize": 32, "crop": 32, **changes})


def opened(root: Path) -> ListedSource:
    return Dogs().open(spec(root), cache=root.parent / "cache")


def rows(path: Path) -> tuple[list[str], list[float]]:
    """A list as scipy reads it."""
    content = loadmat(path)
    files = [cell.item() for cell in content["file_list"].ravel()]
    return files, content["labels"].ravel().tolist()


def faults(root: Path) -> list[tuple[str, str, str | None]]:
    return faults_told(spec(root))


def test_classes_are_breeds_and_the_split_is_official(
    tree: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(tree), store=store)
    assert packed.classes == BREEDS[:3]
    train, test = data.open_train(packed), data.open_test(packed, grant)
    assert torch.bincount(train.labels).tolist() == [4, 4, 4]
    assert torch.bincount(test.labels).tolist() == [3, 3, 3]
    for images, split in ((train, "train"), (test, "test")):
        files, labels = rows(tree / f"{split}_list.mat")
        listed = {
            f"Images/{file}": int(label) - 1 for file, label in zip(files, labels, strict=True)
        }
        assert dict(zip(images.ids, images.labels.tolist(), strict=True)) == listed


def test_a_file_that_is_jpeg_by_name_only_is_read(tree: Path) -> None:
    formats = [format_of(tree / member.id) for member in opened(tree).members]
    assert (formats.count("PNG"), formats.count("JPEG")) == (1, 20)


def test_images_and_the_two_split_lists_are_enough(tree: Path) -> None:
    whole = opened(tree).digest
    shutil.rmtree(tree / "Annotation")
    (tree / "file_list.mat").unlink()
    assert opened(tree).digest == whole


def test_a_list_that_is_compressed_is_read(tree: Path) -> None:
    whole = opened(tree).digest
    content = loadmat(tree / "train_list.mat")
    kept = {name: content[name] for name in ("file_list", "labels")}
    kept["labels"] = kept["labels"].astype(np.uint8)
    savemat(tree / "train_list.mat", kept, do_compression=True)
    assert opened(tree).digest == whole


def test_each_fault_is_told_once_with_its_place(tree: Path) -> None:
    train, labels = rows(tree / "train_list.mat")
    test, test_labels = rows(tree / "test_list.mat")
    labels[1], labels[2], labels[4] = 2, 1.5, 121
    write_list(tree / "train_list.mat", train[:11], labels[:11])
    more = [test[3], train[5], "../x.jpg"]
    write_list(tree / "test_list.mat", [*test, *more], [*test_labels, 2, 2, 1])
    (tree / "Images" / train[6]).unlink()
    shutil.copy(tree / "Images" / train[0], tree / "Images" / BREEDS[0] / "new.jpg")
    whole = dict(zip(*rows(tree / "file_list.mat"), strict=True))
    assert sorted(faults(tree), key=str) == sorted(
        [
            ("label", f"Images/{train[1]}", "train_list.mat:file_list(2)"),
            ("label", f"Images/{train[2]}", "train_list.mat:labels(3)"),
            ("label", f"Images/{train[4]}", "train_list.mat:file_list(5)"),
            (
                "split",
                f"Images/{train[11]}",
                f"file_list.mat:file_list({[*whole].index(train[11]) + 1})",
            ),
            ("duplicate", f"Images/{test[3]}", "test_list.mat:file_list(10)"),
            ("split", f"Images/{train[5]}", "test_list.mat:file_list(11)"),
            ("path", "Images/../x.jpg", "test_list.mat:file_list(12)"),
            ("missing", f"Images/{train[6]}", "train_list.mat:file_list(7)"),
            ("orphan", f"Images/{BREEDS[0]}/new.jpg", None),
        ],
        key=str,
    )


def test_labels_that_count_from_0_are_told(tree: Path) -> None:
    for name in ("train_list.mat", "test_list.mat"):
        files, labels = rows(tree / name)
        write_list(tree / name, files, [label - 1 for label in labels])
    assert {(kind, file.split("/")[1]) for kind, file, _ in faults(tree)} == {("label", BREEDS[0])}
    with pytest.raises(DataError, match="has class 0, which is not one of 1 to 120"):
        opened(tree)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"no list of MATLAB", "corrupt"),
        ({"file_list": ["a/b.jpg"]}, "corrupt"),
        ({"file_list": np.zeros((2, 1)), "labels": np.ones((2, 1))}, "corrupt"),
        ({"file_list": np.array([["a/b.jpg"]], dtype=object), "labels": [1.0, 2.0]}, "corrupt"),
        ({"file_list": np.array([[3.0]], dtype=object), "labels": [1.0]}, "corrupt"),
        ({"file_list": np.empty((0, 1), dtype=object), "labels": np.empty((0, 1))}, "empty"),
    ],
)
def test_a_list_that_is_none_is_told(
    tree: Path, content: bytes | dict[str, Any] | None, kind: str
) -> None:
    path = tree / "train_list.mat"
    match content:
        case None:
            path.unlink()
        case bytes():
            path.write_bytes(content)
        case _:
            savemat(path, content)
    assert [fault[:2] for fault in faults(tree)] == [(kind, "train_list.mat")]


def test_the_facts_say_that_imagenet_has_seen_the_test_images() -> None:
    facts = Dogs.facts
    assert "trained on ImageNet have" in facts.traps[0]
    assert facts.counts == {"train": 12_000, "test": 8_580}
    assert [archive.name for archive in facts.archives if not archive.optional] == [
        "images.tar",
        "lists.tar",
    ]
