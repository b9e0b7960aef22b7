"""CUB-200-2011 in its official layout: what is read, and what is refused by file and line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cub_tree import LISTS, Bird, draw_cub
from PIL import Image

from mcl_bench import data
from mcl_bench.data.catalog.cub200 import Cub200, Cub200Source
from mcl_bench.records import DataError, TestGrant, UserError
from mcl_bench.spec.schema import DataSpec

SMALL = {"classes": 3, "train": 3, "test": 2}

Edit = Callable[[str], str | None]
"""What becomes of one line of a list: None takes it away, a line break makes two of it."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Bird]]:
    root = tmp_path_factory.mktemp("cub") / "CUB_200_2011"
    return root, draw_cub(root, **SMALL)


@pytest.fixture
def tree(drawn: tuple[Path, list[Bird]], tmp_path: Path) -> Path:
    """A tree of one's own: three classes, each of three training and two test images."""
    return Path(shutil.copytree(drawn[0], tmp_path / "data" / "CUB_200_2011"))


@pytest.fixture
def birds(drawn: tuple[Path, list[Bird]]) -> list[Bird]:
    return drawn[1]


def spec(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="cub200", root=str(root), **{"resize": 48, "crop": 48, **changes})


def opened(root: Path) -> Cub200Source:
    return Cub200().open(spec(root), cache=root.parent / "cache")


def edit(path: Path, lines: dict[int, str | None] | Edit) -> None:
    """Change a list: by line (from 1), or each line by a function."""
    rows = path.read_text().splitlines()
    change = lines if callable(lines) else None
    edited = [
        change(row) if change else lines.get(number, row)
        for number, row in enumerate(rows, start=1)
    ]
    path.write_text("".join(f"{row}\n" for row in edited if row is not None))


