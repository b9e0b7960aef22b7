import math

import pytest
import reference
import torch
from random_maps import ARBITRARY, EVEN, SINGLE, UNEVEN, random_maps, random_mask, random_target
from torch import Tensor

from mcl_bench.losses import MCLoss, alignment_logits, diversity, mc_loss

torch.set_num_threads(1)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("size", [(2, 3), (5, 2), (4, 4), (1, 4)])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("groups", [EVEN, UNEVEN, ARBITRARY, SINGLE], ids=str)
def test_both_terms_equal_the_oracle_of_plain_loops(
    groups: tuple[int, ...], batch: int, size: tuple[int, int], masked: bool, weighted: bool
) -> None:
    features = random_maps(groups, batch=batch, height=size[0], width=size[1])
    target = random_target(groups, batch=batch)
    mask = random_mask(groups) if masked else None
    weights = torch.linspace(0.3, 2.0, len(groups)) if weighted else None

    terms = mc_loss(features, target, groups=groups, mask=mask, class_weights=weights)

    expected = reference.discriminality(
        features.tolist(),
        target.tolist(),
        groups,
        None if mask is None else mask.tolist(),
        None if weights is None else weights.tolist(),
    )
    assert terms.discriminality.item() == pytest.approx(expected, abs=1e-6)
    assert terms.diversity.item() == pytest.approx(
        reference.diversity(features.tolist(), groups), abs=1e-6
    )


def test_channels_last_and_sliced_maps_give_the_same_terms() -> None:
    features = random_maps(UNEVEN, height=4, width=5)
    target = random_target(UNEVEN)
    padded = torch.full((4, sum(UNEVEN), 6, 8), math.nan, dtype=torch.float64)
    padded[:, :, 1:5, 2:7] = features
    expected = mc_loss(features, target, groups=UNEVEN, mask=None)
    for same in (features.to(memory_format=torch.channels_last), padded[:, :, 1:5, 2:7]):
        torch.testing.assert_close(mc_loss(same, target, groups=UNEVEN, mask=None), expected)


@pytest.mark.parametrize("xi", [2, 3, 10])
def test_diversity_of_identical_channels_is_one_over_xi(xi: int) -> None:
    one_map = random_maps((1, 1, 1))
    features = one_map.repeat_interleave(xi, dim=1)
    terms = mc_loss(features, random_target((xi,) * 3), groups=(xi,) * 3, mask=None)
    assert terms.diversity.item() == pytest.approx(1 / xi, abs=1e-12)


def test_diversity_of_all_zero_maps_is_one_over_xi() -> None:
    assert diversity(torch.zeros(2, 12, 2, 3), (3,) * 4).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("xi", [2, 3, 6])
