"""Photographs as public sets have them: small JPEG files of many sizes, some grey, some CMYK."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mcl_bench.data.catalog.source import Split


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One drawn image of a tree: its path below the root, class (from 0), split and size."""

    path: str
    label: int
    split: Split
    size: tuple[int, int]


def draw(
    root: Path, path: str, *, label: int, split: Split, number: int, banner: int = 0
) -> Photograph:
    """Draw a photograph in its class's colours; the fourth is grey, the sixth CMYK, and so on.

    `banner` rows below the photograph itself are white with a black line.
    """
    rng = np.random.default_rng(number)
    width, height = (int(side) for side in rng.integers(48, 80, 2))
    noise = rng.integers(60, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    brush = ImageDraw.Draw(image)
    left, top = rng.uniform(0.05, 0.3, 2) * (width, height)
    brush.ellipse((left, top, left + width / 2, top + height / 2), fill=_colour(label))
    if banner:
        photograph, image = image, Image.new("RGB", (width, height + banner), "white")
        image.paste(photograph, (0, 0))
        ImageDraw.Draw(image).line((4, height + 10, width - 4, height + 10), fill="black")
    if number % 6 == 3:
        image = image.convert("L")
    elif number % 6 == 5:
        image = image.convert("CMYK")
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=90)
    return Photograph(path=path, label=label, split=split, size=image.size)


def _colour(label: int) -> str:
    return f"hsl({(67 * label) % 360}, 90%, {35 + 15 * (label % 3)}%)"
