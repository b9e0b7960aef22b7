"""What changes the pixels of each image of a batch: torchvision's transforms, drawn per image.

torchvision draws from torch's global CPU generator. `drawn_from` lends it to a batch: inside, all
draws come from the batch's seed, so that the batch is the same on every device; afterwards the
generator stands where it stood.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# B batch, c cropped pixels a side

LARGEST_ANGLE = 15.0
"""Degrees that `rotate` turns an image by, at most, to either side; corners become 0."""

LARGEST_CHANGE = 0.4
"""`colour` multiplies brightness, contrast and saturation by 1 ± this, at most."""


def _rotate() -> Any:
    from torchvision.transforms import v2

    return v2.RandomRotation(LARGEST_ANGLE, interpolation=v2.InterpolationMode.BILINEAR)


def _colour() -> Any:
    from torchvision.transforms import v2

    return v2.ColorJitter(LARGEST_CHANGE, LARGEST_CHANGE, LARGEST_CHANGE)


def _randaugment() -> Any:
    from torchvision.transforms import v2

    return v2.RandAugment()


def _trivialaugment() -> Any:
    from torchvision.transforms import v2

    return v2.TrivialAugmentWide()


POLICIES: Mapping[str, Callable[[], Any]] = {
    "rotate": _rotate,
    "colour": _colour,
    "randaugment": _randaugment,
    "trivialaugment": _trivialaugment,
}
"""Makers by name, as torchvision has them.

`randaugment` is two operations of magnitude 9 an image (Cubuk et al., CVPRW 2020),
`trivialaugment` one of any magnitude (Müller and Hutter, ICCV 2021, the wide space).
"""


class Policy:
    """Changes each image of a batch on its own, by the named transforms in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._transforms = [POLICIES[name]() for name in names]

    def __call__(self, images: Tensor) -> Tensor:
        """The images (B×3×c×c of 0..255, uint8 or float32) changed, as uint8.

        To be called inside `drawn_from`.
        """
        if images.dtype != torch.uint8:
            images = images.round().clamp_(0, 255).to(torch.uint8)
        return torch.stack([self._changed(image) for image in images])

    def _changed(self, image: Tensor) -> Tensor:
        for transform in self._transforms:
            image = transform(image)
        return image


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let torch's global CPU generator draw from `seed`, then put it back.

    Only one thread of the process may draw from that generator meanwhile.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