def test_diversity_of_channels_that_share_no_place_goes_to_one(xi: int) -> None:
    features = torch.zeros(2, 2 * xi, 2, 3, dtype=torch.float64)
    for channel in range(2 * xi):
        place = channel % xi
        features[:, channel, place // 3, place % 3] = 60.0
    assert diversity(features, (xi, xi)).item() == pytest.approx(1.0, abs=1e-12)


def test_a_peak_of_known_height_gives_the_diversity_of_the_closed_form() -> None:
    # Two channels of S = 6 pixels, one peak of height a each, at different places:
    # h = 2·p + 4·q with p = e^a/(e^a + 5) and q = 1/(e^a + 5).
    features = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    features[0, 0, 0, 0] = features[0, 1, 1, 2] = math.log(3.0)
    assert diversity(features, (2,)).item() == pytest.approx((2 * 3 / 8 + 4 / 8) / 2, abs=1e-12)


def test_discriminality_of_equal_logits_is_log_k() -> None:
    features = torch.ones(3, 12, 2, 3)
    terms = mc_loss(features, torch.tensor([0, 1, 3]), groups=(3,) * 4, mask=None)
    assert terms.discriminality.item() == pytest.approx(math.log(4), abs=1e-6)


def test_a_dropped_channel_takes_no_part_in_discriminality() -> None:
    features = torch.zeros(1, 4, 2, 3)
    features[0, 0] = 5.0
    mask = torch.tensor([0.0, 1.0, 1.0, 1.0])
    terms = mc_loss(features, torch.tensor([0]), groups=(2, 2), mask=mask)
    assert terms.discriminality.item() == pytest.approx(math.log(2), abs=1e-6)


def test_a_dropped_channel_counts_as_zero_so_it_wins_over_negative_ones() -> None:
    features = torch.full((1, 4, 2, 3), -1.0)
    mask = torch.tensor([0.0, 1.0, 1.0, 1.0])
    terms = mc_loss(features, torch.tensor([0]), groups=(2, 2), mask=mask)
    assert terms.discriminality.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


def test_the_mask_leaves_diversity_alone() -> None:
    features, target = random_maps(EVEN), random_target(EVEN)
    unmasked = mc_loss(features, target, groups=EVEN, mask=None)
    masked = mc_loss(features, target, groups=EVEN, mask=random_mask(EVEN))
    assert torch.equal(masked.diversity, unmasked.diversity)
    assert not torch.equal(masked.discriminality, unmasked.discriminality)


def test_diversity_at_xi_one_is_exactly_one_and_has_no_gradient() -> None:
    features = random_maps(SINGLE).float().requires_grad_()
    terms = mc_loss(features, random_target(SINGLE), groups=SINGLE, mask=None)
    (gradient,) = torch.autograd.grad(terms.diversity, features)
    assert terms.diversity.item() == 1.0
    assert torch.count_nonzero(gradient) == 0


def test_the_single_channel_classes_among_wider_ones_get_no_diversity_gradient() -> None:
    features = random_maps(ARBITRARY).float().requires_grad_()
    (gradient,) = torch.autograd.grad(diversity(features, ARBITRARY), features)
    assert torch.count_nonzero(gradient[:, 4:6]) == 0
    assert torch.count_nonzero(gradient[:, :4]) > 0


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("groups", [EVEN, UNEVEN, ARBITRARY], ids=str)
def test_gradients_pass_gradcheck_in_float64(groups: tuple[int, ...], masked: bool) -> None:
    features = random_maps(groups, batch=2, height=3, width=2).requires_grad_()
    target = random_target(groups, batch=2)
    mask = random_mask(groups) if masked else None
    weights = torch.linspace(0.3, 2.0, len(groups))

    def terms(values: Tensor) -> tuple[Tensor, Tensor]:
        return mc_loss(values, target, groups=groups, mask=mask, class_weights=weights)

    assert torch.autograd.gradcheck(terms, (features,))


def test_a_tie_sends_the_gradient_to_one_channel() -> None:
    features = torch.ones(1, 6, 2, 3, dtype=torch.float64, requires_grad=True)
    terms = mc_loss(features, torch.tensor([0]), groups=(3, 3), mask=None)
    (gradient,) = torch.autograd.grad(terms.discriminality, features)
    assert (torch.count_nonzero(gradient.view(2, 3, 6), dim=1) == 1).all()


def test_relabelling_the_classes_changes_nothing() -> None:
    features, target = random_maps(UNEVEN), random_target(UNEVEN)
    mask = random_mask(UNEVEN)
    order = [3, 0, 4, 2, 1]
    channels = torch.tensor([c for old in order for c in reference.channels_of(UNEVEN, old)])
    relabelled = mc_loss(
        features[:, channels],
        torch.tensor([order.index(int(label)) for label in target]),
        groups=[UNEVEN[old] for old in order],
        mask=mask[channels],
    )
    torch.testing.assert_close(relabelled, mc_loss(features, target, groups=UNEVEN, mask=mask))


def test_the_order_of_the_batch_changes_nothing() -> None:
    features, target = random_maps(EVEN), random_target(EVEN)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        mc_loss(features[order], target[order], groups=EVEN, mask=None),
        mc_loss(features, target, groups=EVEN, mask=None),
    )


def test_the_order_of_channels_within_a_class_changes_nothing() -> None:
    features, target = random_maps(EVEN), random_target(EVEN)
    swapped = features.unflatten(1, (4, 3)).flip(2).flatten(1, 2)
    torch.testing.assert_close(
        mc_loss(swapped, target, groups=EVEN, mask=None),
        mc_loss(features, target, groups=EVEN, mask=None),
    )


