"""A tree in the official layout of FGVC-Aircraft 2013b, with drawn photographs."""

from collections.abc import Mapping
from pathlib import Path

from photographs import Photograph, draw

from mcl_bench.data.catalog.source import Split

FOLDER = "fgvc-aircraft-2013b"
KINDS = (
    ("F/A-18", "F/A-18", "McDonnell Douglas"),
    ("707-320", "Boeing 707", "Boeing"),
    ("BAE 146-200", "BAE 146", "British Aerospace"),
    ("737-700", "Boeing 737", "Boeing"),
    ("BAE 146-300", "BAE 146", "British Aerospace"),
)
"""Variant, family and manufacturer, in an order of the lists that is no alphabet's."""
COUNTS: Mapping[Split, int] = {"train": 3, "validation": 2, "test": 2}
_LEVELS = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
_SPLITS: Mapping[Split, str] = {"train": "train", "validation": "val", "test": "test"}


def write_aircraft(
    root: Path, *, classes: int = 4, counts: Mapping[Split, int] = COUNTS
) -> list[Photograph]:
    """Draw a tree at `root`, which stands for the folder fgvc-aircraft-2013b; labels by variant.

    Each variant has `counts` images of each split, with a banner of 20 rows at the bottom.
    """
    photographs: list[Photograph] = []
    for label in range(classes):
        for split, count in counts.items():
            for _ in range(count):
                number = len(photographs)
                path = f"data/images/{34309 + 7919 * number:07d}.jpg"
                photographs.append(
                    draw(root, path, label=label, split=split, number=number, banner=20)
                )
    for column, (level, names) in enumerate(_LEVELS.items()):
        kinds = [kind[column] for kind in KINDS[:classes]]
        _write(root / f"data/{names}.txt", list(dict.fromkeys(kinds)))
        for split, word in _SPLITS.items():
            rows = [f"{_id(p)} {kinds[p.label]}" for p in photographs if p.split == split]
            _write(root / f"data/images_{level}_{word}.txt", rows)
        rows = [f"{_id(p)} {kinds[p.label]}" for p in photographs if p.split != "test"]
        _write(root / f"data/images_{level}_trainval.txt", rows)
    boxes = [f"{_id(p)} 3 5 {p.size[0] - 4} {p.size[1] - 24}" for p in photographs]
    _write(root / "data/images_box.txt", boxes)
    (root / "README.md").write_text("# FGVC-Aircraft Benchmark\n")
    return photographs


def _id(photograph: Photograph) -> str:
    return Path(photograph.path).stem


def _write(path: Path, rows: list[str]) -> None:
    path.write_text("".join(f"{row}\n" for row in rows))
