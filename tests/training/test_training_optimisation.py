import math

import pytest
import torch
from torch import nn

from mcl_bench.spec import AdamWSpec, CosineSpec, ModelSpec, SgdSpec, StepSpec
from mcl_bench.training.models import Network
from mcl_bench.training.optimisation import build_optimizer, lr_factor, set_lr


def network() -> Network:
    return Network(ModelSpec(backbone="convnet", channels="adapter", xi=2), 3)


def factors(schedule: CosineSpec | StepSpec, *, steps_per_epoch: int, epochs: int) -> list[float]:
    return [
        lr_factor(schedule, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)
        for step in range(steps_per_epoch * epochs)
    ]


def test_cosine_starts_at_the_peak_halves_midway_and_would_reach_zero_at_the_end() -> None:
    values = factors(CosineSpec(), steps_per_epoch=5, epochs=4)
    assert values[0] == 1
    assert values[10] == pytest.approx(0.5)
    assert values == sorted(values, reverse=True)
    assert values[19] == pytest.approx((1 + math.cos(math.pi * 19 / 20)) / 2)
    assert lr_factor(CosineSpec(), step=20, steps_per_epoch=5, epochs=4) == pytest.approx(0)


def test_warm_up_rises_in_a_line_and_may_last_a_fraction_of_an_epoch() -> None:
    values = factors(CosineSpec(warmup_epochs=0.8), steps_per_epoch=5, epochs=4)
    assert values[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert values[4] == 1
    assert values[12] == pytest.approx(0.5)


def test_cosine_agrees_with_torch_where_there_is_no_warm_up() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        peer.step()
    assert factors(CosineSpec(), steps_per_epoch=3, epochs=4) == pytest.approx(expected)


def test_step_multiplies_by_gamma_once_a_milestone_of_epochs_is_done() -> None:
    schedule = StepSpec(name="step", milestones=(1, 3), gamma=0.1)
    values = factors(schedule, steps_per_epoch=2, epochs=4)
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_set_lr_scales_every_group_from_its_own_peak() -> None:
    net = network()
    net.loaded = frozenset(name for name, _ in net.named_parameters() if "backbone" in name)
    spec = SgdSpec(lr=0.2, head_lr_scale=10.0)
    optimizer = build_optimizer(spec, network=net, objective=nn.Identity())
    set_lr(optimizer, 0.5)
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_head_lr_scale_is_for_parameters_without_loaded_weights_and_for_the_loss() -> None:
    net, objective = network(), nn.Linear(2, 2)
    net.loaded = frozenset(name for name, _ in net.named_parameters() if "backbone" in name)
    spec = AdamWSpec(name="adamw", lr=0.1, head_lr_scale=10.0)
    groups = build_optimizer(spec, network=net, objective=objective).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 1.0])
    assert len(groups[0]["params"]) == len(list(net.backbone.parameters()))
    assert any(parameter is objective.weight for parameter in groups[1]["params"])


def test_head_lr_scale_is_one_where_nothing_was_loaded() -> None:
    spec = SgdSpec(lr=0.1, head_lr_scale=10.0)
    groups = build_optimizer(spec, network=network(), objective=nn.Identity()).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.1])


def test_the_optimizers_take_their_settings() -> None:
    spec = SgdSpec(lr=0.1, momentum=0.8, weight_decay=0.01)
    sgd = build_optimizer(spec, network=network(), objective=nn.Identity())
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.8, 0.01)
    spec = AdamWSpec(name="adamw", lr=0.1, weight_decay=0.01)
    adamw = build_optimizer(spec, network=network(), objective=nn.Identity())
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["betas"], adamw.defaults["weight_decay"]) == ((0.9, 0.999), 0.01)


def test_frozen_parameters_are_not_in_the_optimizer_and_the_rest_keeps_its_scale() -> None:
    net = Network(ModelSpec(backbone="convnet", channels="adapter", xi=2, freeze=4), 3)
    net.loaded = frozenset(name for name, _ in net.named_parameters() if "backbone" in name)
    groups = build_optimizer(
        SgdSpec(lr=0.1, head_lr_scale=10.0), network=net, objective=nn.Identity()
    ).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1.0])
    frozen = {id(value) for value in net.backbone.parameters()}
    assert frozen.isdisjoint(id(value) for group in groups for value in group["params"])
