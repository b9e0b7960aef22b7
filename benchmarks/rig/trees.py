"""Trees of drawn JPEG files, quick to make however many they are."""

import io
from pathlib import Path

from PIL import Image

from mcl_bench.data.catalog import DATASETS
from mcl_bench.spec.schema import DataSpec

SIDE = 256
CLASSES = 10
QUALITY = 90
_START = b"\xff\xd8"


def draw_files(distinct: int, *, cache: Path) -> list[bytes]:
    """So many JPEG files of beetles, 256 pixels a side, quality 90, colour halved."""
    options = {
        "size": SIDE,
        "classes": CLASSES,
        "train_per_class": -(-distinct // CLASSES),
        "test_per_class": 1,
    }
    source = DATASETS["parts"].open(DataSpec(name="parts", options=options), cache=cache)
    drawn = [index for index, member in enumerate(source.members) if member.split == "train"]
    found = []
    for index in drawn[:distinct]:
        file = io.BytesIO()
        Image.fromarray(source.read(index).picture).save(file, "JPEG", quality=QUALITY)
        found.append(file.getvalue())
    return found


def write_tree(root: Path, count: int, files: list[bytes]) -> None:
    """`count` training images of ten classes, and a test image of each, no two files alike.

    They are the `files` in turn, each with its number in a comment.
    """
    for number in range(count + CLASSES):
        split = "train" if number < count else "test"
        place = root / split / f"class{number % CLASSES}" / f"{number:06d}.jpg"
        if number % 1000 < CLASSES or split == "test":
            place.parent.mkdir(parents=True, exist_ok=True)
        words = f"{number:08d}".encode()
        comment = b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words
        content = files[number % len(files)]
        place.write_bytes(_START + comment + content.removeprefix(_START))