@pytest.mark.parametrize(("xi", "h"), [(3, 1.67), (10, 2.96)])
def test_untrained_relu_gaussian_maps_have_the_documented_diversity(xi: int, h: float) -> None:
    maps = random_maps((xi,) * 40, batch=8, height=14, width=14).relu()
    assert diversity(maps, (xi,) * 40).item() * xi == pytest.approx(h, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_give_float32_terms(dtype: torch.dtype) -> None:
    features, target = random_maps(EVEN).to(dtype), random_target(EVEN)
    terms = mc_loss(features, target, groups=EVEN, mask=random_mask(EVEN))
    exact = mc_loss(features.float(), target, groups=EVEN, mask=random_mask(EVEN))
    assert terms.discriminality.dtype == terms.diversity.dtype == torch.float32
    assert terms == exact


def test_under_bf16_autocast_the_terms_are_those_of_float32() -> None:
    features, target = random_maps(UNEVEN).float().requires_grad_(), random_target(UNEVEN)
    exact = mc_loss(features, target, groups=UNEVEN, mask=None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = mc_loss(features, target, groups=UNEVEN, mask=None)
        logits = alignment_logits(features, UNEVEN)
        share = diversity(features, UNEVEN)
    assert terms.discriminality.dtype == terms.diversity.dtype == torch.float32
    assert logits.dtype == share.dtype == torch.float32
    assert torch.equal(terms.discriminality, exact.discriminality)
    assert torch.equal(terms.diversity, exact.diversity)


def test_float64_maps_give_float64_terms_whatever_the_mask_and_the_weights_are() -> None:
    terms = mc_loss(
        random_maps(EVEN),
        random_target(EVEN),
        groups=EVEN,
        mask=random_mask(EVEN),
        class_weights=torch.ones(4),
    )
    assert terms.discriminality.dtype == terms.diversity.dtype == torch.float64


def test_huge_activations_keep_the_terms_finite() -> None:
    features = (random_maps(EVEN) * 1e4).float()
    terms = mc_loss(features, random_target(EVEN), groups=EVEN, mask=None)
    assert torch.isfinite(torch.stack(terms)).all()


def test_alignment_logits_equal_the_oracle_of_plain_loops() -> None:
    maps = random_maps(UNEVEN)
    expected = [reference.alignment_logits(image, UNEVEN) for image in maps.tolist()]
    torch.testing.assert_close(
        alignment_logits(maps, UNEVEN), torch.tensor(expected, dtype=torch.float64)
    )


def test_the_diversity_of_maps_is_the_second_term_of_the_loss() -> None:
    maps = random_maps(UNEVEN)
    terms = mc_loss(maps, random_target(UNEVEN), groups=UNEVEN, mask=None)
    assert torch.equal(diversity(maps, UNEVEN), terms.diversity)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"features": torch.zeros(4, 12, 6)}, r"B×C×H×W, got the shape \(4, 12, 6\)"),
        ({"groups": (3, 3, 3)}, "sum to the features' 12 channels, got 9"),
        ({"groups": (6, 6, 0)}, "at least 1 channel, got 0"),
        ({"groups": (14, -2)}, "at least 1 channel, got -2"),
        ({"groups": ()}, "at least one class, got none"),
        ({"target": torch.zeros(3, dtype=torch.long)}, r"4 images, got the shape \(3,\)"),
        ({"target": torch.zeros(4, 4)}, r"4 images, got the shape \(4, 4\)"),
        ({"mask": torch.ones(4)}, r"12 channels, or 4×12 .* got the shape \(4,\)"),
        ({"class_weights": torch.ones(12)}, r"each of 4 classes, got the shape \(12,\)"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_rule_and_the_value(
    changed: dict[str, object], rule: str
) -> None:
    given = {
        "features": torch.zeros(4, 12, 2, 3),
        "target": torch.zeros(4, dtype=torch.long),
        "groups": EVEN,
        "mask": None,
    }
    given.update(changed)
    with pytest.raises(ValueError, match=rule):
        mc_loss(given.pop("features"), given.pop("target"), **given)


@pytest.mark.parametrize("measure", [alignment_logits, diversity])
def test_the_measures_refuse_groups_that_do_not_fit_the_maps(measure: object) -> None:
    with pytest.raises(ValueError, match="12 channels, got 9"):
        measure(torch.zeros(4, 12, 2, 3), (3, 3, 3))


def test_maps_of_one_pixel_are_refused() -> None:
    for refused in (
        lambda maps: mc_loss(maps, torch.tensor([0, 1]), groups=(2, 2), mask=None),
        lambda maps: diversity(maps, (2, 2)),
    ):
        with pytest.raises(ValueError, match=r"more than one pixel.* got maps of 1×1"):
            refused(torch.zeros(2, 4, 1, 1))


@pytest.mark.parametrize("label", [-1, 4, -100])
def test_a_target_that_is_no_class_is_refused_with_its_value(label: int) -> None:
    with pytest.raises(ValueError, match=f"indices from 0 to 3, got {label}"):
        mc_loss(random_maps(EVEN), torch.tensor([0, label, 1, 2]), groups=EVEN, mask=None)


def test_a_mask_that_leaves_a_class_nothing_is_refused_with_minus_inf_only() -> None:
    mask = torch.tensor([1.0] * 3 + [0.0] * 3 + [1.0] * 6)
    given = {"groups": EVEN, "mask": mask}
    mc_loss(random_maps(EVEN), random_target(EVEN), **given)
    with pytest.raises(ValueError, match="mask must keep a channel of each class"):
        mc_loss(random_maps(EVEN), random_target(EVEN), **given, mask_fill="minus_inf")


@pytest.mark.parametrize("option", ["mask_fill", "reduction", "diversity", "mask_scope"])
def test_an_unknown_option_is_refused_with_what_is_allowed(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be .* or .*, got other"):
        MCLoss(4, 12, mu=1, lambda_=1, mask_ratio=0.5, **{option: "other"})
