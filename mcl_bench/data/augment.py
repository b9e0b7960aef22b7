"""Crops: which part of each image a batch shows, how it is turned, and how it is normalised.

A crop draws on the CPU from the batch's own generator, so that the same batch is seen on every
device; it is applied to the whole batch on the trial's device.

Legend: B batch, S stored pixels a side, c cropped pixels a side.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor
from torch.nn import functional

Corners = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What was drawn for one batch.

    `window` pixels a side are taken at `top` and `left` (length B; outside the image is 0). Of
    the rest, None means: not done. `flip`, `flip_vertical` and `transpose` are bool of length B,
    `brightness` multiplies pixels (float of length B), `zoom` (B×2×3) maps the crop's
    coordinates to the window's.
    """

    window: int
    top: Corners
    left: Corners
    flip: Tensor | None = None
    flip_vertical: Tensor | None = None
    transpose: Tensor | None = None
    brightness: Tensor | None = None
    zoom: Tensor | None = None

    def part(self, start: int, stop: int) -> "Draw":
        """What was drawn for the images from `start` to `stop`."""

        def cut(drawn: Tensor | None) -> Tensor | None:
            return None if drawn is None else drawn[start:stop]

        return Draw(
            window=self.window,
            top=self.top[start:stop],
            left=self.left[start:stop],
            flip=cut(self.flip),
            flip_vertical=cut(self.flip_vertical),
            transpose=cut(self.transpose),
            brightness=cut(self.brightness),
            zoom=cut(self.zoom),
        )


Crop = Callable[[int, int, int, Generator], Draw]
"""(B, S, c, generator) -> Draw."""


def centre(count: int, stored: int, crop: int) -> Draw:
    """The middle of each image, as validation and test see it."""
    corner = np.full(count, (stored - crop) // 2, dtype=np.int64)
    return Draw(window=crop, top=corner, left=corner)


def _none(count: int, stored: int, crop: int, generator: Generator) -> Draw:  # noqa: ARG001
    return centre(count, stored, crop)


def _crop_flip(count: int, stored: int, crop: int, generator: Generator) -> Draw:
    """A random crop, of the image with 4 px of zeros around it where there is nothing to crop.

    Images under 32 px have an eighth of their side around them.
    """
    pad = min(4, crop // 8) if stored == crop else 0
    corners = _uniform(-pad, stored - crop + pad, (2, count), generator)
    return Draw(window=crop, top=corners[0], left=corners[1], flip=_coins(count, generator))


def _shift_flip_brightness(count: int, stored: int, crop: int, generator: Generator) -> Draw:
    """A shift of up to 3/32 of the side (6 px of 64), a flip, brightness ×0.8 to ×1.2."""
    reach = round(crop * 3 / 32)
    corners = (stored - crop) // 2 + _uniform(-reach, reach, (2, count), generator)
    return Draw(
        window=crop,
        top=corners[0],
        left=corners[1],
        flip=_coins(count, generator),
        brightness=0.8 + 0.4 * torch.rand(count, generator=generator),
    )


def _dihedral(count: int, stored: int, crop: int, generator: Generator) -> Draw:
    """One of the eight symmetries of the square, of a random crop where there is one."""
    corners = _uniform(0, stored - crop, (2, count), generator)
    return Draw(
        window=crop,
        top=corners[0],
        left=corners[1],
        flip=_coins(count, generator),
        flip_vertical=_coins(count, generator),
        transpose=_coins(count, generator),
    )


def _resized_crop(
    count: int,
    stored: int,
    crop: int,  # noqa: ARG001
    generator: Generator,
) -> Draw:
    """A box of 0.25 to 1 of the area and 3/4 to 4/3 in shape, resized to the crop, and a flip."""
    area, shape, x, y = torch.rand((4, count), generator=generator)
    side = (0.25 + 0.75 * area).sqrt()
    stretch = torch.exp((2 * shape - 1) * (0.5 * math.log(4 / 3)))
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    zero = torch.zeros(count)
    across = torch.stack([width, zero, (2 * x - 1) * (1 - width)], dim=1)
    down = torch.stack([zero, height, (2 * y - 1) * (1 - height)], dim=1)
    corner = np.zeros(count, dtype=np.int64)
    return Draw(
        window=stored,
        top=corner,
        left=corner,
        flip=_coins(count, generator),
        zoom=torch.stack([across, down], dim=1),
    )


CROPS: Mapping[str, Crop] = {
    "none": _none,
    "crop_flip": _crop_flip,
    "shift_flip_brightness": _shift_flip_brightness,
    "dihedral": _dihedral,
    "resized_crop": _resized_crop,
    "paper_scratch": _crop_flip,
    "paper_finetune": _crop_flip,
}
"""The crops by name.

The paper's are those of its authors' scripts. `paper_scratch`: images of 224 px, of which 224 px
are taken with 4 px of zeros around them, and a flip; the whole image on test. `paper_finetune`:
images of 600 px, of which 448 px are taken, and a flip; the middle 448 px on test. The scripts
normalise with mean and standard deviation 0.5, with ImageNet's weights too; here normalisation
follows the weights.
"""

SIZES: Mapping[str, tuple[int, int]] = {"paper_scratch": (224, 224), "paper_finetune": (600, 448)}
"""The stored and the cropped pixels a side of the crops that are for one size only."""


def cropped(windows: Tensor, draw: Draw, crop: int) -> Tensor:
    """The windows (B×3×w×w uint8, may be changed) turned, zoomed and brightened as drawn.

    B×3×c×c of 0..255, c = `crop`: uint8, or float32 where the draw zooms or brightens.
    """
    for chosen, turn in (
        (draw.flip, _mirrored),
        (draw.flip_vertical, _upside_down),
        (draw.transpose, _transposed),
    ):
        if chosen is not None:
            windows = _turned(windows, chosen, turn)
    images = windows
    if draw.zoom is not None:
        shape = [len(windows), 3, crop, crop]
        grid = functional.affine_grid(draw.zoom.to(windows.device), shape, align_corners=False)
        images = functional.grid_sample(
            windows.float(), grid, padding_mode="border", align_corners=False
        )
    if draw.brightness is not None:
        factor = draw.brightness.to(windows.device)[:, None, None, None]
        images = (images * factor).clamp_(max=255)
    return images


def normalisers(
    mean: Sequence[float], std: Sequence[float], device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """The scale and the shift of `normalise`, 3×1×1 each: of mean and std (pixels in 0..1)."""
    std_311 = torch.tensor(std, device=device).view(3, 1, 1)
    shift = -torch.tensor(mean, device=device).view(3, 1, 1) / std_311
    return 1 / (255 * std_311), shift


def normalise(images: Tensor, *, scale: Tensor, shift: Tensor, out: Tensor) -> None:
    """Write pixels p of 0..255 into `out` (float32) as p·scale + shift, 3×1×1 each."""
    torch.mul(images, scale, out=out).add_(shift)


def _turned(windows: Tensor, chosen: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
    """The windows with the chosen ones (bool of length B, on the CPU) turned."""
    index = chosen.nonzero().squeeze(1)
    if len(index) == len(windows):
        return turn(windows)
    if len(index):
        index = index.to(windows.device)
        windows[index] = turn(windows[index])
    return windows


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(-1)


def _upside_down(images: Tensor) -> Tensor:
    return images.flip(-2)


def _transposed(images: Tensor) -> Tensor:
    return images.transpose(-1, -2)


def _uniform(low: int, high: int, shape: tuple[int, ...], generator: Generator) -> Corners:
    return np.asarray(torch.randint(low, high + 1, shape, generator=generator).numpy())


def _coins(count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < 0.5
