"""Verifying: every faulty file is named once, by its most telling fault, and no other file is."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cub_tree import draw_cub
from PIL import Image
from typer.testing import CliRunner

from mcl_bench import data
from mcl_bench.cli import app
from mcl_bench.data import store as store_module
from mcl_bench.data.catalog import listed as lists
from mcl_bench.data.catalog.source import (
    Archive,
    DatasetFacts,
    Fault,
    Report,
    Source,
    Split,
)
from mcl_bench.records import UserError
from mcl_bench.spec.schema import DataSpec

SPLITS: dict[str, Split] = {"train": "train", "test": "test"}
CLASSES = ("ant", "bee")
ARCHIVE = b"the official archive"


def picture(number: int, *, size: tuple[int, int] = (24, 20)) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


class Insects:
    """A dataset of one list, `list.txt`, with rows `path class split`."""

    facts = DatasetFacts(
        name="insects",
        title="Drawn insects",
        classes=2,
        images="insects.tgz",
        citation="nobody",
        licence="none",
        needs_root=True,
        folder="insects",
        archives=(
            Archive(
                name="insects.tgz",
                page="http://localhost/insects",
                md5=hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest(),
            ),
        ),
        counts={"train": 12, "test": 8},
        optional_files=("boxes.txt",),
    )

    def check(self, data: DataSpec) -> None:
        lists.find_root(data, facts=self.facts, required=("list.txt",))

    def unused(self, data: DataSpec) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def open(self, data: DataSpec, *, cache: Path) -> Source:
        root = lists.find_root(data, facts=self.facts, required=("list.txt",))
        return self._source(root, cache, lists.refuse(root))

    def inspect(self, data: DataSpec, *, cache: Path, report: Report) -> tuple[Path, Source]:
        root = lists.find_root(data, facts=self.facts, required=("list.txt",))
        return root, self._source(root, cache, report)

    def _source(self, root: Path, cache: Path, report: Report) -> Source:
        named, kept = set(), []
        for number, line in enumerate((root / "list.txt").read_text().splitlines(), start=1):
            path, kind, split = line.split()
            named.add(path)
            place = f"list.txt:{number}"
            if kind not in CLASSES:
                report(Fault(kind="label", file=path, detail=f"no class is {kind}", place=place))
            elif split not in SPLITS:
                report(Fault(kind="split", file=path, detail=f"no split is {split}", place=place))
            else:
                image = lists.Listed(
                    path=path, label=CLASSES.index(kind), split=SPLITS[split], place=place
                )
                kept.append(image)
        present = list(lists.keep_present(kept, root=root, facts=self.facts, report=report))
        lists.tell_orphans(root / "images", named=named, root=root, report=report)
        return lists.ListedSource(root, classes=CLASSES, images=present, cache=cache)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 images of 2 classes: of each, the first 6 in train and 4 in test."""
    monkeypatch.setitem(store_module.DATASETS, "insects", Insects())
    root = tmp_path / "insects"
    rows = []
    for label, kind in enumerate(CLASSES):
        (root / "images" / kind).mkdir(parents=True)
        for number in range(10):
            name = f"images/{kind}/{number}.png"
            picture(100 * label + number).save(root / name)
            rows.append(f"{name} {kind} {'train' if number < 6 else 'test'}")
    (root / "list.txt").write_text("\n".join(rows))
    (root / "boxes.txt").write_text("none")
    return root


def verified(root: Path, name: str = "insects") -> data.Verification:
    return data.verify(DataSpec(name=name, root=str(root)), cache=root.parent / "cache")


def relist(root: Path, old: str, new: str) -> None:
    text = (root / "list.txt").read_text()
    assert text.count(old) == 1
    (root / "list.txt").write_text(text.replace(old, new))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def again_as(path: Path, other: Path) -> None:
    """The pixels of `path` in another file, of other bytes."""
    Image.open(path).save(other, compress_level=0)


PLANTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "images/ant/0.png": ("missing", lambda root: (root / "images/ant/0.png").unlink()),
    "images/ant/1.png": ("empty", lambda root: (root / "images/ant/1.png").write_bytes(b"")),
    "images/ant/2.png": ("corrupt", lambda root: cut_short(root / "images/ant/2.png")),
    "images/ant/3.png": ("corrupt", lambda root: (root / "images/ant/3.png").write_text("<html>")),
    "images/ant/8.png": (
        "duplicate",
        lambda root: shutil.copy(root / "images/ant/4.png", root / "images/ant/8.png"),
    ),
    "images/bee/0.png": (
        "duplicate",
        lambda root: again_as(root / "images/ant/5.png", root / "images/bee/0.png"),
    ),
    "images/bee/1.png": (
        "label",
        lambda root: relist(root, "bee/1.png bee", "bee/1.png wasp"),
    ),
    "images/bee/2.png": (
        "split",
        lambda root: relist(root, "bee/2.png bee train", "bee/2.png bee both"),
    ),
    "images/bee/new.png": ("orphan", lambda root: picture(7).save(root / "images/bee/new.png")),
    "../bee/3.png": (
        "path",
        lambda root: (
            relist(root, "images/bee/3.png", "../bee/3.png"),
            (root / "images/bee/3.png").unlink(),
        ),
    ),
}


