"""Faults planted in trees of real layouts: verify names those files, and no other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from aircraft_tree import write_aircraft
from cub_tree import Bird, draw_cub
from dogs_tree import write_dogs, write_list
from list_edit import edit as edit_rows
from mat_trees import annotate, change, write_cars_devkit, write_flowers102
from pets_tree import write_pets
from PIL import Image
from scipy.io import loadmat

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS
from mcl_bench.spec.schema import DataSpec

Edit = Callable[[str], str]


def kinds(root: Path, name: str) -> dict[str, str]:
    found = data.verify(DataSpec(name=name, root=str(root)), cache=root.parent / "cache")
    assert len({fault.file for fault in found.faults}) == len(found.faults)
    return {fault.file: fault.kind for fault in found.faults}


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def redraw(path: Path, other: Path) -> None:
    """The pixels of one file in another one, of other bytes."""
    with Image.open(path) as image:
        image.convert("RGB").save(other, "PNG", compress_level=0)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_in_a_folder_of_train_and_test(tmp_path: Path) -> None:
    root = tmp_path / "set"
    number = 0
    for split in ("train", "test"):
        for name in ("ant", "bee tree"):
            for place in range(8):
                number += 1
                draw(root / split / name / f"{place}.{'jpg' if place % 2 else 'png'}", number)
    assert kinds(root, "folder") == {}
    (root / "train/ant/0.png").write_bytes(b"")
    (root / "test/bee tree/1.jpg").write_bytes(b"")
    shorten(root / "train/ant/1.jpg")
    shorten(root / "test/ant/2.png")
    (root / "train/ant/2.png").write_text("<html>moved</html>")
    shutil.copy(root / "test/ant/0.png", root / "train/ant/3.jpg")
    shutil.copy(root / "train/ant/4.png", root / "train/ant/copy of 4.png")
    shutil.copy(root / "train/ant/5.jpg", root / "train/bee tree/5.jpg")
    redraw(root / "train/bee tree/6.png", root / "train/bee tree/7.jpg")
    redraw(root / "test/ant/7.jpg", root / "train/bee tree/0.png")
    assert kinds(root, "folder") == {
        "train/ant/0.png": "empty",
        "test/bee tree/1.jpg": "empty",
        "train/ant/1.jpg": "corrupt",
        "test/ant/2.png": "corrupt",
        "train/ant/2.png": "corrupt",
        "train/ant/3.jpg": "duplicate",
        "train/ant/copy of 4.png": "duplicate",
        "train/bee tree/5.jpg": "duplicate",
        "train/bee tree/7.jpg": "duplicate",
        "train/bee tree/0.png": "duplicate",
    }


def edit(path: Path, line: int, change: Edit) -> None:
    rows = path.read_text().splitlines()
    rows[line] = change(rows[line])
    path.write_text("".join(f"{row}\n" for row in rows))


def plant_in_files(root: Path, names: list[str]) -> dict[str, str]:
    """Six faults of files that are there, or aren't."""
    (root / names[0]).unlink()
    (root / names[1]).write_bytes(b"")
    shorten(root / names[2])
    (root / names[3]).write_bytes(bytes(3000))
    shutil.copy(root / names[5], root / names[20])
    redraw(root / names[6], root / names[21])
    faults = ("missing", "empty", "corrupt", "corrupt")
    return {
        **dict(zip(names, faults, strict=False)),
        names[20]: "duplicate",
        names[21]: "duplicate",
    }


def plant_in_lists(root: Path, birds: list[Bird]) -> dict[str, str]:
    """Four faults of the lists."""
    edit(root / "image_class_labels.txt", 10, lambda _row: "11 3")
    edit(root / "train_test_split.txt", 11, lambda _row: "12 2")
    edit(root / "images.txt", 12, lambda _row: "13 ../../outside.jpg")
    (root / "images" / birds[12].path).unlink()
    stranger = "images/001.Black_footed_Albatross/stranger.jpg"
    draw(root / stranger, 99)
    return {
        f"images/{birds[10].path}": "label",
        f"images/{birds[11].path}": "split",
        "images/../../outside.jpg": "path",
        stranger: "orphan",
    }


def test_in_the_tree_of_cub200(tmp_path: Path) -> None:
    root = tmp_path / "CUB_200_2011"
    birds = draw_cub(root, classes=3)
    assert kinds(root, "cub200") == {}
    planted = plant_in_files(root, [f"images/{bird.path}" for bird in birds])
    assert kinds(root, "cub200") == planted
    planted |= plant_in_lists(root, birds)
    assert len(planted) == 10
    assert kinds(root, "cub200") == planted


