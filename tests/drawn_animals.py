"""Small drawn animals: a class has colours of its own, an image a size of its own."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def drawn_animal(number: int, *, label: int) -> Image.Image:
    """An animal in front of noise; `number` decides the noise, the size and where it sits."""
    rng = np.random.default_rng(number)
    width, height = (int(side) for side in rng.integers(60, 110, 2))
    noise = rng.integers(60, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)
    left, top = rng.uniform(0.05, 0.35) * width, rng.uniform(0.1, 0.45) * height
    brush = ImageDraw.Draw(image)
    body = (left, top, left + 0.6 * width, top + 0.5 * height)
    brush.ellipse(body, fill=f"hsl({67 * label % 360}, 90%, 50%)")
    head = (left, top, left + 0.25 * width, top + 0.25 * height)
    brush.ellipse(head, fill=f"hsl({(151 * label + 180) % 360}, 80%, 30%)")
    return image


def format_of(path: Path) -> str | None:
    """What an image file is by its content, whatever its name says."""
    with Image.open(path) as image:
        return image.format


def write_folder(root: Path) -> None:
    """Two classes, with no split of their own."""
    for label, name in enumerate(("great tit", "Гриф")):
        (root / name).mkdir(parents=True)
        for number in range(6):
            image = drawn_animal(10 * label + number, label=label)
            image.save(root / name / f"photo {number}.png")
