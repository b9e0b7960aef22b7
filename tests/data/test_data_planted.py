"""Ten faults planted in trees of real layouts: verify names those ten files, and no other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cub_tree import Bird, draw_cub
from PIL import Image

from mcl_bench import data
from mcl_bench.data.catalog.cub200 import Cub200
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
        image.save(other, "PNG", compress_level=0)


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


@pytest.mark.skipif(not hasattr(Cub200, "inspect"), reason="it refuses at the first fault")
def test_in_the_tree_of_cub200(tmp_path: Path) -> None:
    root = tmp_path / "CUB_200_2011"
    birds = draw_cub(root, classes=3)
    assert kinds(root, "cub200") == {}
    planted = plant_in_files(root, [f"images/{bird.path}" for bird in birds])
    assert kinds(root, "cub200") == planted
    planted |= plant_in_lists(root, birds)
    assert len(planted) == 10
    assert kinds(root, "cub200") == planted