def test_a_sound_tree_has_no_fault_and_no_note(tree: Path) -> None:
    found = verified(tree)
    assert (found.faults, found.notes) == ((), ())
    assert (found.images, found.classes) == (20, 2)
    assert found.splits == {"train": 12, "test": 8}


def test_ten_planted_faults_are_named_and_no_other_file(tree: Path) -> None:
    for _, plant in PLANTS.values():
        plant(tree)
    found = verified(tree)
    assert {fault.file: fault.kind for fault in found.faults} == {
        file: kind for file, (kind, _) in PLANTS.items()
    }
    assert len(found.faults) == 10
    assert found.images == 16


@pytest.mark.parametrize("file", PLANTS)
def test_each_planted_fault_alone_is_the_only_one(tree: Path, file: str) -> None:
    kind, plant = PLANTS[file]
    plant(tree)
    (fault,) = verified(tree).faults
    assert (fault.kind, fault.file) == (kind, file)


def test_a_duplicate_names_its_partner_and_what_that_spoils(tree: Path) -> None:
    for file in ("images/ant/8.png", "images/bee/0.png"):
        PLANTS[file][1](tree)
    bytewise, pixelwise = verified(tree).faults
    assert bytewise.detail == (
        "has the same bytes as images/ant/4.png, a training image; this is a test image"
    )
    assert pixelwise.detail == (
        "shows the same pixels as images/ant/5.png; they are of two classes"
    )


def test_an_empty_file_that_is_there_twice_is_only_empty(tree: Path) -> None:
    for name in ("images/ant/1.png", "images/ant/2.png"):
        (tree / name).write_bytes(b"")
    assert [fault.kind for fault in verified(tree).faults] == ["empty", "empty"]


@pytest.mark.parametrize("target", ["nowhere.png", "../bee/1.png"])
def test_only_a_link_that_leads_to_no_file_is_missing(
    tree: Path, tmp_path: Path, target: str
) -> None:
    (tree / "list.txt").unlink()
    link = tree / "images/ant/0.png"
    link.unlink()
    link.symlink_to(target)
    folder = DataSpec(name="folder", root=str(tree / "images"))
    (fault,) = data.verify(folder, cache=tmp_path / "cache").faults
    wanted = ("missing", "ant/0.png") if target == "nowhere.png" else ("duplicate", "bee/1.png")
    assert (fault.kind, fault.file) == wanted