Plant = Callable[[Path, list[str]], dict[str, str]]


def plant_in_aircraft(root: Path, names: list[str]) -> dict[str, str]:
    val, test = (root / f"data/images_variant_{split}.txt" for split in ("val", "test"))
    wrong, twice = (Path(name).stem for name in names[10:12])
    edit_rows(val, lambda row: f"{wrong} Concorde" if row.startswith(wrong) else row)
    edit_rows(test, {1: f"{test.read_text().splitlines()[0]}\n{twice} 707-320"})
    draw(root / "data/images/9999999.jpg", 99)
    return {names[10]: "label", names[11]: "split", "data/images/9999999.jpg": "orphan"}


def plant_in_cars(root: Path, names: list[str]) -> dict[str, str]:
    """The eleventh test image has no class that there is; the ninth is named for the twelfth."""
    test = root / "cars_test_annos_withlabels.mat"
    annotate(test, 11, **{"class": np.array([[197]])})
    annotate(test, 12, fname=np.array(["00009.jpg"]))
    return {names[10]: "label", names[8]: "duplicate", names[11]: "orphan"}


def plant_in_dogs(root: Path, names: list[str]) -> dict[str, str]:
    content = loadmat(root / "train_list.mat")
    files = [cell.item() for cell in content["file_list"].ravel()]
    labels = content["labels"].ravel().tolist()
    wrong, twice = (name.removeprefix("Images/") for name in names[10:12])
    labels[files.index(wrong)] = 121
    write_list(root / "train_list.mat", [*files, twice], [*labels, 2])
    draw(root / "Images/n02085936-Maltese_dog/stranger.jpg", 99)
    stranger = "Images/n02085936-Maltese_dog/stranger.jpg"
    return {names[10]: "label", names[11]: "split", stranger: "orphan"}


def plant_in_flowers102(root: Path, names: list[str]) -> dict[str, str]:
    """Image 11 has no class that there is, image 12 is trained on too."""
    labels = loadmat(root / "imagelabels.mat")["labels"]
    labels[0, 10] = 103
    change(root / "imagelabels.mat", labels=lambda _labels: labels)
    change(root / "setid.mat", trnid=lambda trnid: np.append(trnid, [[12]], axis=1))
    draw(root / "jpg/image_09999.jpg", 99)
    return {names[10]: "label", names[11]: "split", "jpg/image_09999.jpg": "orphan"}


def plant_in_pets(root: Path, names: list[str]) -> dict[str, str]:
    train, test = (root / f"annotations/{name}.txt" for name in ("trainval", "test"))
    wrong, twice = (Path(name).stem for name in names[10:12])
    edit_rows(test, lambda row: f"{wrong} 38 2 1" if row.startswith(wrong) else row)
    edit_rows(train, {1: f"{train.read_text().splitlines()[0]}\n{twice} 2 2 1"})
    draw(root / "images/beagle_999.jpg", 99)
    return {names[10]: "label", names[11]: "split", "images/beagle_999.jpg": "orphan"}


DRAWN_ARCHIVES = {
    "cars": ("cars_test_annos_withlabels.mat",),
    "flowers102": ("imagelabels.mat", "setid.mat"),
}
"""Lists that are published as they are, so that a drawn one has not the official checksum."""


@pytest.mark.parametrize(
    ("name", "write", "plant"),
    [
        ("aircraft", write_aircraft, plant_in_aircraft),
        ("cars", write_cars_devkit, plant_in_cars),
        ("dogs", write_dogs, plant_in_dogs),
        ("flowers102", write_flowers102, plant_in_flowers102),
        ("pets", write_pets, plant_in_pets),
    ],
)
def test_in_the_tree_of_a_set_of_lists(
    tmp_path: Path, name: str, write: Callable[..., object], plant: Plant
) -> None:
    root = tmp_path / "tree"
    write(root, classes=(1, 12, 60, 102) if name == "flowers102" else 4)
    unofficial = {file: "checksum" for file in DRAWN_ARCHIVES.get(name, ())}
    assert kinds(root, name) == unofficial
    source = DATASETS[name].open(DataSpec(name=name, root=str(root)), cache=tmp_path / "cache")
    names = [member.id for member in source.members]
    planted = plant_in_files(root, names) | plant(root, names)
    assert len(planted) == 9
    assert kinds(root, name) == unofficial | planted
