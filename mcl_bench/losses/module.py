"""The Mutual-Channel Loss as a module: what it masks, and when."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mcl_bench.losses.channels import channel_groups, check_ratio, draw_mask
from mcl_bench.losses.mc import DiversityForm, MaskFill, Reduction, check_choice, mc_loss

MaskScope = Literal["batch", "sample"]
MaskDraw = Literal["step", "once"]


class MCLoss(nn.Module):
    """The Mutual-Channel Loss μ·(L_dis + λ·(1 - diversity)); add it to the cross-entropy.

    Channels are divided among the classes by `channel_groups`. In training mode ⌊ξ·mask_ratio⌋
    channels of each class, at most ξ - 1, are masked, drawn from `generator` (a CPU generator,
    torch's default one if None). In evaluation mode nothing is masked and nothing drawn.

    Args:
        num_classes: K.
        channels: C, the maps of all classes; at least K.
        mu: weight of the whole loss, >= 0.
        lambda_: weight of the diversity term within it, >= 0.
        mask_ratio: share of each class's channels that a batch drops, 0 to 1, taken decimally.
        generator: where the masks come from; whoever owns it saves and restores its state.
        mask_scope: `batch` masks all images of a batch alike, `sample` each on its own.
        mask_draw: `step` draws anew at each call; `once` draws at the first one in training and
            keeps that mask, which the state dict then holds as `fixed_mask`.
        mask_fill, reduction, diversity, compiled: as in `mc_loss`.

    Raises:
        ValueError: a number or an option breaks these rules, or one mask is to be kept for images
            that change (`once` with `sample`).
    """

    fixed_mask: Tensor | None

    def __init__(  # noqa: PLR0913 - the options of `mc_loss`, and of the mask's drawing
        self,
        num_classes: int,
        channels: int,
        *,
        mu: float,
        lambda_: float,
        mask_ratio: float,
        generator: torch.Generator | None = None,
        mask_scope: MaskScope = "batch",
        mask_draw: MaskDraw = "step",
        mask_fill: MaskFill = "zero",
        reduction: Reduction = "classes",
        diversity: DiversityForm = "normalised",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        _check_weight("mu", mu)
        _check_weight("lambda_", lambda_)
        check_ratio(mask_ratio)
        check_choice("mask_scope", mask_scope, MaskScope)
        check_choice("mask_draw", mask_draw, MaskDraw)
        check_choice("mask_fill", mask_fill, MaskFill)
        check_choice("reduction", reduction, Reduction)
        check_choice("diversity", diversity, DiversityForm)
        if (mask_scope, mask_draw) == ("sample", "once"):
            raise ValueError("mask_draw must be step where mask_scope is sample, got once")
        self.groups = channel_groups(num_classes, channels)
        self.mu = mu
        self.lambda_ = lambda_
        self.mask_ratio = mask_ratio
        self.generator = generator
        self.mask_scope = mask_scope
        self.mask_draw = mask_draw
        self.mask_fill = mask_fill
        self.reduction = reduction
        self.diversity = diversity
        self.compiled = compiled
        self.register_buffer("fixed_mask", None)
        self.register_load_state_dict_pre_hook(_expect_fixed_mask)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, a scalar: `features` B×C×H×W, `target` B class indices."""
        terms = mc_loss(
            features,
            target,
            groups=self.groups,
            mask=self._mask(features) if self.training else None,
            mask_fill=self.mask_fill,
            reduction=self.reduction,
            diversity=self.diversity,
            compiled=self.compiled,
        )
        return terms.weighted(mu=self.mu, lambda_=self.lambda_)

    def extra_repr(self) -> str:
        """The settings, as `print` shows them."""
        return (
            f"num_classes={len(self.groups)}, channels={sum(self.groups)}, mu={self.mu}, "
            f"lambda_={self.lambda_}, mask_ratio={self.mask_ratio}, "
            f"mask_scope={self.mask_scope}, mask_draw={self.mask_draw}, "
            f"mask_fill={self.mask_fill}, reduction={self.reduction}, diversity={self.diversity}"
        )

    def _mask(self, features: Tensor) -> Tensor:
        if self.fixed_mask is not None:
            return self.fixed_mask
        batch = len(features) if self.mask_scope == "sample" else None
        mask = draw_mask(self.groups, self.mask_ratio, generator=self.generator, batch=batch)
        if self.mask_draw == "once":
            self.fixed_mask = mask.to(features.device)
        return mask


def _expect_fixed_mask(
    module: MCLoss, state: dict[str, Any], prefix: str, *_unused: object
) -> None:
    """Make room for a fixed mask where the state has one, and for none where it has none."""
    saved = state.get(prefix + "fixed_mask")
    if module.mask_draw == "once":
        module.fixed_mask = None if saved is None else torch.empty_like(saved)


def _check_weight(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number >= 0, got {value}")
