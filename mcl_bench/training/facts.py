"""What is known of a network before it is trained, worked out on the meta device."""

from dataclasses import dataclass

import torch

from mcl_bench.spec import TrialSpec
from mcl_bench.training.models import Network, xi_text
from mcl_bench.training.weights import weights_sha256


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """A network's size.

    `groups` are the maps of each class, `maps` their sum and `map_size` the height and width of
    each; `embedding_size` is the width of what the head's last layer sees; `xi` is text (`3`,
    uneven `10-11`). `weights_sha256` is None where none are loaded.
    """

    groups: tuple[int, ...]
    maps: int
    parameters: int
    map_size: tuple[int, int]
    embedding_size: int
    xi: str
    weights_sha256: str | None


def describe(spec: TrialSpec, num_classes: int) -> NetworkFacts:
    """The facts of a configuration's network; it costs no memory and draws from no generator.

    The configuration must be one that `check` lets pass. Of loaded weights it reads the file once,
    for its SHA-256. Raises DataError where that file is absent or damaged.
    """
    crop = spec.data.crop
    assert crop is not None, "a trial's crop is resolved"
    with torch.device("meta"), torch.inference_mode():
        network = Network(spec.model, num_classes).eval()
        maps_1CHW = network(torch.empty(1, 3, crop, crop)).maps
    return NetworkFacts(
        groups=network.groups,
        maps=sum(network.groups),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        map_size=(maps_1CHW.shape[2], maps_1CHW.shape[3]),
        embedding_size=network.head.embedding_size,
        xi=xi_text(network.groups),
        weights_sha256=weights_sha256(spec.model),
    )
