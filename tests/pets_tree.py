"""A tree in the official layout of Oxford-IIIT Pet, with drawn pets and the archive's quirks."""

from pathlib import Path

import numpy as np
from drawn_animals import drawn_animal
from PIL import Image

BREEDS = (
    ("Abyssinian", 1, 1),
    ("american_bulldog", 2, 1),
    ("american_pit_bull_terrier", 2, 2),
    ("basset_hound", 2, 3),
    ("beagle", 2, 4),
    ("Bengal", 1, 2),
)
"""The first classes: name, species (1: cat, 2: dog) and the breed's number in its species."""

HEADER = (
    "#Image CLASS-ID SPECIES BREED ID",
    "#ID: 1:37 Class ids",
    "#SPECIES: 1:Cat 2:Dog",
    "#BREED ID: 1-25:Cat 1:12:Dog",
)
XML = """<annotation>
\t<folder>OXIIIT</folder>
\t<filename>{name}.jpg</filename>
\t<object>
\t\t<name>{kind}</name>
\t\t<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>26</ymax></bndbox>
\t</object>
</annotation>
"""


def write_pets(root: Path, *, classes: int = 3, train: int = 4, test: int = 3) -> None:
    """Draw a tree at `root` (oxford-iiit-pet): `train` and `test` images of each class.

    As in the official archive some files are JPEG by name only (GIF, PNG with transparency, BMP),
    images/ holds files of MATLAB and, of each class, an image that is in no list, and trimaps/
    the hidden files of a desktop.
    """
    images, notes = root / "images", root / "annotations"
    for folder in (images, notes / "trimaps", notes / "xmls"):
        folder.mkdir(parents=True)
    rows: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, (breed, species, number) in enumerate(BREEDS[:classes]):
        for index in range(train + test + 1):
            name = f"{breed}_{7 * index + 1}"
            _save(images / f"{name}.jpg", 100 * label + index, label=label)
            mask = np.full((8, 8), 1 + index % 3, dtype=np.uint8)
            Image.fromarray(mask).save(notes / "trimaps" / f"{name}.png")
            (notes / "trimaps" / f"._{name}.png").write_bytes(b"\0\x05\x16\x07")
            if index < train + test:
                split = "trainval" if index < train else "test"
                rows[split].append(f"{name} {label + 1} {species} {number}")
            if index < train:
                kind = "cat" if species == 1 else "dog"
                (notes / "xmls" / f"{name}.xml").write_text(XML.format(name=name, kind=kind))
    (images / "Abyssinian_100.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    for split, lines in rows.items():
        (notes / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    everything = [*HEADER, *sorted(rows["trainval"] + rows["test"])]
    (notes / "list.txt").write_text("".join(f"{line}\n" for line in everything))


def _save(path: Path, number: int, *, label: int) -> None:
    image = drawn_animal(number, label=label)
    match number % 10:
        case 1:
            image.quantize(64).save(path, format="GIF")
        case 3:
            image.putalpha(Image.new("L", image.size, 230))
            image.save(path, format="PNG")
        case 4:
            image.save(path, format="BMP")
        case 5:
            image.convert("L").save(path, format="JPEG")
        case _:
            image.save(path, format="JPEG", quality=90)
