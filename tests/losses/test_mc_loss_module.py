"""`MCLoss`, the module: its weights, its masks from step to step, and its state."""

import math

import pytest
import reference
import torch
from random_maps import EVEN, SINGLE, UNEVEN, random_maps, random_target

from mcl_bench.losses import MCLoss, draw_mask, mc_loss
from mcl_bench.losses import channel_groups as groups_of

torch.set_num_threads(1)


def test_mcloss_is_mu_times_discriminality_plus_lambda_times_what_diversity_lacks() -> None:
    groups = groups_of(5, 12)
    features, target = random_maps(groups), random_target(groups)
    loss = MCLoss(
        5, 12, mu=1.5, lambda_=10.0, mask_ratio=0.5, generator=torch.Generator().manual_seed(7)
    )
    mask = draw_mask(groups, 0.5, generator=torch.Generator().manual_seed(7))
    expected = reference.mutual_channel_loss(
        reference.discriminality(features.tolist(), target.tolist(), groups, mask.tolist()),
        reference.diversity(features.tolist(), groups),
        mu=1.5,
        lambda_=10.0,
    )
    assert loss(features, target).item() == pytest.approx(expected, abs=1e-6)


def test_mcloss_draws_a_new_mask_at_each_step() -> None:
    features, target = random_maps((10,) * 4).relu(), random_target((10,) * 4)
    generator = torch.Generator().manual_seed(0)
    loss = MCLoss(4, 40, mu=1, lambda_=1, mask_ratio=0.5, generator=generator)
    assert len({loss(features, target).item() for _ in range(8)}) == 8


def test_mcloss_goes_on_from_a_restored_generator_as_if_undisturbed() -> None:
    features, target = random_maps(UNEVEN), random_target(UNEVEN)
    generator = torch.Generator().manual_seed(3)
    loss = MCLoss(5, 12, mu=1, lambda_=1, mask_ratio=0.5, generator=generator)
    loss(features, target)
    state = generator.get_state()
    undisturbed = [loss(features, target).item() for _ in range(4)]
    resumed_generator = torch.Generator()
    resumed_generator.set_state(state)
    resumed = MCLoss(5, 12, mu=1, lambda_=1, mask_ratio=0.5, generator=resumed_generator)
    assert [resumed(features, target).item() for _ in range(4)] == undisturbed


def test_mcloss_without_a_generator_follows_torchs_default_one() -> None:
    features, target = random_maps(EVEN), random_target(EVEN)
    loss = MCLoss(4, 12, mu=1, lambda_=1, mask_ratio=0.5)
    seen = []
    for _ in range(2):
        torch.manual_seed(5)
        seen.append([loss(features, target).item() for _ in range(3)])
    assert seen[0] == seen[1]


def test_mcloss_in_evaluation_masks_nothing_and_draws_nothing() -> None:
    features, target = random_maps(EVEN), random_target(EVEN)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    loss = MCLoss(4, 12, mu=2, lambda_=3, mask_ratio=0.5, generator=generator).eval()
    terms = mc_loss(features, target, groups=EVEN, mask=None)
    assert torch.equal(loss(features, target), terms.weighted(mu=2, lambda_=3))
    assert torch.equal(generator.get_state(), before)


def test_mcloss_at_xi_one_does_not_depend_on_lambda_or_the_mask_ratio() -> None:
    target = random_target(SINGLE)
    gradients = []
    for lambda_, mask_ratio in ((0.0, 0.0), (50.0, 0.9)):
        features = random_maps(SINGLE).float().requires_grad_()
        MCLoss(3, 3, mu=1.5, lambda_=lambda_, mask_ratio=mask_ratio)(features, target).backward()
        gradients.append(features.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_mcloss_has_nothing_to_learn_and_nothing_to_save() -> None:
    loss = MCLoss(4, 12, mu=1, lambda_=1, mask_ratio=0.5)
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"channels": 3}, "got 3 channels for 4 classes"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"mu": -0.1}, "mu must be a finite number >= 0, got -0.1"),
        ({"lambda_": math.nan}, "lambda_ must be a finite number >= 0, got nan"),
        ({"mask_ratio": 1.1}, "mask_ratio must be between 0 and 1, got 1.1"),
    ],
)
def test_mcloss_refuses_a_wrong_setting_with_the_rule_and_the_value(
    changed: dict[str, float], rule: str
) -> None:
    given = {"num_classes": 4, "channels": 12, "mu": 1, "lambda_": 1, "mask_ratio": 0.5} | changed
    with pytest.raises(ValueError, match=rule):
        MCLoss(given.pop("num_classes"), given.pop("channels"), **given)


def test_one_mask_cannot_be_kept_for_each_image() -> None:
    with pytest.raises(ValueError, match="mask_draw must be step where mask_scope is sample"):
        MCLoss(4, 12, mu=1, lambda_=1, mask_ratio=0.5, mask_scope="sample", mask_draw="once")


def test_mcloss_with_a_mask_for_each_image_draws_one_for_each() -> None:
    features, target = random_maps(UNEVEN), random_target(UNEVEN)
    loss = MCLoss(
        5,
        12,
        mu=1,
        lambda_=0,
        mask_ratio=0.5,
        mask_scope="sample",
        generator=torch.Generator().manual_seed(7),
    )
    mask = draw_mask(UNEVEN, 0.5, generator=torch.Generator().manual_seed(7), batch=4)
    expected = mc_loss(features, target, groups=UNEVEN, mask=mask).discriminality
    assert torch.equal(loss(features, target), expected)


def test_a_mask_drawn_once_is_kept_and_comes_back_with_the_state() -> None:
    features, target = random_maps((10,) * 4).relu(), random_target((10,) * 4)

    def build() -> MCLoss:
        return MCLoss(4, 40, mu=1, lambda_=1, mask_ratio=0.5, mask_draw="once")

    loss = build()
    assert loss.state_dict() == {}
    values = {loss(features, target).item() for _ in range(4)}
    assert len(values) == 1
    restored = build()
    restored.load_state_dict(loss.state_dict())
    assert {restored(features, target).item()} == values
    fresh = build()
    fresh.load_state_dict(build().state_dict())
    assert fresh.fixed_mask is None