def refusal(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(root)
    assert caught.value.exit_code == 3
    assert caught.value.key == "data.root"
    assert caught.value.remedy
    return caught.value


def test_the_official_split_and_the_names_of_the_classes_are_kept(
    tree: Path, birds: list[Bird], store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(tree), store=store)
    assert packed.classes == (
        "001.Black_footed_Albatross",
        "002.Laysan_Albatross",
        "003.Sooty_Albatross",
    )
    assert (packed.num_train, packed.num_test) == (9, 6)
    for images, trained in (
        (data.open_train(packed), True),
        (data.open_test(packed, grant), False),
    ):
        wanted = {f"images/{bird.path}": bird.label for bird in birds if bird.trained is trained}
        assert dict(zip(images.ids, images.labels.tolist(), strict=True)) == wanted
        assert not images.official.any()


def test_a_tree_of_a_dozen_classes_is_packed_and_validated_on_its_training_images(
    tmp_path: Path, store: Path
) -> None:
    birds = draw_cub(tmp_path / "cub")
    assert len(birds) > 100
    packed = data.prepare(spec(tmp_path / "cub", validation=0.2), store=store)
    images = data.open_train(packed)
    sides = data.cut(images.labels, digest=packed.digest, data=spec(tmp_path / "cub"))
    assert torch.bincount(images.labels[sides.validation]).tolist() == [1] * 12
    assert torch.bincount(images.labels[sides.train]).tolist() == [4] * 12


def test_boxes_and_parts_are_shares_of_the_image(
    tree: Path, birds: list[Bird], store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(tree), store=store)
    by_id = {f"images/{bird.path}": bird for bird in birds}
    hidden = 0
    for images in (data.open_train(packed), data.open_test(packed, grant)):
        assert {name: one.dtype for name, one in images.extra.items()} == {
            "box": torch.float32,
            "parts": torch.float32,
        }
        for name, box, parts in zip(
            images.ids, images.extra["box"], images.extra["parts"], strict=True
        ):
            bird = by_id[name]
            sides = (bird.width, bird.height)
            wanted = torch.tensor([value / sides[i % 2] for i, value in enumerate(bird.box)])
            torch.testing.assert_close(box, wanted)
            places = torch.tensor([(x / sides[0], y / sides[1], seen) for x, y, seen in bird.parts])
            torch.testing.assert_close(parts, places)
            hidden += int((parts == 0).all(dim=1).sum())
    assert hidden == sum(not seen for bird in birds for _, _, seen in bird.parts) > 0


def test_a_visible_part_lies_on_its_white_spot_in_the_stored_image(tree: Path, store: Path) -> None:
    packed = data.prepare(spec(tree, resize=200, crop=200), store=store)
    images = data.open_train(packed)
    pixels = images.pixels[torch.arange(len(images))].float().mean(dim=1)
    at_parts = [
        pixels[i, int(y * 200) : int(y * 200) + 2, int(x * 200) : int(x * 200) + 2].mean().item()
        for i in range(len(images))
        for x, y, seen in images.extra["parts"][i]
        if seen
    ]
    assert np.mean(at_parts) > 225
    assert pixels.mean() < 150


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_and_boxes_turn_with_the_image(tree: Path, store: Path, orientation: int) -> None:
    lists = opened(tree)
    name = lists.members[0].id
    canvas = np.zeros((60, 90, 3), dtype=np.uint8)
    canvas[40:44, 20:24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(canvas).save(tree / name, exif=exif, quality=95)
    edit(tree / "bounding_boxes.txt", {1: "1 20 40 4 4"})
    edit(tree / "parts/part_locs.txt", {1: "1 1 22 42 1"})
    images = data.open_train(data.prepare(spec(tree, resize=180, crop=180), store=store))
    row = images.ids.index(name)
    shown = images.pixels[torch.tensor([row])][0].float().mean(dim=0) > 128
    where = shown.nonzero().float()
    corners = [*where.min(dim=0).values.tolist(), *(where.max(dim=0).values + 1).tolist()]
    x, y, width, height = (images.extra["box"][row] * 180).tolist()
    assert [y, x, y + height, x + width] == pytest.approx(corners, abs=2)
    part = images.extra["parts"][row, 0]
    middle = ((where.mean(dim=0).flip(0) + 0.5) / 180).tolist()
    assert part.tolist() == pytest.approx([*middle, 1], abs=0.01)


@pytest.mark.parametrize(
    ("absent", "kept"),
    [
        (("bounding_boxes.txt",), {"parts": (15, 3)}),
        (("parts/parts.txt",), {"box": (4,)}),
        (("parts/part_locs.txt",), {"box": (4,)}),
        (("bounding_boxes.txt", "parts/parts.txt", "parts/part_locs.txt"), {}),
    ],
)
def test_what_is_not_annotated_is_not_in_extra(
    tree: Path, store: Path, absent: tuple[str, ...], kept: dict[str, tuple[int, ...]]
) -> None:
    for name in absent:
        (tree / name).unlink()
    images = data.open_train(data.prepare(spec(tree), store=store))
    assert {name: tuple(one.shape[1:]) for name, one in images.extra.items()} == kept


def test_annotations_that_come_later_are_packed_then(tree: Path, store: Path) -> None:
    boxes = (tree / "bounding_boxes.txt").rename(tree / "away")
    first = data.prepare(spec(tree), store=store)
    assert set(data.open_train(first).extra) == {"parts"}
    boxes.rename(tree / "bounding_boxes.txt")
    again = data.prepare(spec(tree), store=store)
    assert (again.digest, again.train_path) == (first.digest, first.train_path)
    assert set(data.open_train(again).extra) == {"box", "parts"}
    (tree / "bounding_boxes.txt").unlink()
    kept = data.prepare(spec(tree), store=store)
    assert set(data.open_train(kept).extra) == {"box", "parts"}


def test_lists_may_be_reduced_and_in_any_order(tree: Path) -> None:
    whole = opened(tree)
    for name in LISTS[:4]:
        rows = (tree / name).read_text().splitlines()
        (tree / name).write_text("\r\n".join(reversed(rows)) + "\r\n\r\n")
    mixed = opened(tree)
    assert mixed.classes == tuple(reversed(whole.classes))
    named = [
        {(member.id, source.classes[member.label], member.split) for member in source.members}
        for source in (whole, mixed)
    ]
    assert named[0] == named[1]
    assert mixed.digest == whole.digest


def test_a_class_without_an_image_is_left_out(tree: Path, birds: list[Bird]) -> None:
    shutil.rmtree(tree / "images" / "002.Laysan_Albatross")
    gone = {str(number) for number, bird in enumerate(birds, start=1) if bird.label == 1}
    for name in LISTS:
        if name not in ("classes.txt", "parts/parts.txt"):
            edit(tree / name, lambda row: None if row.split()[0] in gone else row)
    source = opened(tree)
    assert source.classes == ("001.Black_footed_Albatross", "003.Sooty_Albatross")
    assert {member.id.split("/")[1]: member.label for member in source.members} == {
        "001.Black_footed_Albatross": 0,
        "003.Sooty_Albatross": 1,
    }


def test_the_digest_knows_path_bytes_class_and_split_and_nothing_else(tree: Path) -> None:
    first = opened(tree).digest
    os.utime(tree / "images.txt", (1, 1))
    (tree / "bounding_boxes.txt").unlink()
    (tree / "attributes.txt").write_text("1 has_bill_shape::curved\n")
    tree = tree.rename(tree.parent / "elsewhere")
    assert opened(tree).digest == first
    edit(tree / "train_test_split.txt", {1: "1 0"})
    other_split = opened(tree).digest
    assert other_split != first
    edit(tree / "train_test_split.txt", {1: "1 1"})
    assert opened(tree).digest == first
    image = tree / opened(tree).members[0].id
    image.write_bytes(image.read_bytes() + b"\0")
    assert opened(tree).digest not in (first, other_split)


def test_the_folder_above_will_do(tree: Path) -> None:
    (tree.parent / "attributes.txt").write_text("as the archive has it beside the folder")
    data_above, data_at = spec(tree.parent), spec(tree)
    Cub200().check(data_above)
    cache = tree.parent / "cache"
    above, at = (Cub200().open(one, cache=cache) for one in (data_above, data_at))
    assert above.members == at.members
    assert above.digest == at.digest


def test_a_tree_in_a_tree_is_refused(tree: Path) -> None:
    shutil.copytree(tree, tree / "CUB_200_2011")
    with pytest.raises(DataError, match="and so does its CUB_200_2011/"):
        Cub200().check(spec(tree))


@pytest.mark.parametrize("state", ["absent", "empty", "a file"])
def test_without_the_data_it_says_what_to_get_and_where_to_put_it(
    tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("data/CUB_200_2011")
    if state == "empty":
        root.mkdir(parents=True)
    if state == "a file":
        root.parent.mkdir()
        root.touch()
    with pytest.raises(DataError) as caught:
        Cub200().check(spec(root))
    assert caught.value.exit_code == 3
    assert caught.value.key == "data.root"
    for words in (
        "'data/CUB_200_2011'",
        "CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
        "https://data.caltech.edu/records/65de6-vp158",
        str(tmp_path / "data/CUB_200_2011/images.txt"),
        "MCL_DATA",
        "${oc.env:MCL_DATA,data}/CUB_200_2011",
    ):
        assert words in str(caught.value)


def test_a_root_that_is_not_named_is_a_fault_of_the_file() -> None:
    with pytest.raises(UserError, match="got none") as caught:
        Cub200().check(DataSpec(name="cub200"))
    assert caught.value.exit_code == 2
    assert "CUB_200_2011.tgz" in str(caught.value)


@pytest.mark.parametrize("name", LISTS[:4])
def test_a_list_that_is_absent_is_named(tree: Path, name: str) -> None:
    (tree / name).unlink()
    with pytest.raises(DataError) as caught:
        Cub200().check(spec(tree))
    assert caught.value.rule == f"{tree / name} does not exist"
    assert "CUB_200_2011.tgz again" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"validation": "official"}, "data.validation"),
        ({"options": {"boxes": True}}, "data.options.boxes"),
    ],
)
def test_what_cub200_does_not_have_is_refused(
    tree: Path, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(UserError) as caught:
        Cub200().check(spec(tree, **changes))
    assert (caught.value.key, caught.value.exit_code) == (key, 2)


FORMS = {
    "images.txt": "image path",
    "classes.txt": "class name",
    "image_class_labels.txt": "image class",
    "train_test_split.txt": "image 1|0",
    "bounding_boxes.txt": "image x y width height",
    "parts/parts.txt": "part name",
    "parts/part_locs.txt": "image part x y 1|0",
}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("images.txt", "2"),
        ("images.txt", "two 001.Black_footed_Albatross/x.jpg"),
        ("images.txt", "-2 001.Black_footed_Albatross/x.jpg"),
        ("classes.txt", "002.Laysan_Albatross"),
        ("image_class_labels.txt", "2 1 1"),
        ("image_class_labels.txt", "2 1.0"),
        ("train_test_split.txt", "2 2"),
        ("train_test_split.txt", "2 train"),
        ("train_test_split.txt", "2"),
        ("bounding_boxes.txt", "2 1.0 2.0 3.0"),
        ("bounding_boxes.txt", "2 1.0 2.0 nan 4.0"),
        ("bounding_boxes.txt", "2 1.0 2.0 0.0 4.0"),
        ("parts/parts.txt", "2"),
        ("parts/part_locs.txt", "1 2 30.0 40.0"),
        ("parts/part_locs.txt", "1 2 30.0 inf 1"),
        ("parts/part_locs.txt", "1 2 30.0 40.0 yes"),
    ],
)
def test_a_line_of_another_form_is_told_with_its_place_and_the_form(
    tree: Path, name: str, row: str
) -> None:
    edit(tree / name, {2: row})
    assert refusal(tree).rule == f"{tree / name}:2: a row must be `{FORMS[name]}`, got {row!r}"


