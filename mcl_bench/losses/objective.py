"""What one arm of an experiment minimises, built from the `loss` part of its settings.

An objective is a main loss, which judges the head's outputs, and perhaps the Mutual-Channel Loss
on top of it, which judges the maps. `mc` is short for cross-entropy with it on top.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mcl_bench.losses.channels import channel_runs, draw_mask
from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.losses.mc import mc_loss
from mcl_bench.losses.registry import build_main_loss
from mcl_bench.spec.dialects import to_canonical
from mcl_bench.spec.loss import CUSTOM, LossSpec, MutualChannelSpec, loss_kind, split_loss

# B batch, C channels of all classes, K classes


class ObjectiveTerms(NamedTuple):
    """A batch's objective and its unweighted parts, scalars by name.

    The main loss's part has the loss's name (`ce`, `arcface`, …), `main` for one of the user's own;
    the Mutual-Channel Loss's are `dis`, the discriminality, and `div`, which is 1 - diversity.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


class Mixed(NamedTuple):
    """A batch whose images hold a part of another: `share` of 0..1 is each image's own.

    `target` has the B classes of the others.
    """

    target: Tensor
    share: float


class MutualChannelTerm(nn.Module):
    """μ·(L_dis + λ·(1 - diversity)) of a batch's maps; class weights apply to L_dis.

    What is computed is the canonical form of `spec`, whatever its dialect. In training mode a mask
    is drawn from `generator` at each call, one for the batch or one for each image; with
    `mask_draw: once` it is drawn here, and saved with the module. In evaluation mode nothing is
    masked and nothing drawn.
    """

    class_weights: Tensor | None
    mask: Tensor | None

    def __init__(
        self,
        spec: MutualChannelSpec,
        *,
        groups: Sequence[int],
        class_weights: Tensor | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.generator = generator
        self._written = spec
        self._map_size: tuple[int, int] | None = None
        once = spec.mask_draw == "once"
        mask = draw_mask(self.groups, spec.mask_ratio, generator=generator) if once else None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("mask", mask)

    def forward(self, maps: Tensor, target: Tensor, mixed: Mixed | None = None) -> ObjectiveTerms:
        """The weighted term and its unweighted parts; one mask serves both targets of mixed images.

        Diversity knows no target.
        """
        spec = self.canonical((maps.shape[2], maps.shape[3]))
        mask = self._mask(len(maps), spec) if self.training else None

        def terms(of: Tensor) -> ObjectiveTerms:
            found = mc_loss(
                maps,
                of,
                groups=self.groups,
                mask=mask,
                class_weights=self.class_weights,
                mask_fill=spec.mask_fill,
                reduction=spec.reduction,
                diversity=spec.diversity,
            )
            return ObjectiveTerms(
                total=found.weighted(mu=spec.mu, lambda_=spec.lambda_),
                parts={"dis": found.discriminality, "div": 1 - found.diversity},
            )

        own = terms(target)
        return own if mixed is None else _blended(own, terms(mixed.target), mixed.share)

    def canonical(self, map_size: tuple[int, int]) -> MutualChannelSpec:
        """What is computed on maps of this height and width."""
        if map_size != self._map_size:
            self._canonical = to_canonical(self._written, groups=self.groups, map_size=map_size)
            self._map_size = map_size
        return self._canonical

    def _mask(self, batch: int, spec: MutualChannelSpec) -> Tensor:
        """The mask of a batch of so many images."""
        if self.mask is not None:
            return self.mask
        images = batch if spec.mask_scope == "sample" else None
        return draw_mask(self.groups, spec.mask_ratio, generator=self.generator, batch=images)


class Objective(nn.Module):
    """Maps a network's outputs and a batch's targets to what is minimised."""

    def __init__(self, main: MainLoss, *, name: str, plus: MutualChannelTerm | None) -> None:
        super().__init__()
        self.main = main
        self.plus = plus
        self._name = name

    def forward(
        self, output: Outputs, target: Tensor, mixed: Mixed | None = None
    ) -> ObjectiveTerms:
        """The total and its parts, in float32 (float64 for float64 outputs) under autocast too.

        Of `mixed` images it is share·L(target) + (1 - share)·L(the partners' target), and so is
        each part.
        """
        main = self._main(output, target)
        if mixed is not None:
            main = _blended(main, self._main(output, mixed.target), mixed.share)
        if self.plus is None:
            return main
        plus: ObjectiveTerms = self.plus(output.maps, target, mixed)
        return ObjectiveTerms(total=main.total + plus.total, parts={**main.parts, **plus.parts})

    def _main(self, output: Outputs, target: Tensor) -> ObjectiveTerms:
        """The main loss alone."""
        with torch.autocast(output.logits.device.type, enabled=False):
            total: Tensor = self.main(output.full(), target)
        return ObjectiveTerms(total=total, parts={self._name: total})

    def logits(self, output: Outputs) -> Tensor:
        """What the outputs predict, B×K: the main loss says how they are to be read."""
        with torch.autocast(output.logits.device.type, enabled=False):
            return self.main.logits(output.full())


def _blended(own: ObjectiveTerms, other: ObjectiveTerms, share: float) -> ObjectiveTerms:
    """share·own + (1 - share)·other, the total and each part."""

    def between(one: Tensor, two: Tensor) -> Tensor:
        return share * one + (1 - share) * two

    return ObjectiveTerms(
        total=between(own.total, other.total),
        parts={name: between(part, other.parts[name]) for name, part in own.parts.items()},
    )


def build_objective(
    loss: LossSpec,
    *,
    groups: Sequence[int],
    embedding_size: int,
    class_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Objective:
    """The objective of one arm. With μ = 0 the Mutual-Channel Loss adds nothing.

    A loss with parameters of its own draws them from torch's global generator.

    Args:
        loss: the arm's resolved `loss` settings.
        groups: channels per class, K positive integers, in the order of the channels.
        embedding_size: D, the width of the head's embedding.
        class_weights: K weights of every cross-entropy, or None; they follow `.to(device)`.
        generator: a CPU generator for the masks, torch's default one if None; whoever owns it
            saves and restores its state.

    Raises:
        ValueError: a group has no channel, or the weights are not one per class.
        UserError: a loss of the user's own cannot be imported or made.
    """
    channel_runs(groups)
    num_classes = len(groups)
    if class_weights is not None and class_weights.shape != (num_classes,):
        raise ValueError(
            f"class_weights must have one entry for each of {num_classes} classes, "
            f"got the shape {tuple(class_weights.shape)}"
        )
    main_spec, plus_spec = split_loss(loss)
    plus = None
    if plus_spec is not None:
        plus = MutualChannelTerm(
            plus_spec, groups=groups, class_weights=class_weights, generator=generator
        )
    main = build_main_loss(
        main_spec,
        num_classes=num_classes,
        embedding_size=embedding_size,
        class_weights=class_weights,
    )
    name = "main" if loss_kind(main_spec) == CUSTOM else main_spec.name
    return Objective(main, name=name, plus=plus)
