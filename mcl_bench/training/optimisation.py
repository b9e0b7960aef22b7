"""The optimiser, and the learning rate as a pure function of the step."""

import math

import torch
from torch import nn

from mcl_bench.spec import AdamWSpec, CosineSpec, OptimizerSpec, StepSpec
from mcl_bench.training.models import Network


def build_optimizer(
    spec: OptimizerSpec, *, network: Network, objective: nn.Module
) -> torch.optim.Optimizer:
    """SGD or AdamW over the network's parameters that are not frozen and the loss's own.

    Where weights were loaded, every parameter without them learns `head_lr_scale` times as fast;
    where none were, there is nothing to be faster than and the scale is 1. Each parameter
    group carries its peak rate as `peak_lr`.

    Both are fused: one pass over all parameters, a tenth off a step of a small net on a CPU.
    """
    learning = [one for one in network.named_parameters() if one[1].requires_grad]
    loaded = [value for name, value in learning if name in network.loaded]
    fresh = [value for name, value in learning if name not in network.loaded]
    fresh += list(objective.parameters())
    scale = 1.0 if spec.head_lr_scale is None or not network.loaded else spec.head_lr_scale
    groups = [
        {"params": parameters, "lr": rate, "peak_lr": rate}
        for parameters, rate in ((loaded, spec.lr), (fresh, spec.lr * scale))
        if parameters
    ]
    if isinstance(spec, AdamWSpec):
        return torch.optim.AdamW(groups, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(
        groups, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True
    )


def lr_factor(
    schedule: CosineSpec | StepSpec, *, step: int, steps_per_epoch: int, epochs: int
) -> float:
    """What the peak learning rate is multiplied by at `step` (from 0, over the whole training).

    With W = warmup_epochs·steps_per_epoch and T = epochs·steps_per_epoch: (step + 1)/W up to 1
    while step < W. Then cosine is (1 + cos(π·(step - W)/(T - W)))/2, which would reach 0 at T;
    step is gamma to the power of the milestones reached, which count epochs done.
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    if step < warmup_steps:
        return min(1.0, (step + 1) / warmup_steps)
    if isinstance(schedule, CosineSpec):
        share_done = (step - warmup_steps) / (epochs * steps_per_epoch - warmup_steps)
        return (1 + math.cos(math.pi * share_done)) / 2
    epochs_done = step // steps_per_epoch
    reached = sum(epochs_done >= milestone for milestone in schedule.milestones)
    factor: float = schedule.gamma**reached
    return factor


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every parameter group's learning rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