@pytest.mark.parametrize("name", LISTS)
def test_a_line_twice_is_told_with_both_places(tree: Path, name: str) -> None:
    first = (tree / name).read_text().splitlines()[0]
    edit(tree / name, {3: first})
    assert f"{tree / name}:3: " in refusal(tree).rule
    assert refusal(tree).rule.endswith("is here twice, first in line 1")


@pytest.mark.parametrize(
    "name", ["image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_an_image_that_another_list_lacks_is_told_with_its_place(tree: Path, name: str) -> None:
    edit(tree / name, {4: None})
    rule = refusal(tree).rule
    assert rule.startswith(f"{tree / 'images.txt'}:4: image 4 (001.Black_footed_Albatross/")
    assert rule.endswith(f"is not in {name}")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("image_class_labels.txt", "99 1"),
        ("train_test_split.txt", "99 1"),
        ("bounding_boxes.txt", "99 1 2 3 4"),
        ("parts/part_locs.txt", "99 1 3.0 4.0 1"),
    ],
)
def test_an_id_that_has_no_image_is_told_with_its_place(tree: Path, name: str, row: str) -> None:
    lines = len((tree / name).read_text().splitlines())
    with (tree / name).open("a") as file:
        file.write(f"\n{row}\n")
    rule = refusal(tree).rule
    assert rule == f"{tree / name}:{lines + 2}: image 99 is not in images.txt"


