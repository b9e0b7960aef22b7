"""Last stages rebuilt in place with another number of maps; what is rebuilt starts afresh."""

from collections.abc import Sequence

from torch import nn

SMALLEST_WIDTH = 16
"""The least inner width of a bottleneck: a ResNeXt's groups need a channel each."""


def widen_last_convolution(backbone: nn.Module, maps: int) -> None:
    """Give the last convolution, and the batch normalisation after it, so many outputs."""
    layers = list(backbone.named_modules())
    place, convolution = [
        (place, layer) for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d)
    ][-1]
    assert convolution.groups == 1, "a last convolution with groups has no free width"
    convolution.out_channels = maps
    weight = convolution.weight
    convolution.weight = nn.Parameter(weight.new_empty(maps, *weight.shape[1:]))
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        convolution.bias = nn.Parameter(convolution.bias.new_zeros(maps))
    for name, norm in layers[place:]:
        if isinstance(norm, nn.BatchNorm2d):
            fresh = nn.BatchNorm2d(maps, eps=norm.eps, momentum=norm.momentum)
            backbone.set_submodule(name, fresh)


def widen_layer4(backbone: nn.Module, maps: int, *, stride: int = 2) -> None:
    """Rebuild a ResNet's `layer4` with so many maps.

    A basic block is that wide throughout; a bottleneck has a quarter of it inside, rounded up, as
    torchvision's have (150 inside for 600 maps), and in ResNeXt and wide ResNets more in
    proportion.
    """
    from torchvision.models.resnet import BasicBlock

    old = backbone.get_submodule("layer4")
    assert isinstance(old, nn.Sequential), "a ResNet's stage is a sequence of blocks"
    first, entrance = old[0], old[0].get_submodule("conv1")
    assert isinstance(entrance, nn.Conv2d), "a block begins with a convolution"
    make = _basic if isinstance(first, BasicBlock) else _bottleneck
    blocks = [make(first, entrance.in_channels, maps, stride)]
    blocks += [make(first, maps, maps, 1) for _ in old[1:]]
    backbone.set_submodule("layer4", nn.Sequential(*blocks))
    _start(blocks)


def _basic(_like: nn.Module, inputs: int, maps: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    block: nn.Module = BasicBlock(inputs, maps, stride, _shortcut(inputs, maps, stride))
    return block


def _bottleneck(like: nn.Module, inputs: int, maps: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import Bottleneck

    inner = like.get_submodule("conv2")
    assert isinstance(inner, nn.Conv2d), "a bottleneck's inner layer is a convolution"
    planes = max(-(-maps // 4), SMALLEST_WIDTH)
    block: nn.Module = Bottleneck(
        inputs,
        planes,
        stride,
        _shortcut(inputs, maps, stride),
        groups=inner.groups,
        base_width=64 * inner.out_channels // (512 * inner.groups),
    )
    out = block.get_submodule("conv3")
    assert isinstance(out, nn.Conv2d), "a bottleneck's outer layer is a convolution"
    if out.out_channels != maps:
        block.set_submodule("conv3", nn.Conv2d(out.in_channels, maps, 1, bias=False))
        block.set_submodule("bn3", nn.BatchNorm2d(maps))
    return block


def _shortcut(inputs: int, maps: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == maps:
        return None
    return nn.Sequential(
        nn.Conv2d(inputs, maps, 1, stride=stride, bias=False), nn.BatchNorm2d(maps)
    )


def _start(blocks: Sequence[nn.Module]) -> None:
    """Start convolutions as torchvision's ResNets do."""
    for block in blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
