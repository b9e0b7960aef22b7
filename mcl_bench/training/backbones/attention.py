"""torchvision's transformers as backbones for images of several sizes.

Their parameters have torchvision's names.
"""

# B batch, N tokens, D width of a token, C maps, H×W positions

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenGrid(nn.Module):
    """A vision transformer's tokens, but for the class token, laid out as B×D×H×W maps.

    Position embeddings are those of the size that the published weights were trained at (224); for
    another one they are interpolated (bicubic), as is usual in fine-tuning. The side of an image
    is a multiple of the patch's: raises ValueError otherwise.
    """

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.patch: int = whole.patch_size
        self.grid: int = whole.image_size // whole.patch_size
        self.class_token = whole.class_token
        self.conv_proj = whole.conv_proj
        self.encoder = whole.encoder

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The maps."""
        if images_B3HW.shape[2] % self.patch or images_B3HW.shape[3] % self.patch:
            raise ValueError(f"an image's side must be a multiple of {self.patch}")
        patches_BDHW = self.conv_proj(images_B3HW)
        height, width = patches_BDHW.shape[2:]
        tokens_BND = patches_BDHW.flatten(2).transpose(1, 2)
        first_B1D = self.class_token.expand(len(tokens_BND), -1, -1)
        tokens_BND = torch.cat((first_B1D, tokens_BND), dim=1) + self._positions(height, width)
        tokens_BND = self.encoder.layers(self.encoder.dropout(tokens_BND))
        tokens_BND = self.encoder.ln(tokens_BND)[:, 1:]
        maps_BDN: Tensor = tokens_BND.transpose(1, 2)
        return maps_BDN.reshape(*maps_BDN.shape[:2], height, width)

    def _positions(self, height: int, width: int) -> Tensor:
        own_1ND: Tensor = self.encoder.pos_embedding
        if (height, width) == (self.grid, self.grid):
            return own_1ND
        grid_1DHW = own_1ND[:, 1:].transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        grid_1DHW = F.interpolate(
            grid_1DHW, size=(height, width), mode="bicubic", align_corners=True
        )
        return torch.cat((own_1ND[:, :1], grid_1DHW.flatten(2).transpose(1, 2)), dim=1)


def vit(name: str) -> TokenGrid:
    """A vision transformer of torchvision's up to its last normalisation."""
    from torchvision.models import get_model

    return TokenGrid(get_model(name, num_classes=1))


class Windows(nn.Module):
    """A MaxViT's maps; an image's side is a multiple of 224: raises ValueError otherwise."""

    STEP = 224

    def __init__(self, whole: Any) -> None:
        super().__init__()
        from torchvision.models.maxvit import PartitionAttentionLayer

        self.stem = whole.stem
        self.blocks = whole.blocks
        for layer in self.blocks.modules():
            if isinstance(layer, PartitionAttentionLayer):
                layer.register_forward_pre_hook(_fit_windows)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The maps."""
        height, width = images_B3HW.shape[2:]
        if height != width or height % self.STEP:
            raise ValueError(f"an image's side must be a multiple of {self.STEP}")
        maps_BCHW: Tensor = self.stem(images_B3HW)
        for block in self.blocks:
            maps_BCHW = block(maps_BCHW)
        return maps_BCHW


def _fit_windows(layer: Any, inputs: tuple[Tensor]) -> None:
    """Tell a layer, which was made for one size of maps, the size of those it is given."""
    side = inputs[0].shape[2]
    window = layer.p if layer.partition_type == "window" else layer.g
    layer.grid_size = (side, side)
    layer.n_partitions = side // window
    if layer.partition_type == "window":
        layer.g = layer.n_partitions
    else:
        layer.p = layer.n_partitions


def maxvit(name: str) -> Windows:
    """A MaxViT of torchvision's up to the last of its blocks."""
    from torchvision.models import get_model

    return Windows(get_model(name, num_classes=1, input_size=(Windows.STEP, Windows.STEP)))
