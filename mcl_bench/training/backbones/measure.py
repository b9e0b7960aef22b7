"""What a network shows of itself on the meta device, where nothing is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

NEVER_NEGATIVE = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid)
"""The last layers whose maps cannot be below zero."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A network's maps, whether they can be below zero, and its modules that play no part in them.

    `signed` is false only where the maps are exactly what one of `NEVER_NEGATIVE` gave. `unused`
    names the topmost modules none of whose parameters the maps depend on.
    """

    maps: int
    signed: bool
    unused: tuple[str, ...]


def measure(build: Callable[[], nn.Module], crop: int) -> Measured:
    """Run the network on one image of this size. Raises ValueError where it gives no map."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("meta"):
        network = build().eval()
        ends: list[tuple[Tensor, int]] = []
        for layer in network.modules():
            if isinstance(layer, NEVER_NEGATIVE):
                layer.register_forward_hook(lambda *call: ends.append((call[2], call[2]._version)))
        maps_BCHW = network(torch.empty(1, 3, crop, crop))
        if not isinstance(maps_BCHW, Tensor) or maps_BCHW.dim() != 4:
            raise ValueError(f"it gives {shape_text(maps_BCHW)}, not maps B×C×H×W")
        kept = any(end is maps_BCHW and end._version == version for end, version in ends)
        maps_BCHW.sum().backward()  # type: ignore[no-untyped-call]
    return Measured(maps=maps_BCHW.shape[1], signed=not kept, unused=tuple(_unused(network)))


def shape_text(output: object) -> str:
    """What a network gave, in words."""
    if isinstance(output, Tensor):
        return "×".join(("B", *map(str, output.shape[1:])))
    return f"a {type(output).__name__}"


def _unused(network: nn.Module, path: str = "") -> list[str]:
    found = []
    for name, child in network.named_children():
        grads = [value.grad is None for value in child.parameters() if value.requires_grad]
        if grads and all(grads):
            found.append(path + name)
        elif any(grads):
            found += _unused(child, f"{path}{name}.")
    return found


@cache
def map_size(build: Callable[[], nn.Module], crop: int) -> tuple[int, int]:
    """The height and width of the maps at this crop; raises whatever the network raises."""
    with torch.device("meta"), torch.inference_mode():
        maps_BCHW = build().eval()(torch.empty(1, 3, crop, crop))
    return maps_BCHW.shape[2], maps_BCHW.shape[3]