def test_a_part_that_is_unknown_or_not_placed_is_told_with_its_place(tree: Path) -> None:
    places = tree / "parts/part_locs.txt"
    whole = places.read_text()
    edit(places, {3: "1 16 3.0 4.0 1"})
    assert refusal(tree).rule == f"{places}:3: part 16 is not in parts.txt"
    places.write_text(whole)
    edit(places, {18: None})
    assert refusal(tree).rule == (
        f"{tree / 'images.txt'}:2: part 3 (belly) of image 2 is not in part_locs.txt"
    )


def test_labels_that_count_from_0_are_told(tree: Path) -> None:
    edit(
        tree / "image_class_labels.txt",
        lambda row: f"{row.split()[0]} {int(row.split()[1]) - 1}",
    )
    fault = refusal(tree)
    assert fault.rule == (
        f"{tree / 'image_class_labels.txt'}:1: image 1 has class 0, which is not in classes.txt "
        "(1 to 3)"
    )
    assert "labels count from 1" in str(fault.remedy)


def test_a_label_of_another_class_than_the_folders_is_told(tree: Path) -> None:
    edit(tree / "image_class_labels.txt", {5: "5 2"})
    fault = refusal(tree)
    assert fault.rule == (
        f"{tree / 'image_class_labels.txt'}:5: image 5 has class 2 (002.Laysan_Albatross), "
        "but it lies in images/001.Black_footed_Albatross/"
    )
    assert "labels count from 1" in str(fault.remedy)


def test_an_image_file_that_is_absent_is_told_with_its_line(tree: Path, birds: list[Bird]) -> None:
    gone = tree / "images" / birds[6].path
    gone.unlink()
    assert refusal(tree).rule == f"{tree / 'images.txt'}:7: {gone} does not exist"


