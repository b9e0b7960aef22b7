"""Folders of images that nobody prepared, and a tree in the layout of CUB-200-2011."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cub_tree import Bird, draw_cub
from PIL import Image

from mcl_bench.records import TestGrant

torch.set_num_threads(1)


def picture(number: int, *, size: tuple[int, int] = (24, 20)) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def fill(place: Path, count: int, *, first: int = 0) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(first + number).save(place / f"{number:03d}.png")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Three classes of 3, 8 and 15 images, with no split of their own."""
    root = tmp_path / "flat"
    for number, (name, count) in enumerate({"a": 3, "b": 8, "c": 15}.items()):
        fill(root / name, count, first=100 * number)
    return root


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two classes under train/, val/ and test/: 6, 2 and 3 images of each."""
    root = tmp_path / "split"
    for number, (name, count) in enumerate({"train": 6, "val": 2, "test": 3}.items()):
        for label, kind in enumerate(("x", "y")):
            fill(root / name / kind, count, first=1000 * number + 100 * label)
    return root


def _wild_images(place: Path, count: int, *, first: int) -> None:
    place.mkdir(parents=True)
    for number in range(count):
        image = picture(first + number)
        name = place / f"photo {number:02d} – Grün"
        match number % 6:
            case 0:
                image.save(f"{name}.JPG", format="JPEG")
            case 1:
                image.save(f"{name}.png")
            case 2:
                image.convert("L").save(f"{name}.jpeg")
            case 3:
                image.quantize(16).save(f"{name}.png", transparency=0)
            case 4:
                image.convert("CMYK").save(f"{name}.jpg")
            case _:
                exif = Image.Exif()
                exif[0x0112] = 6
                image.save(f"{name}.jpg", exif=exif)


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    """What people have: all kinds of files, spaces, other scripts, the desktop's own files."""
    root = tmp_path / "my images"
    counts = {"Blåmes (hane)": 3, "Гриф": 12, "great tit": 30}
    for number, (name, count) in enumerate(counts.items()):
        _wild_images(root / name, count, first=1000 * number)
        (root / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (root / name / "Thumbs.db").write_bytes(b"db")
        (root / name / "notes.txt").write_text("no image")
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / ".cache" / "x").mkdir(parents=True)
    (root / "__MACOSX" / "great tit").mkdir(parents=True)
    (root / "labels.csv").write_text("not looked at")
    return root


@pytest.fixture
def grant() -> TestGrant:
    return TestGrant(cell="c", key="k", seed=1, entry="e")


@pytest.fixture(scope="session")
def drawn_cub(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Bird]]:
    root = tmp_path_factory.mktemp("cub") / "CUB_200_2011"
    return root, draw_cub(root, classes=3, train=3, test=2)


@pytest.fixture
def cub(drawn_cub: tuple[Path, list[Bird]], tmp_path: Path) -> Path:
    """A tree of one's own: three classes, each of three training and two test images."""
    return Path(shutil.copytree(drawn_cub[0], tmp_path / "data" / "CUB_200_2011"))


@pytest.fixture
def birds(drawn_cub: tuple[Path, list[Bird]]) -> list[Bird]:
    return drawn_cub[1]
