"""What mixes the images of a batch, each with the one before it: MixUp and CutMix, torchvision's.

Legend: B batch, c cropped pixels a side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How much of each image is its own: `share` of 0..1, the rest its partner's.

    `target` (B int64) has the partners' classes. The loss of the batch is share·L(own targets) +
    (1 - share)·L(partners'), which for a cross-entropy is that of the mixed labels.
    """

    target: Tensor
    share: float


def _mixup() -> Any:
    from torchvision.transforms import v2

    return v2.MixUp(alpha=0.2)


def _cutmix() -> Any:
    from torchvision.transforms import v2

    return v2.CutMix(alpha=1.0)


MIXINGS: Mapping[str, Callable[[], Any]] = {"mixup": _mixup, "cutmix": _cutmix}
"""Makers by name; a batch has one share, drawn from Beta(α, α).

`mixup` adds whole images (Zhang et al., ICLR 2018) with the paper's α for large images, 0.2;
`cutmix` puts a box of the partner in its place (Yun et al., ICCV 2019) with the paper's α, 1.
"""


class Mixing:
    """Mixes each image of a batch with the one before it (the first with the last)."""

    def __init__(self, name: str) -> None:
        self._transform = MIXINGS[name]()

    def __call__(self, images: Tensor, target: Tensor) -> tuple[Tensor, Mix]:
        """The mixed images (B×3×c×c float32), and how they are mixed.

        Draws from torch's global CPU generator, to be called inside `drawn_from`.
        """
        drawn = self._transform.make_params([images])
        share = drawn["lam"] if "lam" in drawn else drawn["lam_adjusted"]
        known = {**drawn, "labels": None, "batch_size": len(images)}
        mixed = self._transform.transform(images, known)
        return mixed, Mix(target=target.roll(1), share=share)
