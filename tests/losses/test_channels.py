import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcl_bench.losses import channel_groups, draw_mask
from mcl_bench.losses.channels import channel_runs

torch.set_num_threads(1)

ratios = st.integers(min_value=0, max_value=1000).map(lambda thousandths: thousandths / 1000)
any_groups = st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=30)
quick = settings(deadline=None, max_examples=150)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("num_classes", "channels", "narrow", "wide"),
    [
        (200, 2048, (152, 10), (48, 11)),
        (196, 2048, (108, 10), (88, 11)),
        (100, 2048, (52, 20), (48, 21)),
        (102, 2048, (94, 20), (8, 21)),
        (200, 512, (88, 2), (112, 3)),
        (100, 512, (88, 5), (12, 6)),
        (200, 600, (200, 3), (0, 4)),
        (5, 5, (5, 1), (0, 2)),
    ],
)
def test_groups_are_those_of_the_authors_code(
    num_classes: int, channels: int, narrow: tuple[int, int], wide: tuple[int, int]
) -> None:
    expected = (narrow[1],) * narrow[0] + (wide[1],) * wide[0]
    assert channel_groups(num_classes, channels) == expected


@quick
@given(st.integers(1, 400), st.integers(0, 2000))
def test_groups_use_every_channel_and_differ_by_at_most_one(num_classes: int, more: int) -> None:
    groups = channel_groups(num_classes, num_classes + more)
    assert len(groups) == num_classes
    assert sum(groups) == num_classes + more
    assert max(groups) - min(groups) <= 1
    assert list(groups) == sorted(groups)


def test_an_uneven_division_is_two_runs_and_an_even_one_is_one() -> None:
    assert len(channel_runs(channel_groups(200, 2048))) == 2
    assert len(channel_runs(channel_groups(200, 600))) == 1


@quick
@given(any_groups)
def test_the_runs_cover_the_channels_in_order(groups: list[int]) -> None:
    runs = channel_runs(groups)
    assert [xi for run in runs for xi in [run.xi] * run.num_classes] == groups
    assert [c for run in runs for c in range(sum(groups))[run.channels]] == list(range(sum(groups)))


@quick
@given(any_groups, ratios, st.integers(0, 2**32))
def test_every_class_loses_exactly_the_decimal_share_of_its_channels(
    groups: list[int], ratio: float, seed: int
) -> None:
    mask = draw_mask(groups, ratio, generator=seeded(seed))
    assert mask.dtype == torch.float32
    assert mask.shape == (sum(groups),)
    assert set(mask.tolist()) <= {0.0, 1.0}
    for xi, of_class in zip(groups, mask.split(groups), strict=True):
        decimal_share = math.floor(xi * Fraction(str(ratio)))
        assert int((of_class == 0).sum()) == min(decimal_share, xi - 1)


def test_a_ratio_of_0_29_drops_29_of_100_channels() -> None:
    assert int((draw_mask((100,), 0.29, generator=seeded(0)) == 0).sum()) == 29


def test_a_ratio_of_one_keeps_one_channel_of_each_class() -> None:
    mask = draw_mask((5, 5, 1, 3), 1.0, generator=seeded(0))
    assert [int(of_class.sum()) for of_class in mask.split([5, 5, 1, 3])] == [1, 1, 1, 1]


def test_a_ratio_of_zero_keeps_every_channel() -> None:
    assert torch.equal(draw_mask((5, 2), 0.0, generator=seeded(0)), torch.ones(7))


@quick
@given(any_groups, ratios, st.integers(0, 2**32))
def test_one_seed_gives_one_sequence_of_masks(groups: list[int], ratio: float, seed: int) -> None:
    first, second = seeded(seed), seeded(seed)
    for _ in range(3):
        assert torch.equal(
            draw_mask(groups, ratio, generator=first), draw_mask(groups, ratio, generator=second)
        )


def test_without_a_generator_the_mask_follows_torchs_default_one() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(11)
        masks.append(draw_mask((10,) * 8, 0.5, generator=None))
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], draw_mask((10,) * 8, 0.5, generator=None))


def test_every_choice_of_places_is_equally_likely() -> None:
    # 10 choices of 2 of 5 places, 20,000 independent draws: chi-square with 9 degrees of freedom
    # exceeds 27.9 with probability 0.001, and the seed is fixed.
    num_draws = 20_000
    masks = draw_mask((5,) * num_draws, 0.4, generator=seeded(1)).view(num_draws, 5)
    codes = (masks @ torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])).long()
    counts = torch.bincount(codes, minlength=32)
    counts = counts[counts > 0].double()
    expected = num_draws / 10
    assert len(counts) == 10
    assert float(((counts - expected) ** 2 / expected).sum()) < 27.9


def test_the_classes_draw_independently_of_each_other() -> None:
    masks = torch.stack(
        [draw_mask((2, 2), 0.5, generator=generator) for generator in [seeded(2)] * 2000]
    )
    agree = float((masks[:, 0] == masks[:, 2]).double().mean())
    assert agree == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("ratio", [-0.01, 1.01, math.nan, math.inf])
def test_a_ratio_outside_zero_to_one_is_refused_with_its_value(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"mask_ratio must be between 0 and 1, got {ratio}"):
        draw_mask((3, 3), ratio, generator=seeded(0))


@pytest.mark.parametrize(
    ("num_classes", "channels", "rule"),
    [
        (4, 3, "got 3 channels for 4 classes"),
        (0, 3, "num_classes must be at least 1, got 0"),
        (-1, 3, "num_classes must be at least 1, got -1"),
    ],
)
def test_fewer_channels_than_classes_are_refused(
    num_classes: int, channels: int, rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        channel_groups(num_classes, channels)


@pytest.mark.parametrize(
    ("groups", "rule"), [((), "got none"), ((3, 0), "got 0"), ((3, -1), "got -1")]
)
def test_groups_without_a_channel_are_refused(groups: tuple[int, ...], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        draw_mask(groups, 0.5, generator=seeded(0))
