"""The border: a loss of the user's own is tried on a made-up batch before anything is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mcl_bench.losses.custom import told
from mcl_bench.losses.main import Outputs
from mcl_bench.losses.objective import Objective, build_objective
from mcl_bench.records import UserError
from mcl_bench.spec.loss import CustomLossSpec, LossSpec, split_loss

# B batch, K classes, C channels of all classes, D embedding


def check(
    loss: LossSpec,
    *,
    groups: Sequence[int],
    map_size: tuple[int, int],
    embedding_size: int,
    balanced: bool,
) -> None:
    """Refuse a loss of the user's own that cannot be imported, made or used; others pass.

    `groups` are the channels of each class, `map_size` height and width of the maps, `balanced`
    says whether there are class weights. Raises UserError with a key that begins with `loss`.
    Draws from no generator that is seen elsewhere.
    """
    main, _ = split_loss(loss)
    if not isinstance(main, CustomLossSpec):
        return
    classes, channels = len(groups), sum(groups)
    with torch.random.fork_rng(devices=[]):
        objective = build_objective(
            loss,
            groups=groups,
            embedding_size=embedding_size,
            class_weights=torch.ones(classes) if balanced else None,
            generator=torch.Generator(),
        )
        output = Outputs(
            logits=torch.randn(2, classes, requires_grad=True),
            maps=torch.randn(2, channels, *map_size, requires_grad=True),
            embedding=torch.randn(2, embedding_size, requires_grad=True),
        )
        _try(objective, output, torch.tensor([0, classes - 1]), main.name)


def _try(objective: Objective, output: Outputs, target: Tensor, name: str) -> None:
    try:
        value = objective.main(output, target)
        logits = objective.logits(output)
    except Exception as error:  # the user's code may raise anything
        raise UserError(
            f"{name} fails on a batch of 2 images: {told(error)}",
            key="loss.name",
            remedy="it is called as loss(output, target); output has logits, maps and embedding",
        ) from error
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad):
        raise UserError(
            f"{name} must return a scalar tensor with a gradient, got {_shown(value)}",
            key="loss.name",
        )
    if not (isinstance(logits, Tensor) and logits.shape == output.logits.shape):
        raise UserError(
            f"{name}.logits must return {len(output.logits)}×{output.logits.shape[1]} numbers for "
            f"{len(output.logits)} images, got {_shown(logits)}",
            key="loss.name",
        )


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = f"a tensor of the shape {tuple(value.shape)}"
    return shape if value.requires_grad else f"{shape} without a gradient"
