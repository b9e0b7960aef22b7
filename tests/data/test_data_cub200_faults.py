"""CUB-200-2011 in its official layout: what is refused, by file and line, and what is listed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from cub_tree import LISTS, Bird
from list_edit import edit
from listed_sets import inspected, opened, refused, spec

from mcl_bench.data.catalog.cub200 import Cub200
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.schema import DataSpec


def cub200(root: Path, **changes: Any) -> DataSpec:
    return spec("cub200", root).model_copy(update=changes)


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
        Cub200().check(cub200(root))
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
def test_a_list_that_is_absent_is_named(cub: Path, name: str) -> None:
    (cub / name).unlink()
    with pytest.raises(DataError) as caught:
        Cub200().check(cub200(cub))
    assert caught.value.rule == f"{cub / name}: does not exist"
    assert "CUB_200_2011.tgz" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"validation": "official"}, "data.validation"),
        ({"options": {"boxes": True}}, "data.options.boxes"),
    ],
)
def test_what_cub200_does_not_have_is_refused(cub: Path, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as caught:
        Cub200().check(cub200(cub, **changes))
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
    cub: Path, name: str, row: str
) -> None:
    edit(cub / name, {2: row})
    told = refused(cub200(cub)).rule
    assert told.startswith(f"{cub / name}:2: ")
    assert told.endswith(f"`{FORMS[name]}`, got {row!r}")
    assert [fault.place for fault in inspected(cub200(cub))[0] if fault.kind != "orphan"] == [
        f"{name}:2"
    ]


@pytest.mark.parametrize("name", LISTS)
def test_a_line_twice_is_told_with_both_places(cub: Path, name: str) -> None:
    first = (cub / name).read_text().splitlines()[0]
    edit(cub / name, {3: first})
    assert f"{cub / name}:3: " in refused(cub200(cub)).rule
    assert refused(cub200(cub)).rule.endswith("is here twice, first in line 1")


@pytest.mark.parametrize(
    "name", ["image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_an_image_that_another_list_lacks_is_told_with_its_place(cub: Path, name: str) -> None:
    edit(cub / name, {4: None})
    rule = refused(cub200(cub)).rule
    assert rule.startswith(f"{cub / 'images.txt'}:4: {cub}/images/001.Black_footed_Albatross/")
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
def test_an_id_that_has_no_image_is_told_with_its_place(cub: Path, name: str, row: str) -> None:
    lines = len((cub / name).read_text().splitlines())
    with (cub / name).open("a") as file:
        file.write(f"\n{row}\n")
    rule = refused(cub200(cub)).rule
    assert rule == f"{cub / name}:{lines + 2}: image 99 is not in images.txt"


def test_a_part_that_is_unknown_or_not_placed_is_told_with_its_place(
    cub: Path, birds: list[Bird]
) -> None:
    places = cub / "parts/part_locs.txt"
    whole = places.read_text()
    edit(places, {3: "1 16 3.0 4.0 1"})
    assert refused(cub200(cub)).rule == f"{places}:3: part 16 is not in parts.txt"
    places.write_text(whole)
    edit(places, {18: None})
    assert refused(cub200(cub)).rule == (
        f"{cub / 'images.txt'}:2: {cub / 'images' / birds[1].path} has no row for part 3 (belly) "
        "in parts/part_locs.txt"
    )


def test_labels_that_count_from_0_are_told(cub: Path, birds: list[Bird]) -> None:
    edit(
        cub / "image_class_labels.txt",
        lambda row: f"{row.split()[0]} {int(row.split()[1]) - 1}",
    )
    fault = refused(cub200(cub))
    assert fault.rule == (
        f"{cub / 'image_class_labels.txt'}:1: {cub / 'images' / birds[0].path} has class 0, "
        "which is not in classes.txt (1 to 3)"
    )
    assert "labels count from 1" in str(fault.remedy)


def test_a_label_of_another_class_than_the_folders_is_told(cub: Path, birds: list[Bird]) -> None:
    edit(cub / "image_class_labels.txt", {5: "5 2"})
    fault = refused(cub200(cub))
    assert fault.rule == (
        f"{cub / 'image_class_labels.txt'}:5: {cub / 'images' / birds[4].path} has class 2 "
        "(002.Laysan_Albatross), but it lies in images/001.Black_footed_Albatross/"
    )
    assert "labels count from 1" in str(fault.remedy)


def test_an_image_file_that_is_absent_is_told_with_its_line(cub: Path, birds: list[Bird]) -> None:
    gone = cub / "images" / birds[6].path
    gone.unlink()
    assert refused(cub200(cub)).rule == f"{cub / 'images.txt'}:7: {gone} does not exist"


def test_an_image_file_without_an_id_is_named(cub: Path, birds: list[Bird]) -> None:
    stray = cub / "images" / "001.Black_footed_Albatross" / "aaa.jpg"
    shutil.copy(cub / "images" / birds[0].path, stray)
    assert refused(cub200(cub)).rule == f"{stray}: is named by no list"
    shutil.copy(stray, stray.with_name("aab.jpg"))
    assert [fault.file for fault in inspected(cub200(cub))[0]] == [
        f"images/001.Black_footed_Albatross/{name}.jpg" for name in ("aaa", "aab")
    ]


@pytest.mark.parametrize(
    "path",
    ["/etc/x.jpg", "../x.jpg", "001.Black_footed_Albatross/../../x.jpg", "x.jpg", "a//b.jpg"],
)
def test_a_path_that_leads_elsewhere_is_refused(cub: Path, path: str) -> None:
    edit(cub / "images.txt", {2: f"2 {path}"})
    rule = refused(cub200(cub)).rule
    assert rule.startswith(f"{cub / 'images.txt'}:2: {cub / f'images/{path}'} must be a path like")
    assert rule.endswith(f"got {path!r}")


def test_one_image_under_two_ids_is_told(cub: Path, birds: list[Bird]) -> None:
    edit(cub / "images.txt", {5: f"5 {birds[0].path}"})
    assert refused(cub200(cub)).rule == (
        f"{cub / 'images.txt'}:5: {cub / 'images' / birds[0].path} is image 1 and image 5"
    )


@pytest.mark.parametrize("name", ["001.Black_footed_Albatross", "..", "a/b"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(cub: Path, name: str) -> None:
    edit(cub / "classes.txt", {2: f"2 {name}"})
    assert refused(cub200(cub)).rule.startswith(f"{cub / 'classes.txt'}:2: ")


def test_a_split_without_training_images_of_a_class_is_told(cub: Path) -> None:
    edit(cub / "train_test_split.txt", {number: f"{number} 0" for number in range(6, 11)})
    assert refused(cub200(cub)).rule == (
        f"{cub / 'train_test_split.txt'}:6: class 002.Laysan_Albatross has no training image (1)"
    )


def test_a_split_without_test_images_is_told(cub: Path) -> None:
    edit(cub / "train_test_split.txt", lambda row: f"{row.split()[0]} 1")
    assert "no image is a test image (0)" in refused(cub200(cub)).rule


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_list_is_told(cub: Path, content: bytes) -> None:
    (cub / "images.txt").write_bytes(content)
    assert (
        refused(cub200(cub)).rule
        == f"{cub / 'images.txt'}:1: must have rows `image path`, got none"
    )


def test_a_list_that_is_no_text_is_told(cub: Path) -> None:
    (cub / "classes.txt").write_bytes(b"1 001.a\n2 \xff\xfe\n")
    assert refused(cub200(cub)).rule == f"{cub / 'classes.txt'}:2: this line is no text in UTF-8"


def test_a_list_that_cannot_be_read_is_told(cub: Path) -> None:
    (cub / "bounding_boxes.txt").unlink()
    (cub / "bounding_boxes.txt").mkdir()
    with pytest.raises(DataError, match=r"bounding_boxes\.txt: cannot be read: Is a directory"):
        opened(cub200(cub))


def test_each_fault_is_told_once_and_what_is_right_is_listed(cub: Path, birds: list[Bird]) -> None:
    paths = [f"images/{bird.path}" for bird in birds]
    edit(cub / "image_class_labels.txt", {2: "2 3", 4: "4 9", 6: None})
    edit(cub / "train_test_split.txt", {7: "7 yes"})
    edit(cub / "bounding_boxes.txt", {8: "8 1 2 3"})
    edit(cub / "parts/part_locs.txt", {9 * 15 + 1: None, 9 * 15 + 2: None})
    (cub / paths[10]).unlink()
    edit(cub / "images.txt", lambda row: f"{row}\n99 {paths[11][7:]}" if row[:3] == "12 " else row)
    shutil.copy(cub / paths[0], cub / "images" / "new.jpg")
    found, source = inspected(cub200(cub))
    assert sorted((fault.kind, fault.file) for fault in found) == sorted(
        [
            ("label", paths[1]),
            ("label", paths[3]),
            ("label", paths[5]),
            ("split", paths[6]),
            ("corrupt", paths[7]),
            ("missing", paths[9]),
            ("missing", paths[10]),
            ("duplicate", paths[11]),
            ("orphan", "images/new.jpg"),
        ]
    )
    assert source is not None
    sound = {paths[number] for number in (0, 2, 4, 8, 11, 12, 13, 14)}
    assert {member.id for member in source.members} == sound


def test_an_id_that_only_the_other_lists_have_is_told_once(cub: Path, birds: list[Bird]) -> None:
    edit(cub / "images.txt", {3: None})
    assert [(fault.kind, fault.file) for fault in inspected(cub200(cub))[0]] == [
        ("missing", "image_class_labels.txt"),
        ("orphan", f"images/{birds[2].path}"),
    ]
