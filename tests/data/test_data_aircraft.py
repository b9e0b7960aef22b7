"""FGVC-Aircraft in its official layout: what is read, and what is refused by file and line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from aircraft_tree import FOLDER, KINDS, write_aircraft
from listed_sets import drawn, inspected, listed, only_fault, opened, refusal, spec
from photographs import Photograph
from PIL import Image
from torchvision.datasets import FGVCAircraft

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS
from mcl_bench.records import DataError, TestGrant, UserError

VARIANTS = "data/variants.txt"
TRAIN = "data/images_variant_train.txt"
TEST = "data/images_variant_test.txt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Photograph]]:
    root = tmp_path_factory.mktemp("aircraft") / FOLDER
    return root, write_aircraft(root)


@pytest.fixture
def tree(whole: tuple[Path, list[Photograph]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "data" / FOLDER))


@pytest.fixture
def photographs(whole: tuple[Path, list[Photograph]]) -> list[Photograph]:
    return whole[1]


def edit(path: Path, change: Callable[[list[str]], None]) -> None:
    rows = path.read_text().splitlines()
    change(rows)
    path.write_text("".join(f"{row}\n" for row in rows))


def test_variants_keep_the_order_of_their_list_and_images_their_split(
    tree: Path, photographs: list[Photograph]
) -> None:
    source = opened(spec("aircraft", tree))
    assert tuple(source.classes) == ("F/A-18", "707-320", "BAE 146-200", "737-700")
    assert listed(source) == drawn(photographs)


@pytest.mark.parametrize("level", ["variant", "family", "manufacturer"])
def test_each_level_has_the_classes_that_torchvision_reads(tree: Path, level: str) -> None:
    source = opened(spec("aircraft", tree, level=level))
    found = listed(source)
    for split, word in (("train", "train"), ("validation", "val"), ("test", "test")):
        theirs = FGVCAircraft(tree.parent, split=word, annotation_level=level)
        paths = [Path(path).relative_to(tree).as_posix() for path in theirs._image_files]
        wanted = dict(zip(paths, theirs._labels, strict=True))
        assert list(source.classes) == theirs.classes
        assert {path: label for path, (label, side) in found.items() if side == split} == wanted


def test_two_levels_are_two_sets_of_the_same_images(tree: Path) -> None:
    variant, family = (
        opened(spec("aircraft", tree, level=level)) for level in ("variant", "family")
    )
    assert listed(variant).keys() == listed(family).keys()
    assert variant.digest != family.digest


def test_the_official_validation_split_is_the_one_that_is_validated_on(
    tree: Path, photographs: list[Photograph], store: Path, grant: TestGrant
) -> None:
    official = spec("aircraft", tree).model_copy(update={"validation": "official"})
    DATASETS["aircraft"].check(official)
    packed = data.prepare(official, store=store)
    assert (packed.num_train, packed.num_test) == (20, 8)
    images = data.open_train(packed)
    cut = data.cut(images.labels, digest=packed.digest, data=official, official=images.official)
    wanted = {one.path for one in photographs if one.split == "validation"}
    assert {images.ids[index] for index in cut.validation.tolist()} == wanted
    assert set(data.open_test(packed, grant).ids) == {
        one.path for one in photographs if one.split == "test"
    }


def test_the_banner_is_cut_away_before_an_image_is_resized(
    tree: Path, photographs: list[Photograph], store: Path
) -> None:
    one = next(photograph for photograph in photographs if photograph.split == "train")
    width, height = one.size
    image = Image.new("RGB", one.size, "black")
    image.paste("white", (0, height - 20, width, height))
    image.save(tree / one.path.replace(".jpg", ".png"), format="PNG")
    (tree / one.path.replace(".jpg", ".png")).rename(tree / one.path)
    assert opened(spec("aircraft", tree)).read(0).trim_bottom == 20
    images = data.open_train(data.prepare(spec("aircraft", tree), store=store))
    pixels = images.pixels[torch.tensor([images.ids.index(one.path)])]
    assert int(pixels.max()) == 0


def test_an_image_lower_than_its_banner_is_an_unreadable_one(
    tree: Path, photographs: list[Photograph], store: Path
) -> None:
    Image.new("RGB", (40, 20)).save(tree / photographs[0].path)
    with pytest.raises(DataError, match="20 pixels high, of which 20 are cut away"):
        data.prepare(spec("aircraft", tree), store=store)


def test_the_digest_knows_the_split(tree: Path) -> None:
    before = opened(spec("aircraft", tree)).digest
    train, val = tree / TRAIN, tree / "data/images_variant_val.txt"
    moved = train.read_text().splitlines()[0]
    edit(train, lambda rows: rows.remove(moved))
    edit(val, lambda rows: rows.append(moved))
    assert opened(spec("aircraft", tree)).digest != before
    edit(val, lambda rows: rows.remove(moved))
    edit(train, lambda rows: rows.append(moved))
    assert opened(spec("aircraft", tree)).digest == before


def test_the_folder_above_will_do(tree: Path) -> None:
    assert opened(spec("aircraft", tree.parent)).digest == opened(spec("aircraft", tree)).digest


def test_lists_with_a_mark_of_their_coding_and_other_line_ends_are_read(tree: Path) -> None:
    before = opened(spec("aircraft", tree)).digest
    for name in (VARIANTS, TRAIN):
        text = (tree / name).read_text().replace("\n", "\r\n")
        (tree / name).write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    assert opened(spec("aircraft", tree)).digest == before


def test_without_the_archive_it_says_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        DATASETS["aircraft"].check(spec("aircraft", tmp_path / FOLDER))
    for words in ("fgvc-aircraft-2013b.tar.gz", "d4acdd33327262359767eeaa97a4f732", "vgg/data"):
        assert words in str(caught.value)


def test_only_the_lists_of_the_level_must_be_there(tree: Path) -> None:
    (tree / TEST).unlink()
    DATASETS["aircraft"].check(spec("aircraft", tree, level="family"))
    with pytest.raises(DataError, match=r"images_variant_test\.txt: does not exist"):
        DATASETS["aircraft"].check(spec("aircraft", tree))
    faults, source = inspected(spec("aircraft", tree))
    assert [(fault.kind, fault.file) for fault in faults] == [("missing", TEST)]
    assert source is None


def test_a_level_that_is_none_is_refused(tree: Path) -> None:
    with pytest.raises(UserError) as caught:
        DATASETS["aircraft"].check(spec("aircraft", tree, level="model"))
    assert (caught.value.key, caught.value.exit_code) == ("data.options.level", 2)


def test_an_image_that_is_not_there_is_missing(tree: Path, photographs: list[Photograph]) -> None:
    (tree / photographs[1].path).unlink()
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.file, fault.place) == ("missing", photographs[1].path, f"{TRAIN}:2")


def test_an_image_that_no_list_names_is_an_orphan(tree: Path) -> None:
    (tree / "data/images/9999999.jpg").write_bytes(b"?")
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.file) == ("orphan", "data/images/9999999.jpg")


def test_an_image_in_two_splits_is_told_with_both_places(tree: Path) -> None:
    first = (tree / TRAIN).read_text().splitlines()[0]
    edit(tree / TEST, lambda rows: rows.append(first))
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.place) == ("split", f"{TEST}:9")
    assert fault.detail == f"is in train and in test, first at {TRAIN}:1"


def test_an_image_listed_twice_is_a_duplicate(tree: Path) -> None:
    first = (tree / TRAIN).read_text().splitlines()[0]
    edit(tree / TRAIN, lambda rows: rows.append(first))
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.place) == ("duplicate", f"{TRAIN}:13")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{} Boeing 707", "has class 'Boeing 707', which is not in data/variants.txt"),
        ("{}", "no class"),
    ],
)
def test_a_class_that_is_not_in_the_list_is_a_label_fault(
    tree: Path, photographs: list[Photograph], row: str, words: str
) -> None:
    edit(tree / TRAIN, lambda rows: rows.__setitem__(1, row.format(rows[1].split()[0])))
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.file, fault.place) == ("label", photographs[1].path, f"{TRAIN}:2")
    assert words in fault.detail


def test_a_path_that_leads_out_of_the_folder_is_told(tree: Path) -> None:
    edit(tree / TRAIN, lambda rows: rows.append("../../../outside 707-320"))
    assert only_fault(spec("aircraft", tree)).kind == "path"


def test_a_name_that_is_too_long_for_a_file_is_missing(tree: Path) -> None:
    edit(tree / TRAIN, lambda rows: rows.append(f"{'0' * 300} 707-320"))
    assert only_fault(spec("aircraft", tree)).kind == "missing"


def test_a_class_without_training_images_is_empty(tree: Path) -> None:
    edit(tree / VARIANTS, lambda rows: rows.append(KINDS[4][0]))
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.file, fault.place) == ("empty", VARIANTS, f"{VARIANTS}:5")


def test_a_class_listed_twice_is_told(tree: Path) -> None:
    edit(tree / VARIANTS, lambda rows: rows.append(rows[0]))
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.place) == ("duplicate", f"{VARIANTS}:5")


def test_a_list_that_cannot_be_read_ends_the_listing(tree: Path) -> None:
    (tree / TEST).write_text("\n")
    faults, source = inspected(spec("aircraft", tree))
    assert [(fault.kind, fault.file) for fault in faults] == [("empty", TEST)]
    assert source is None
    assert "has no rows" in refusal(spec("aircraft", tree))


def test_a_line_that_is_no_text_is_told_and_left_out(tree: Path) -> None:
    with (tree / TEST).open("ab") as file:
        file.write(b"\xff\xfe 707-320\n")
    fault = only_fault(spec("aircraft", tree))
    assert (fault.kind, fault.place) == ("corrupt", f"{TEST}:9")


def test_all_faults_are_told_at_once_and_what_is_right_is_listed(
    tree: Path, photographs: list[Photograph]
) -> None:
    (tree / photographs[2].path).unlink()
    (tree / "data/images/stray.jpg").write_bytes(b"?")
    edit(tree / TRAIN, lambda rows: rows.__setitem__(0, f"{rows[0].split()[0]} 747-400"))
    faults, source = inspected(spec("aircraft", tree))
    assert sorted((fault.kind, fault.file) for fault in faults) == [
        ("label", photographs[0].path),
        ("missing", photographs[2].path),
        ("orphan", "data/images/stray.jpg"),
    ]
    assert source is not None
    left = [one for one in photographs if one not in (photographs[0], photographs[2])]
    assert listed(source) == drawn(left)
