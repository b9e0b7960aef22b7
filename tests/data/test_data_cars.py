"""Stanford Cars in both of its layouts: what is read, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listed_sets import drawn, inspected, listed, only_fault, opened, refusal, spec
from mat_trees import CARS, annotate, box_of, change, write_cars_annos, write_cars_devkit
from photographs import Photograph
from torchvision.datasets import StanfordCars

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS
from mcl_bench.records import DataError, TestGrant, UserError

TRAIN = "devkit/cars_train_annos.mat"
TEST = "cars_test_annos_withlabels.mat"


@pytest.fixture
def devkit(tmp_path: Path) -> tuple[Path, list[Photograph]]:
    root = tmp_path / "stanford_cars"
    return root, write_cars_devkit(root)


@pytest.fixture
def annos(tmp_path: Path) -> tuple[Path, list[Photograph]]:
    root = tmp_path / "cars_196"
    return root, write_cars_annos(root)


def test_the_official_layout_is_read_as_torchvision_reads_it(
    devkit: tuple[Path, list[Photograph]],
) -> None:
    root, photographs = devkit
    source = opened(spec("cars", root))
    found = listed(source)
    assert found == drawn(photographs)
    for split in ("train", "test"):
        theirs = StanfordCars(root.parent, split=split)
        assert list(source.classes) == theirs.classes
        wanted = {Path(path).relative_to(root).as_posix(): label for path, label in theirs._samples}
        assert {path: label for path, (label, side) in found.items() if side == split} == wanted


def test_the_later_layout_has_its_split_and_classes_in_one_list(
    annos: tuple[Path, list[Photograph]],
) -> None:
    source = opened(spec("cars", annos[0]))
    assert tuple(source.classes) == CARS[:4]
    assert listed(source) == drawn(annos[1])


def test_the_folders_of_a_mirror_may_be_nested(tmp_path: Path) -> None:
    root = tmp_path / "stanford_cars"
    photographs = write_cars_devkit(root, nested=True)
    assert photographs[0].path.startswith("cars_train/cars_train/")
    assert listed(opened(spec("cars", root))) == drawn(photographs)
    assert inspected(spec("cars", root))[0] == []


def test_the_list_of_the_test_images_may_lie_in_the_devkit(
    devkit: tuple[Path, list[Photograph]],
) -> None:
    root, photographs = devkit
    (root / TEST).rename(root / "devkit" / TEST)
    assert listed(opened(spec("cars", root))) == drawn(photographs)


@pytest.mark.parametrize("write", [write_cars_devkit, write_cars_annos])
def test_boxes_are_shares_of_the_image(
    tmp_path: Path, store: Path, grant: TestGrant, write: Callable[[Path], list[Photograph]]
) -> None:
    root = tmp_path / "stanford_cars"
    boxes = {one.path: box_of(one) for one in write(root)}
    packed = data.prepare(spec("cars", root), store=store)
    for images in (data.open_train(packed), data.open_test(packed, grant)):
        wanted = np.array([boxes[name] for name in images.ids], dtype=np.float32)
        np.testing.assert_allclose(images.extra["box"].numpy(), wanted, rtol=1e-6)


def test_a_box_that_is_edited_is_packed_again(
    annos: tuple[Path, list[Photograph]], store: Path, grant: TestGrant
) -> None:
    root, _ = annos

    def told() -> set[tuple[float, ...]]:
        packed = data.prepare(spec("cars", root), store=store)
        both = (data.open_train(packed), data.open_test(packed, grant))
        return {tuple(box.tolist()) for images in both for box in images.extra["box"]}

    before, digest = told(), opened(spec("cars", root)).digest
    annotate(root / "cars_annos.mat", 1, bbox_x1=2)
    assert len(told() - before) == 1
    assert opened(spec("cars", root)).digest == digest


def test_lists_without_boxes_will_do(annos: tuple[Path, list[Photograph]]) -> None:
    root, photographs = annos

    def unboxed(annotations: Any) -> Any:
        kept = ["relative_im_path", "class", "test"]
        return annotations[kept].astype([(field, object) for field in kept])

    change(root / "cars_annos.mat", annotations=unboxed)
    source = opened(spec("cars", root))
    assert source.extra_shapes == {}
    assert listed(source) == drawn(photographs)
    assert source.read(0).extra == {}


def test_where_both_layouts_are_the_file_says_which(
    devkit: tuple[Path, list[Photograph]],
) -> None:
    root, photographs = devkit
    later = write_cars_annos(root)
    with pytest.raises(UserError, match="both layouts") as caught:
        DATASETS["cars"].check(spec("cars", root))
    assert (caught.value.key, caught.value.exit_code) == ("data.options.layout", 2)
    assert listed(opened(spec("cars", root, layout="devkit"))) == drawn(photographs)
    assert listed(opened(spec("cars", root, layout="annos"))) == drawn(later)


def test_without_the_images_it_says_what_to_get_and_that_the_link_is_dead(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        DATASETS["cars"].check(spec("cars", tmp_path / "stanford_cars"))
    for words in ("cars_test.tgz", "4ce7ebf6a94d07f1952d94dd34c4d501", "vision/issues/7545"):
        assert words in str(caught.value)
    assert all(archive.urls == () for archive in DATASETS["cars"].facts.archives)
    assert "dead" in DATASETS["cars"].facts.images


def test_a_devkit_without_the_labels_of_test_is_refused(
    devkit: tuple[Path, list[Photograph]],
) -> None:
    (devkit[0] / TEST).unlink()
    with pytest.raises(DataError, match=f"{TEST}: does not exist"):
        DATASETS["cars"].check(spec("cars", devkit[0]))
    (devkit[0] / "devkit/cars_test_annos.mat").rename(devkit[0] / TEST)
    fault = only_fault(spec("cars", devkit[0]))
    assert (fault.kind, fault.file) == ("corrupt", TEST)
    assert fault.detail == "its variable annotations has no field class"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"validation": "official"}, "data.validation"),
        ({"options": {"layout": "kaggle"}}, "data.options.layout"),
        ({"options": {"boxes": True}}, "data.options.boxes"),
    ],
)
def test_what_cars_does_not_have_is_refused(
    devkit: tuple[Path, list[Photograph]], changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(UserError) as caught:
        DATASETS["cars"].check(spec("cars", devkit[0]).model_copy(update=changes))
    assert (caught.value.key, caught.value.exit_code) == (key, 2)


def shift(root: Path, file: str, by: int) -> None:
    def shifted(annotations: Any) -> Any:
        for row in annotations[0]:
            row["class"] = row["class"].astype(int) + by
        return annotations

    change(root / file, annotations=shifted)


@pytest.mark.parametrize(("by", "classes"), [(-1, "0 to 3"), (1, "2 to 5")])
def test_classes_that_are_all_off_by_one_are_told_once(
    devkit: tuple[Path, list[Photograph]], by: int, classes: str
) -> None:
    shift(devkit[0], TRAIN, by)
    fault = only_fault(spec("cars", devkit[0]))
    assert (fault.kind, fault.file) == ("label", TRAIN)
    assert fault.detail == f"its classes are {classes}, they must be 1 to 4: all are off by one"
    assert "classes count from 1" in refusal(spec("cars", devkit[0]))
    assert inspected(spec("cars", devkit[0]))[1] is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "has class 0, out of range (1 to 4): is the list off by one?"),
        (5, "has class 5, out of range (1 to 4): is the list off by one?"),
        (77, "has class 77, out of range (1 to 4)"),
        (1.5, "has class no integer (1 to 4)"),
    ],
)
def test_one_class_out_of_range_is_told_with_its_image(
    devkit: tuple[Path, list[Photograph]], number: float, words: str
) -> None:
    root, photographs = devkit
    annotate(root / TRAIN, 6, **{"class": number})
    fault = only_fault(spec("cars", root))
    assert (fault.kind, fault.file) == ("label", photographs[5].path)
    assert (fault.detail, fault.place) == (words, f"{TRAIN}:annotations(6)")


def test_a_test_flag_that_is_neither_is_a_split_fault(
    annos: tuple[Path, list[Photograph]],
) -> None:
    annotate(annos[0] / "cars_annos.mat", 2, test=2)
    fault = only_fault(spec("cars", annos[0]))
    assert (fault.kind, fault.file) == ("split", annos[1][1].path)


def test_lists_without_a_test_image_are_refused(annos: tuple[Path, list[Photograph]]) -> None:
    for number in range(1, len(annos[1]) + 1):
        if annos[1][number - 1].split == "test":
            annotate(annos[0] / "cars_annos.mat", number, test=0)
    fault = only_fault(spec("cars", annos[0]))
    assert (fault.kind, fault.file, fault.detail) == (
        "split",
        "cars_annos.mat",
        "names no test image",
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("car_ims/000001.jpg", "split"),
        ("car_ims/000006.jpg", "duplicate"),
        ("../../etc/passwd.jpg", "path"),
        ("/etc/passwd.jpg", "path"),
        ("car_ims/999999.jpg", "missing"),
    ],
)
def test_a_path_of_a_list_that_is_wrong_is_told_and_its_image_is_an_orphan(
    annos: tuple[Path, list[Photograph]], path: str, kind: str
) -> None:
    root, photographs = annos
    assert (photographs[0].split, photographs[5].split, photographs[6].split) == (
        "train",
        "test",
        "test",
    )
    annotate(root / "cars_annos.mat", 7, relative_im_path=path)
    faults, source = inspected(spec("cars", root))
    told = {(fault.kind, fault.file) for fault in faults}
    assert told == {(kind, path), ("orphan", photographs[6].path)}
    assert source is not None
    assert listed(source) == drawn(one for one in photographs if one is not photographs[6])


def test_a_box_that_is_none_is_told(devkit: tuple[Path, list[Photograph]]) -> None:
    annotate(devkit[0] / TRAIN, 3, bbox_x1=90, bbox_x2=20)
    fault = only_fault(spec("cars", devkit[0]))
    assert (fault.kind, fault.file) == ("corrupt", devkit[1][2].path)


def test_a_class_without_training_images_is_empty(
    devkit: tuple[Path, list[Photograph]],
) -> None:
    names = np.empty((1, 5), dtype=object)
    names[0] = CARS
    change(devkit[0] / "devkit/cars_meta.mat", class_names=lambda _: names)
    fault = only_fault(spec("cars", devkit[0]))
    assert (fault.kind, fault.file) == ("empty", "devkit/cars_meta.mat")
    assert fault.place == "devkit/cars_meta.mat:class_names(5)"
    assert "BMW M3 Coupe 2012" in fault.detail


def test_two_classes_of_one_name_are_told(annos: tuple[Path, list[Photograph]]) -> None:
    names = np.empty((1, 4), dtype=object)
    names[0] = [*CARS[:3], CARS[0]]
    change(annos[0] / "cars_annos.mat", class_names=lambda _: names)
    fault = only_fault(spec("cars", annos[0]))
    assert (fault.kind, fault.place) == ("duplicate", "cars_annos.mat:class_names(4)")
    assert inspected(spec("cars", annos[0]))[1] is None


@pytest.mark.parametrize("file", [TRAIN, TEST, "devkit/cars_meta.mat"])
def test_a_damaged_list_is_told(devkit: tuple[Path, list[Photograph]], file: str) -> None:
    content = (devkit[0] / file).read_bytes()
    (devkit[0] / file).write_bytes(content[: len(content) // 2])
    fault = only_fault(spec("cars", devkit[0]))
    assert (fault.kind, fault.file) == ("corrupt", file)
    assert inspected(spec("cars", devkit[0]))[1] is None


def test_missing_images_and_strays_are_all_told(devkit: tuple[Path, list[Photograph]]) -> None:
    root, photographs = devkit
    (root / photographs[0].path).unlink()
    (root / photographs[-1].path).rename(root / "cars_test/renamed.jpg")
    faults, source = inspected(spec("cars", root))
    assert sorted((fault.kind, fault.file) for fault in faults) == [
        ("missing", photographs[-1].path),
        ("missing", photographs[0].path),
        ("orphan", "cars_test/renamed.jpg"),
    ]
    assert source is not None
    assert listed(source) == drawn(photographs[1:-1])