def test_an_empty_file_is_empty_whatever_its_name_is_made_of(tree: Path, tmp_path: Path) -> None:
    (tree / "images/ant" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    folder = DataSpec(name="folder", root=str(tree / "images"))
    (fault,) = data.verify(folder, cache=tmp_path / "cache").faults
    assert (fault.kind, fault.file) == ("empty", r"ant/caf\udce9.png")


def test_an_image_with_several_faults_is_named_once(tree: Path) -> None:
    relist(tree, "bee/1.png bee", "bee/1.png wasp")
    text = (tree / "list.txt").read_text()
    (tree / "list.txt").write_text(f"{text}\nimages/bee/1.png bee both")
    (fault,) = verified(tree).faults
    assert (fault.kind, fault.file) == ("label", "images/bee/1.png")


def test_pixels_of_another_shape_are_no_duplicate(tree: Path) -> None:
    Image.new("RGB", (4, 9)).save(tree / "images/ant/0.png")
    Image.new("RGB", (9, 4)).save(tree / "images/ant/1.png")
    assert verified(tree).faults == ()


def test_an_archive_beside_the_images_must_be_the_official_one(tree: Path) -> None:
    (tree.parent / "insects.tgz").write_bytes(ARCHIVE)
    assert verified(tree).faults == ()
    (tree.parent / "insects.tgz").write_bytes(ARCHIVE[:-1])
    (fault,) = verified(tree).faults
    assert (fault.kind, fault.file) == ("checksum", "../insects.tgz")
    assert Insects.facts.archives[0].md5 in fault.detail


def test_other_counts_and_absent_optional_files_are_notes(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = dataclasses.replace(Insects.facts, classes=3, counts={"train": 12, "test": 5_794})
    monkeypatch.setattr(Insects, "facts", facts)
    (tree / "boxes.txt").unlink()
    found = verified(tree)
    assert found.faults == ()
    assert found.notes == (
        "2 classes, the official set has 3",
        "test: 8 images, the official set has 5,794",
        "boxes.txt is absent; it is optional",
    )


def test_a_root_that_is_not_there_is_one_fault(tmp_path: Path, tree: Path) -> None:
    (fault,) = verified(tmp_path / "nowhere").faults
    assert (fault.kind, fault.file) == ("missing", ".")
    assert fault.detail == f"data.root {str(tmp_path / 'nowhere')!r} does not exist"
    assert tree.exists()


def test_reading_is_told_image_by_image(tree: Path) -> None:
    told: list[tuple[int, int]] = []
    chosen = DataSpec(name="insects", root=str(tree))
    data.verify(chosen, cache=tree.parent / "cache", progress=lambda *done: told.append(done))
    assert told == [(number, 20) for number in range(1, 21)]


def test_the_images_of_cub200_are_read(tmp_path: Path) -> None:
    root = tmp_path / "CUB_200_2011"
    birds = draw_cub(root, classes=3)
    sound = verified(root, "cub200")
    assert (sound.images, sound.classes, sound.faults) == (27, 3, ())
    assert sound.splits == {"train": 15, "test": 12}
    assert sound.notes[0] == "3 classes, the official set has 200"
    empty, short, copied = (f"images/{birds[number].path}" for number in (0, 10, 26))
    (root / empty).write_bytes(b"")
    cut_short(root / short)
    shutil.copy(root / f"images/{birds[1].path}", root / copied)
    kinds = {fault.file: fault.kind for fault in verified(root, "cub200").faults}
    assert kinds == {empty: "empty", short: "corrupt", copied: "duplicate"}


def test_a_truncated_jpeg_is_corrupt_though_a_viewer_would_show_it(tree: Path) -> None:
    whole = io.BytesIO()
    picture(3, size=(200, 200)).save(whole, "JPEG", quality=95)
    (tree / "images/ant/0.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (fault,) = verified(tree).faults
    assert (fault.kind, fault.file) == ("corrupt", "images/ant/0.png")


def run(*arguments: str, home: Path, code: int) -> str:
    done = CliRunner(env={"MCL_HOME": str(home), "MCL_DATA": str(home)}).invoke(
        app, ["data", "verify", *arguments], catch_exceptions=False
    )
    assert done.exit_code == code
    return done.stdout


def test_the_verb_prints_one_document_and_exits_3_with_a_fault(tree: Path) -> None:
    arguments = ("insects", "--root", str(tree), "--json")
    sound = json.loads(run(*arguments, home=tree.parent, code=0))
    assert sound == {
        "images": 20,
        "classes": 2,
        "splits": {"train": 12, "test": 8},
        "faults": [],
        "notes": [],
    }
    PLANTS["images/ant/0.png"][1](tree)
    found = json.loads(run(*arguments, home=tree.parent, code=3))
    assert found["faults"] == [
        {
            "kind": "missing",
            "file": "images/ant/0.png",
            "detail": "does not exist (list.txt:1)",
        }
    ]


def test_the_verb_tells_people_what_to_do(tree: Path) -> None:
    said = run("insects", "--root", str(tree), home=tree.parent, code=0)
    assert "20 images of 2 classes (train 12, test 8)" in said
    assert "every list and every image is in order" in said
    PLANTS["images/bee/new.png"][1](tree)
    said = run("insects", "--root", str(tree), home=tree.parent, code=3)
    assert "orphan  images/bee/new.png" in said
    assert "add it to the lists, or take the file away" in said


def test_without_a_root_the_verb_looks_where_fetch_puts_it(tree: Path) -> None:
    assert "20 images of 2 classes" in run("insects", home=tree.parent, code=0)


def test_a_files_name_moves_no_cursor(tree: Path) -> None:
    picture(7).save(tree / "images/bee/\x1b[2Jnew.png")
    said = run("insects", "--root", str(tree), home=tree.parent, code=3)
    assert "\x1b" not in said
    assert "images/bee/\\x1b[2Jnew.png" in said


def test_many_faults_are_summed_up_for_people(tree: Path) -> None:
    for number in range(120):
        picture(1000 + number).save(tree / f"images/bee/new {number}.png")
    said = run("insects", "--root", str(tree), home=tree.parent, code=3)
    assert "… and 20 more" in said
    assert "120 orphan" in said


@pytest.mark.parametrize(
    ("name", "root", "options", "words"),
    [
        ("digits", None, {"a": 1}, "data.options.a is not an option of digits"),
        ("folder", "there", {"a": 1}, "data.options.a is not an option of folder"),
        ("digits", "there", {}, "data.root is not used by digits"),
    ],
)
def test_what_a_set_does_not_know_is_refused(
    tmp_path: Path, name: str, root: str | None, options: dict[str, int], words: str
) -> None:
    (tmp_path / "there").mkdir()
    at = None if root is None else str(tmp_path / root)
    with pytest.raises(UserError, match=words):
        data.verify(DataSpec(name=name, root=at, options=options), cache=tmp_path / "cache")


def test_what_is_no_image_is_told_in_the_same_words_each_time(tmp_path: Path) -> None:
    draw_cub(tmp_path / "cub")
    path = min((tmp_path / "cub").rglob("*.jpg"))
    path.write_bytes(b"<html>moved</html>")
    chosen = DataSpec(name="cub200", root=str(tmp_path / "cub"))
    (fault,) = data.verify(chosen, cache=tmp_path / "cache").faults
    assert fault.detail == "cannot be read: the file is no image of a known kind"
