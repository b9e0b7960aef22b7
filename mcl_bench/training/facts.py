"""What is known of a network before it is trained, worked out on the meta device."""

from dataclasses import dataclass

import torch

from mcl_bench.spec import ModelSpec, TrialSpec
from mcl_bench.training.backbones import find_backbone, stages_of
from mcl_bench.training.models import Network, xi_text
from mcl_bench.training.weights import weights_sha256


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """A network's size.

    `groups` are the maps of each class, `maps` their sum and `map_size` the height and width of
    each; `xi` is text (`3`, uneven `10-11`). `signed` tells whether maps can be below zero, where
    a mask that fills with zeros is no lowest value. `embedding_size` is the width of what the
    head's last layer sees, `stages` how many stages the backbone has. `weights_sha256` is None
    where no weights are loaded, `source_sha256` where the backbone is none of the user's own.
    """

    groups: tuple[int, ...]
    maps: int
    parameters: int
    map_size: tuple[int, int]
    embedding_size: int
    xi: str
    signed: bool
    stages: int
    weights_sha256: str | None
    source_sha256: str | None


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
        signed=network.signed,
        stages=len(stages_of(network.backbone)),
        weights_sha256=weights_sha256(spec.model),
        source_sha256=source_sha256(spec.model),
    )


def source_sha256(model: ModelSpec) -> str | None:
    """The SHA-256 (64 hex digits) of the file that a user's own backbone is defined in.

    None for every other backbone. Raises UserError where it cannot be imported.
    """
    return find_backbone(model.backbone).source_sha256
