"""What the maps say by themselves: how different a class's channels are, and whose they are."""

# B batch, K classes, C maps, H×W positions

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mcl_bench.losses import alignment_logits, diversity


@dataclass(frozen=True, kw_only=True)
class ChannelFacts:
    """Channel analysis over a set of images.

    `diversity` is the mean of h/ξ over images and classes, in (0, 1]: 1/ξ where a class's channels
    are equal, 1 where none overlap. `alignment` is the share of images whose own class wins in the
    parameter-free branch, argmax over classes of GAP(max over the class's channels), with no mask.
    """

    diversity: float
    alignment: float


@dataclass
class ChannelSums:
    """Adds up batches of maps; the sums stay on the device until `facts` asks for them."""

    groups: Sequence[int]
    _diversity: list[Tensor] = field(default_factory=list)
    _aligned: list[Tensor] = field(default_factory=list)
    _images: int = 0

    def add(self, maps_BCHW: Tensor, target_B: Tensor) -> None:
        """Count one batch."""
        self._diversity.append(diversity(maps_BCHW, self.groups).double() * len(target_B))
        predicted_B = alignment_logits(maps_BCHW, self.groups).argmax(1)
        self._aligned.append((predicted_B == target_B).sum())
        self._images += len(target_B)

    def facts(self) -> ChannelFacts:
        """The means over all images counted so far; at least one is needed."""
        return ChannelFacts(
            diversity=sum(float(part) for part in self._diversity) / self._images,
            alignment=sum(int(part) for part in self._aligned) / self._images,
        )
