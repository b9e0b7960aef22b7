import itertools
import math

import numpy as np
import pytest
from scipy import stats as oracle

from mcl_bench.results import stats

VALUES = [0.81, 0.79, 0.84, 0.80, 0.86]


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_interval_is_scipys_t_interval() -> None:
    found = stats.t_interval(VALUES)
    low, high = oracle.t.interval(0.95, 4, loc=np.mean(VALUES), scale=oracle.sem(VALUES))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.sd == pytest.approx(np.std(VALUES, ddof=1), rel=1e-12)
    assert found.half_width == pytest.approx((high - low) / 2, rel=1e-12)


def test_an_interval_of_two_values_has_the_closed_form_of_one_degree_of_freedom() -> None:
    # t with one degree of freedom is Cauchy: its quantile is tan(π (q - 1/2)).
    found = stats.t_interval([0.4, 0.6])
    assert found.half_width == pytest.approx(math.tan(math.pi * 0.475) * 0.1, rel=1e-12)


def test_an_interval_is_clipped_to_what_an_accuracy_can_be_and_its_half_width_is_not() -> None:
    found = stats.t_interval([0.2, 0.9])
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.half_width is not None and found.half_width > 1


def test_one_value_has_a_mean_and_no_interval() -> None:
    assert stats.t_interval([0.7]) == stats.Interval(n=1, mean=0.7)


def test_no_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        stats.t_interval([])


def test_the_paired_difference_is_scipys_over_the_common_seeds_only() -> None:
    a = {1: 0.91, 2: 0.88, 3: 0.93, 5: 0.95, 9: 0.1}
    b = {5: 0.90, 3: 0.90, 2: 0.89, 1: 0.85, 7: 0.9}
    common = [1, 2, 3, 5]
    test = oracle.ttest_rel([a[s] for s in common], [b[s] for s in common])
    low, high = test.confidence_interval()
    found = stats.paired_difference(a, b)
    assert found.n == 4
    assert found.p == pytest.approx(test.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)


def test_two_seeds_have_a_difference_with_its_interval_and_no_p() -> None:
    found = stats.paired_difference(by_seed([0.9, 0.8]), by_seed([0.8, 0.75]))
    assert found.mean == pytest.approx(0.075)
    assert found.low is not None and found.low < 0.075 < (found.high or 0)
    assert found.p is None
    assert found.sign_flip_p is None
    assert not found.no_variation


def test_one_seed_has_a_difference_and_no_interval() -> None:
    found = stats.paired_difference({3: 0.9}, {3: 0.8})
    assert found.mean == pytest.approx(0.1)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_no_common_seed_is_no_difference() -> None:
    assert stats.paired_difference({1: 0.9}, {2: 0.8}) == stats.Difference(n=0)


def test_differences_that_are_equal_but_for_rounding_show_no_variation() -> None:
    a, b = [0.9, 0.7, 0.4], [0.8, 0.6, 0.3]
    assert len({x - y for x, y in zip(a, b, strict=True)}) > 1
    found = stats.paired_difference(by_seed(a), by_seed(b))
    assert found.no_variation
    assert found.p is None


def test_holm_of_a_hand_made_example() -> None:
    # Sorted: 0.01 · 4, then 0.02 · 3, 0.03 · 2, and 0.04 · 1 raised to the 0.06 before it.
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_stops_at_one_and_does_not_count_what_has_no_p() -> None:
    assert stats.holm([0.9, None, 0.02, 0.8]) == [1.0, None, pytest.approx(0.06), 1.0]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
def test_the_sign_flip_p_is_the_share_of_all_flips_that_reach_as_far(n: int) -> None:
    differences = list(np.random.default_rng(n).normal(0.3, 0.5, n))
    seen = abs(sum(differences))
    flips = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product([-1, 1], repeat=n)
    ]
    expected = sum(flip >= seen - 1e-9 for flip in flips) / 2**n
    assert stats.sign_flip_p(differences) == expected
    assert stats.sign_flip_p(differences) >= 2 / 2**n


def test_the_sign_flip_p_of_five_differences_of_one_sign_is_its_floor() -> None:
    found = stats.paired_difference(by_seed([0.9, 0.8, 0.7, 0.95, 0.85]), by_seed([0.1] * 5))
    assert found.sign_flip_p == found.sign_flip_floor == 0.0625


def test_the_sign_flip_p_of_differences_of_zero_is_one() -> None:
    assert stats.sign_flip_p([0.0, 0.0, 0.0]) == 1.0


def test_the_sign_flip_p_of_forty_values_is_exact_and_quick() -> None:
    assert stats.sign_flip_p([0.1] * 40) == 2.0**-39


def test_more_values_than_the_exact_test_can_count_have_no_sign_flip_p() -> None:
    with pytest.raises(ValueError, match="got 41"):
        stats.sign_flip_p([0.1] * 41)
    found = stats.paired_difference(
        by_seed([0.1 * (k % 3) for k in range(41)]), by_seed([0.0] * 41)
    )
    assert found.sign_flip_p is None
    assert found.p is not None


NOISE = [0.000, 0.004, -0.003, 0.002, -0.004]


def row(mean: float, order: int = 0) -> dict[int, float]:
    turned = NOISE[order:] + NOISE[:order]
    return by_seed([mean + noise for noise in turned])


def test_rows_apart_by_more_than_the_noise_are_in_tiers_of_their_own() -> None:
    rows = {"a": row(0.9), "b": row(0.899, 1), "c": row(0.7, 2), "d": row(0.5, 3)}
    assert stats.tiers(rows) == {"a": 1, "b": 1, "c": 2, "d": 3}


def test_a_row_is_held_against_the_top_of_its_tier_and_not_against_its_neighbour() -> None:
    # b can be told neither from a nor from c, while c is below a: c is held against a.
    a = by_seed([0.90, 0.91, 0.92, 0.91, 0.90])
    b = by_seed([0.80, 0.99, 0.85, 0.95, 0.90])
    c = by_seed([0.88, 0.885, 0.90, 0.89, 0.875])
    assert stats.tiers({"a": a, "b": b, "c": c}) == {"a": 1, "b": 1, "c": 2}


def test_a_row_of_two_seeds_has_no_tier_and_disturbs_no_other() -> None:
    assert stats.tiers({"a": by_seed([0.9, 0.9]), "b": row(0.5), "c": row(0.4, 1)}) == {
        "a": None,
        "b": 1,
        "c": 2,
    }


def test_rows_of_one_constant_difference_are_not_told_apart() -> None:
    assert stats.tiers({"a": row(0.9), "b": row(0.8)}) == {"a": 1, "b": 1}


def test_tiers_use_holm_over_all_pairs_of_rows() -> None:
    a = by_seed([0.90, 0.92, 0.91])
    b = by_seed([0.88, 0.89, 0.89])
    p = stats.paired_difference(a, b).p
    assert p is not None and 0.05 / 3 < p < 0.05
    assert stats.tiers({"a": a, "b": b}) == {"a": 1, "b": 2}
    third = by_seed([0.30, 0.95, 0.60])
    assert stats.tiers({"a": a, "b": b, "c": third})["b"] == 1
