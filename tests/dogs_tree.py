"""A tree in the official layout of Stanford Dogs, with drawn dogs and lists in MATLAB's format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawn_animals import drawn_animal
from PIL import Image
from scipy.io import savemat

BREEDS = (
    "n02085620-Chihuahua",
    "n02085782-Japanese_spaniel",
    "n02085936-Maltese_dog",
    "n02086079-Pekinese",
    "n02086240-Shih-Tzu",
    "n02086646-Blenheim_spaniel",
)
XML = """<annotation>
\t<folder>{folder}</folder>
\t<filename>{name}</filename>
\t<object>
\t\t<name>{breed}</name>
\t\t<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>45</xmax><ymax>46</ymax></bndbox>
\t</object>
</annotation>
"""


def write_dogs(root: Path, *, classes: int = 3, train: int = 4, test: int = 3) -> None:
    """Draw a tree at `root`: `train` and `test` images of each class.

    As in the official archive one file is JPEG by name only (a PNG with transparency).
    """
    files: dict[str, list[str]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for label, breed in enumerate(BREEDS[:classes]):
        folder, name = breed.split("-", 1)
        (root / "Images" / breed).mkdir(parents=True)
        (root / "Annotation" / breed).mkdir(parents=True)
        for index in range(train + test):
            stem = f"{folder}_{100 * label + 13 * index + 7}"
            image = drawn_animal(1000 + 100 * label + index, label=label)
            path = root / "Images" / breed / f"{stem}.jpg"
            if (label, index) == (1, 2):
                image.putalpha(Image.new("L", image.size, 255))
                image.save(path, format="PNG")
            else:
                image.save(path, quality=90)
            xml = XML.format(folder=folder[1:], name=stem, breed=name)
            (root / "Annotation" / breed / stem).write_text(xml)
            split = "train" if index < train else "test"
            files[split].append(f"{breed}/{stem}.jpg")
            labels[split].append(label + 1)
    for split in ("train", "test"):
        write_list(root / f"{split}_list.mat", files[split], labels[split])
    whole = sorted(
        zip(files["train"] + files["test"], labels["train"] + labels["test"], strict=True)
    )
    write_list(root / "file_list.mat", [file for file, _ in whole], [label for _, label in whole])


def write_list(path: Path, files: Sequence[str], labels: Sequence[float]) -> None:
    """One list as MATLAB writes it: columns of cells of text, and of numbers."""
    savemat(
        path,
        {
            "file_list": cells(files),
            "annotation_list": cells([file.removesuffix(".jpg") for file in files]),
            "labels": np.array(labels, dtype=np.float64).reshape(-1, 1),
        },
    )


def cells(texts: Sequence[str]) -> np.ndarray:
    """A column of cells."""
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = texts
    return column
