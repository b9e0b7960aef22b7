"""What is known of where things are in an evaluated image: its parts, and its object's box."""

# N images, P parts, S map positions (H·W, row by row)

from dataclasses import dataclass

import torch
from torch import Tensor

from mcl_bench.data import ImageSet, augment

TOLERANCE = 15 / 224
"""How far from a part a place may lie and still hit it, as a share of the crop's side.

Source: the pointing game's 15 pixels (Zhang et al., "Top-Down Neural Attention by Excitation
Backprop", IJCV 2018).
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """Places in N images as an evaluation crops them, as shares of the crop: 0, 0 is upper left.

    `parts_NP2` has x and y of each part, `visible_NP` (bool) whether it can be seen in the crop.
    `box_N4` has left, top, right and bottom, cut to the crop; right <= left or bottom <= top
    where the crop has nothing of it. A set without parts has P = 0, one without boxes None.
    """

    parts_NP2: Tensor
    visible_NP: Tensor
    box_N4: Tensor | None

    def of(self, indices_N: Tensor) -> "Landmarks":
        """Those of some images."""
        box_N4 = None if self.box_N4 is None else self.box_N4[indices_N]
        return Landmarks(
            parts_NP2=self.parts_NP2[indices_N],
            visible_NP=self.visible_NP[indices_N],
            box_N4=box_N4,
        )

    def region(self, height: int, width: int) -> Tensor:
        """N×S, bool: the cells of an H×W map whose centres lie where the object is known to be.

        That is in the box where the set has boxes, else within TOLERANCE of a visible part.
        """
        centre_S2 = cell_centres(height, width)
        if self.box_N4 is not None:
            low_N12, high_N12 = self.box_N4[:, None, :2], self.box_N4[:, None, 2:]
            return ((low_N12 <= centre_S2) & (centre_S2 <= high_N12)).all(-1)
        offset_NSP2 = centre_S2[:, None] - self.parts_NP2[:, None]
        near_NSP = offset_NSP2.square().sum(-1) <= TOLERANCE**2
        return (near_NSP & self.visible_NP[:, None]).any(-1)

    def known(self) -> Tensor:
        """N, bool: whether anything can be hit: some of the box, else a visible part."""
        if self.box_N4 is None:
            return self.visible_NP.any(1)
        return (self.box_N4[:, :2] < self.box_N4[:, 2:]).all(1)


def landmarks(images: ImageSet, *, crop: int) -> Landmarks | None:
    """The landmarks of the images in the middle crop of `crop` pixels; None if the set has none.

    Parts that lie outside the crop are not visible. Float64, on the CPU.
    """
    stored = images.pixels.shape[-1]
    corner = int(augment.centre(1, stored, crop).left[0])

    def in_crop(shares: Tensor) -> Tensor:
        return (shares.double() * stored - corner) / crop

    parts, box = images.extra.get("parts"), images.extra.get("box")
    if parts is None and box is None:
        return None
    if parts is None:
        parts = torch.zeros(len(images), 0, 3)
    parts_NP2 = in_crop(parts[..., :2])
    inside_NP = ((parts_NP2 >= 0) & (parts_NP2 <= 1)).all(-1)
    box_N4 = None
    if box is not None:
        corners_N4 = torch.cat((box[:, :2], box[:, :2].double() + box[:, 2:].double()), dim=1)
        box_N4 = in_crop(corners_N4).clamp(0, 1)
    return Landmarks(
        parts_NP2=parts_NP2, visible_NP=inside_NP & (parts[..., 2] > 0.5), box_N4=box_N4
    )


def cell_centres(height: int, width: int) -> Tensor:
    """S×2, float64: x and y of the cells' centres of an H×W map, as shares of the crop."""
    y_H = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    x_W = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    return torch.cartesian_prod(y_H, x_W).flip(1)
