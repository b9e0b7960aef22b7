"""The stages of a backbone, in order: what `model.freeze` counts.

A block that its library groups into one module is a stage; so is a run of plain layers, which
begins with a convolution and ends with a pool or before the next block. Layers without a
convolution of their own (a last normalisation) belong to the stage before them.
"""

from collections.abc import Iterator

from torch import nn

OPENED = frozenset(
    {"features", "layers", "blocks", "stages", "trunk_output", "encoder", "net", "_blocks"}
)
"""Modules of these names hold stages and are none."""

POOLS = (nn.MaxPool2d, nn.AvgPool2d)
BEGINNERS = (nn.Conv2d, nn.Linear)


def stages_of(backbone: nn.Module) -> list[list[nn.Module]]:
    """The modules of each stage, from the image on."""
    stages: list[list[nn.Module]] = []
    running = False
    for unit in _units(backbone):
        plain = isinstance(unit, BEGINNERS) or not any(True for _ in unit.children())
        begins = isinstance(unit, BEGINNERS) and not running
        if not any(True for _ in unit.parameters()):
            begins = False
        elif not plain:
            begins, running = True, False
        if begins or not stages:
            stages.append([])
        stages[-1].append(unit)
        running = plain and (running or begins) and not isinstance(unit, POOLS)
    return stages


def freeze(backbone: nn.Module, num_stages: int) -> list[nn.Module]:
    """Stop the first stages from learning; returns their modules.

    Parameters that belong to no stage (a class token, position embeddings) come before the first.
    """
    if num_stages == 0:
        return []
    stages = stages_of(backbone)
    frozen = [module for stage in stages[:num_stages] for module in stage]
    later = {id(value) for stage in stages for module in stage for value in module.parameters()}
    for value in backbone.parameters():
        if id(value) not in later:
            value.requires_grad_(False)
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def _units(module: nn.Module) -> Iterator[nn.Module]:
    for name, child in module.named_children():
        if name in OPENED and any(True for _ in child.children()):
            yield from _units(child)
        else:
            yield child
