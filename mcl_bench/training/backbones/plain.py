"""The house's own net for CPUs."""

from torch import nn


def conv_bn_relu(inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    """A padded convolution without bias, batch normalisation and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def convnet() -> nn.Sequential:
    """A net for CPUs: 12, 24 and 48 channels at stride 2 and 48 at stride 1, all 3×3.

    It has 48 maps of an eighth of the image's side (8×8 at 64 pixels).
    """
    return nn.Sequential(
        conv_bn_relu(3, 12, kernel=3, stride=2),
        conv_bn_relu(12, 24, kernel=3, stride=2),
        conv_bn_relu(24, 48, kernel=3, stride=2),
        conv_bn_relu(48, 48, kernel=3),
    )
