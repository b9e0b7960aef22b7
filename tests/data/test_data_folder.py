"""A folder of images that nobody prepared."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mcl_bench import data
from mcl_bench.data.catalog.folder import Folder, FolderSource
from mcl_bench.data.catalog.source import Fault
from mcl_bench.records import DataError, TestGrant, UserError
from mcl_bench.spec.schema import DataSpec


def spec(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="folder", root=str(root), **{"resize": 16, "crop": 16, **changes})


def packed_ids(
    root: Path, store: Path, grant: TestGrant, **changes: Any
) -> tuple[set[str], set[str]]:
    packed = data.prepare(spec(root, **changes), store=store)
    return set(data.open_train(packed).ids), set(data.open_test(packed, grant).ids)


def test_all_kinds_of_files_are_packed_and_strays_are_passed_over(
    wild: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(wild), store=store)
    assert packed.classes == ("Blåmes (hane)", "great tit", "Гриф")
    assert (packed.num_train, packed.num_test) == (36, 9)
    train, test = packed_ids(wild, store, grant)
    assert not train & test
    images = {path.relative_to(wild).as_posix() for path in wild.rglob("photo*")}
    assert train | test == images
    assert len(images) == 45


def test_a_class_of_three_serves_train_validation_and_test(
    wild: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(wild), store=store)
    images = data.open_train(packed)
    sides = data.cut(images.labels, digest=packed.digest, data=spec(wild))
    for labels in (
        images.labels[sides.train],
        images.labels[sides.validation],
        data.open_test(packed, grant).labels,
    ):
        assert set(labels.tolist()) == {0, 1, 2}


def test_train_and_test_folders_are_kept_apart_and_val_is_known(
    split: Path, store: Path, grant: TestGrant
) -> None:
    train, test = packed_ids(split, store, grant)
    assert all(name.startswith("test/") for name in test)
    assert len(test) == 6
    assert {name.split("/")[0] for name in train} == {"train", "val"}
    images = data.open_train(data.prepare(spec(split), store=store))
    assert {name for name, own in zip(images.ids, images.official, strict=True) if own} == {
        name for name in train if name.startswith("val/")
    }


def test_an_official_split_ignores_the_test_share_and_packs_once(split: Path, store: Path) -> None:
    one = data.prepare(spec(split, test=0.2), store=store)
    other = data.prepare(spec(split, test=0.4), store=store)
    assert one == other


def test_the_test_cut_depends_on_digest_and_share_only(
    flat: Path, store: Path, grant: TestGrant
) -> None:
    first = packed_ids(flat, store, grant)
    assert packed_ids(flat, store, grant, resize=12, crop=8, split_seed=3, validation=0.3) == first
    assert packed_ids(flat, store, grant, test=0.5) != first


def test_images_lie_at_any_depth_below_their_class(
    flat: Path, store: Path, grant: TestGrant
) -> None:
    deep = flat / "a" / "2024" / "may"
    deep.mkdir(parents=True)
    (flat / "a" / "000.png").rename(deep / "000.png")
    train, test = packed_ids(flat, store, grant)
    assert "a/2024/may/000.png" in train | test


def test_a_link_in_a_circle_ends(flat: Path) -> None:
    (flat / "a" / "again").symlink_to(flat / "a", target_is_directory=True)
    assert len(FolderSource(flat, cache=flat / ".cache").members) == 26


def test_a_name_that_is_no_utf8_is_packed(flat: Path, store: Path, grant: TestGrant) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (flat / "a" / "000.png").rename(flat / "a" / name)
    train, test = packed_ids(flat, store, grant)
    assert "a/caf\\udce9.png" in train | test


def test_a_class_called_train_is_a_class(flat: Path, store: Path) -> None:
    (flat / "a").rename(flat / "train")
    assert data.prepare(spec(flat), store=store).classes == ("b", "c", "train")


def test_split_folders_may_be_written_with_capitals(
    split: Path, store: Path, grant: TestGrant
) -> None:
    for name in ("train", "val", "test"):
        (split / name).rename(split / name.capitalize())
    train, test = packed_ids(split, store, grant)
    assert (len(train), len(test)) == (16, 6)


@pytest.mark.parametrize(
    ("take_away", "put", "rule"),
    [
        ("test", None, "has no test/"),
        ("train", None, "has no train/"),
        (None, "spare/x", "spare/ beside"),
        ("train/x", None, "at least two class folders, got 1"),
        (None, "train/empty", "train/empty is a class folder without an image"),
        (None, "test/z", "test/z is a class folder without an image"),
    ],
)
def test_a_tree_of_another_form_is_refused_by_name(
    split: Path, take_away: str | None, put: str | None, rule: str
) -> None:
    if take_away is not None:
        (split / take_away).rename(split / ".away" if "/" not in take_away else split / ".x")
    if put is not None:
        (split / put).mkdir(parents=True)
    with pytest.raises(DataError, match=rule):
        FolderSource(split, cache=split / ".cache") if Folder().check(spec(split)) is None else None


def test_a_class_that_is_only_in_test_is_refused_by_name(split: Path) -> None:
    (split / "test" / "y").rename(split / "test" / "stranger")
    with pytest.raises(DataError, match="test/stranger is the folder of a class that has no"):
        FolderSource(split, cache=split / ".cache")


def test_a_class_of_one_image_is_told_by_name(flat: Path) -> None:
    for number in (1, 2):
        (flat / "a" / f"{number:03d}.png").unlink()
    with pytest.raises(DataError, match=r"a/000\.png is the only 1 image of its class"):
        FolderSource(flat, cache=flat / ".cache")


@pytest.mark.parametrize(
    ("root", "error", "rule"),
    [
        (None, UserError, "must name the folder"),
        ("nowhere", DataError, "does not exist"),
        ("flat/a/000.png", DataError, "is not a folder"),
        ("flat/a", DataError, "at least two class folders, got 0"),
    ],
)
def test_a_root_that_is_none_is_refused_by_name(
    flat: Path, root: str | None, error: type[UserError], rule: str
) -> None:
    place = None if root is None else str(flat.parent / root)
    with pytest.raises(error, match=rule):
        Folder().check(DataSpec(name="folder", root=place))


def test_unreadable_images_are_listed_with_their_names(flat: Path, store: Path) -> None:
    (flat / "b" / "empty.jpg").touch()
    (flat / "c" / "broken.png").write_bytes((flat / "c" / "000.png").read_bytes()[:60])
    with pytest.raises(DataError) as raised:
        data.prepare(spec(flat), store=store)
    for words in ("2 images", "b/empty.jpg", "c/broken.png", "allows 0"):
        assert words in str(raised.value)
    assert not list(store.glob("*.arrow"))
    with pytest.raises(DataError, match="allows 1"):
        data.prepare(spec(flat, max_faults=1), store=store)
    packed = data.prepare(spec(flat, max_faults=2), store=store)
    assert packed.num_train + packed.num_test == 26
    with pytest.raises(DataError, match=r"b/empty\.jpg"):
        data.prepare(spec(flat), store=store, digest=packed.digest)


def test_a_class_whose_training_images_are_all_unreadable_is_named(
    split: Path, store: Path
) -> None:
    for path in [*(split / "train" / "y").iterdir(), *(split / "val" / "y").iterdir()]:
        path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="without a readable training image: y"):
        data.prepare(spec(split, max_faults=100), store=store)


def test_the_digest_knows_path_bytes_and_class_and_nothing_else(flat: Path, tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return FolderSource(root, cache=tmp_path / "cache").digest

    first = digest(flat)
    (flat / "a" / ".DS_Store").touch()
    os.utime(flat / "a" / "000.png", (1, 1))
    moved = flat.rename(flat.parent / "elsewhere")
    assert digest(moved) == first
    (moved / "a" / "000.png").rename(moved / "a" / "zero.png")
    renamed = digest(moved)
    assert renamed != first
    (moved / "a" / "zero.png").write_bytes((moved / "a" / "zero.png").read_bytes() + b"\0")
    assert digest(moved) not in (first, renamed)


def test_each_fault_of_a_tree_is_listed_with_what_is_right(split: Path) -> None:
    (split / "train" / "empty").mkdir()
    (split / "test" / "stranger").mkdir()
    (split / "test" / "x" / "000.png").rename(split / "test" / "stranger" / "000.png")
    found: list[Fault] = []
    listed = Folder().inspect(spec(split), cache=split / ".cache", report=found.append)
    assert [(fault.kind, fault.file) for fault in found] == [
        ("empty", "train/empty"),
        ("label", "test/stranger"),
    ]
    assert listed is not None
    assert listed[1].classes == ("x", "y")
    assert len(listed[1].members) == 21


def test_a_tree_of_another_form_lists_nothing(split: Path) -> None:
    (split / "spare").mkdir()
    found: list[Fault] = []
    assert Folder().inspect(spec(split), cache=split / ".cache", report=found.append) is None
    assert [(fault.kind, fault.file) for fault in found] == [("missing", ".")]


@pytest.mark.parametrize("unreadable", [".", "a", "a/deep"])
def test_a_folder_that_cannot_be_read_is_told_and_not_taken_for_an_empty_one(
    flat: Path, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    (flat / "a/deep").mkdir()
    refused = flat / unreadable
    scandir = os.scandir

    def scan(place: Any) -> Any:
        if Path(place) == refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return scandir(place)

    def refuse(place: Path) -> Any:
        return iter(sorted(place / entry.name for entry in scan(place)))

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(Path, "iterdir", refuse)
    chosen = DataSpec(name="folder", root=str(flat))
    with pytest.raises(DataError, match=f"the folder {refused} can't be read: Permission denied"):
        Folder().open(chosen, cache=flat.parent / "cache")
    (fault,) = data.verify(chosen, cache=flat.parent / "cache").faults
    assert f"{refused} can't be read" in fault.detail


def test_a_split_folder_that_is_there_in_two_spellings_is_refused(split: Path) -> None:
    (split / "Train/x").mkdir(parents=True)
    with pytest.raises(DataError, match="it has Train/ beside them"):
        Folder().open(spec(split), cache=split.parent / "cache")
