"""A tree in the official layout of CUB-200-2011, with drawn birds in small JPEG files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PARTS = (
    "back",
    "beak",
    "belly",
    "breast",
    "crown",
    "forehead",
    "left eye",
    "left leg",
    "left wing",
    "nape",
    "right eye",
    "right leg",
    "right wing",
    "tail",
    "throat",
)
SPECIES = (
    "Black_footed_Albatross",
    "Laysan_Albatross",
    "Sooty_Albatross",
    "Groove_billed_Ani",
    "Crested_Auklet",
    "Least_Auklet",
    "Parakeet_Auklet",
    "Rhinoceros_Auklet",
    "Brewer_Blackbird",
    "Red_winged_Blackbird",
    "Rusty_Blackbird",
    "Chuck_will_Widow",
)
LISTS = (
    "images.txt",
    "classes.txt",
    "image_class_labels.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
    "parts/parts.txt",
    "parts/part_locs.txt",
)


@dataclass(frozen=True, kw_only=True)
class Bird:
    """One drawn image: its lines in the lists, box and parts in pixels."""

    path: str
    label: int
    trained: bool
    box: tuple[float, float, float, float]
    parts: tuple[tuple[float, float, int], ...]
    width: int
    height: int


def draw_cub(root: Path, *, classes: int = 12, train: int = 5, test: int = 4) -> list[Bird]:
    """Draw a tree at `root`; its birds in the order of their ids, which count from 1.

    Each class has colours of its own, for body and head, and images of sizes of their own. Every
    seventh image is grey, as some of the real ones are.
    """
    birds = [
        _draw(root, label=label, number=number, count=train + test, trained=number < train)
        for label in range(classes)
        for number in range(train + test)
    ]
    _write(root / "classes.txt", [f"{i} {_folder(i - 1)}" for i in range(1, classes + 1)])
    _write(root / "parts/parts.txt", [f"{i} {name}" for i, name in enumerate(PARTS, start=1)])
    numbered = list(enumerate(birds, start=1))
    _write(root / "images.txt", [f"{i} {bird.path}" for i, bird in numbered])
    _write(root / "image_class_labels.txt", [f"{i} {bird.label + 1}" for i, bird in numbered])
    _write(root / "train_test_split.txt", [f"{i} {int(bird.trained)}" for i, bird in numbered])
    _write(
        root / "bounding_boxes.txt",
        [f"{i} {' '.join(f'{side:.1f}' for side in bird.box)}" for i, bird in numbered],
    )
    _write(
        root / "parts/part_locs.txt",
        [
            f"{i} {part} {x:.1f} {y:.1f} {visible}"
            for i, bird in numbered
            for part, (x, y, visible) in enumerate(bird.parts, start=1)
        ],
    )
    return birds


def _folder(label: int) -> str:
    return f"{label + 1:03d}.{SPECIES[label]}"


def _draw(root: Path, *, label: int, number: int, count: int, trained: bool) -> Bird:
    image_id = label * count + number + 1
    rng = np.random.default_rng(image_id)
    width, height = (int(side) for side in rng.integers(70, 140, 2))
    noise = rng.integers(60, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    long, high = 0.6 * width, 0.5 * height
    left, top = rng.uniform(0.05, 0.3) * width, rng.uniform(0.15, 0.45) * height
    box = tuple(float(round(side)) for side in (left, top, long, high))
    parts = tuple(_part(box, index, hidden=rng.random() < 0.2) for index in range(len(PARTS)))
    brush = ImageDraw.Draw(image)
    brush.ellipse(_around(box), fill=f"hsl({30 * label}, 90%, 50%)")
    head = (box[0], box[1], 0.4 * box[2], 0.5 * box[3])
    brush.ellipse(_around(head), fill=f"hsl({(30 * label * 7 + 180) % 360}, 80%, 30%)")
    for x, y, visible in parts:
        if visible:
            brush.rectangle((x - 1, y - 1, x + 1, y + 1), fill="white")
    path = f"{_folder(label)}/{SPECIES[label]}_{image_id:04d}_{7000 + 13 * image_id}.jpg"
    file = root / "images" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    (image.convert("L") if image_id % 7 == 0 else image).save(file, quality=90)
    return Bird(
        path=path, label=label, trained=trained, box=box, parts=parts, width=width, height=height
    )


def _part(box: tuple[float, ...], index: int, *, hidden: bool) -> tuple[float, float, int]:
    """A part's place on a grid over the box; a hidden one is written 0.0 0.0 0."""
    if hidden:
        return 0.0, 0.0, 0
    x, y, width, height = box
    row, column = divmod(index, 5)
    return round(x + width * (column + 1) / 6), round(y + height * (row + 1) / 4), 1


def _around(box: tuple[float, ...]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _write(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