def test_an_image_file_without_an_id_is_named(tree: Path, birds: list[Bird]) -> None:
    stray = tree / "images" / "001.Black_footed_Albatross" / "aaa.jpg"
    shutil.copy(tree / "images" / birds[0].path, stray)
    assert refusal(tree).rule == f"{stray} has no id in {tree / 'images.txt'}"
    shutil.copy(stray, stray.with_name("aab.jpg"))
    assert refusal(tree).rule.endswith("(nor have 1 more)")


def test_files_that_desktops_leave_are_passed_over(tree: Path) -> None:
    folder = tree / "images" / "001.Black_footed_Albatross"
    for name in (".DS_Store", "._photo.jpg", "Thumbs.db"):
        (folder / name).write_bytes(b"\0")
    assert len(opened(tree).members) == 15


@pytest.mark.parametrize(
    "path",
    ["/etc/x.jpg", "../x.jpg", "001.Black_footed_Albatross/../../x.jpg", "x.jpg", "a//b.jpg"],
)
def test_a_path_that_leads_elsewhere_is_refused(tree: Path, path: str) -> None:
    edit(tree / "images.txt", {2: f"2 {path}"})
    rule = refusal(tree).rule
    assert rule.startswith(f"{tree / 'images.txt'}:2: image 2 must be a path like")
    assert rule.endswith(f"got {path!r}")


def test_one_image_under_two_ids_is_told(tree: Path, birds: list[Bird]) -> None:
    edit(tree / "images.txt", {5: f"5 {birds[0].path}"})
    assert refusal(tree).rule == (
        f"{tree / 'images.txt'}:5: {birds[0].path} is image 1 and image 5"
    )


@pytest.mark.parametrize("name", ["001.Black_footed_Albatross", "..", "a/b"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(tree: Path, name: str) -> None:
    edit(tree / "classes.txt", {2: f"2 {name}"})
    assert refusal(tree).rule.startswith(f"{tree / 'classes.txt'}:2: ")


def test_a_split_without_training_images_of_a_class_is_told(tree: Path) -> None:
    edit(tree / "train_test_split.txt", {number: f"{number} 0" for number in range(6, 11)})
    assert refusal(tree).rule == (
        f"{tree / 'train_test_split.txt'}:6: class 002.Laysan_Albatross has no training image (1)"
    )


def test_a_split_without_test_images_is_told(tree: Path) -> None:
    edit(tree / "train_test_split.txt", lambda row: f"{row.split()[0]} 1")
    assert "no image is a test image (0)" in refusal(tree).rule


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list_is_told(tree: Path, content: bytes) -> None:
    (tree / "images.txt").write_bytes(content)
    assert refusal(tree).rule == f"{tree / 'images.txt'}:1: must have rows `image path`, got none"


def test_a_list_that_is_no_text_is_told(tree: Path) -> None:
    (tree / "classes.txt").write_bytes(b"1 001.a\n2 \xff\xfe\n")
    assert refusal(tree).rule == f"{tree / 'classes.txt'}:2: this line is no text in UTF-8"


def test_a_list_that_cannot_be_read_is_told(tree: Path) -> None:
    (tree / "bounding_boxes.txt").unlink()
    (tree / "bounding_boxes.txt").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*bounding_boxes\.txt: Is a directory"):
        opened(tree)


def test_broken_and_empty_photographs_are_counted_as_faults(
    tree: Path, birds: list[Bird], store: Path
) -> None:
    (tree / "images" / birds[0].path).write_bytes(b"")
    (tree / "images" / birds[7].path).write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    with pytest.raises(DataError) as caught:
        data.prepare(spec(tree), store=store)
    for words in ("2 images", f"images/{birds[0].path} (the file is empty)", birds[7].path):
        assert words in str(caught.value)
    packed = data.prepare(spec(tree, max_faults=2), store=store)
    assert packed.num_train + packed.num_test == 13


def test_the_facts_name_the_archive_the_terms_and_the_overlap_with_imagenet() -> None:
    facts = Cub200.facts
    assert facts.classes == 200
    assert facts.needs_root
    assert "97eceeb196236b17998738112f37df78" in facts.images
    assert "CNS-TR-2011-001" in facts.citation
    assert "non-commercial" in facts.licence
    assert "22 of the 5,794 test images" in facts.notes
    assert "guopei.github.io" in facts.notes
