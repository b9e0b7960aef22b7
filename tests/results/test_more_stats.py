"""Bootstrap, power, best of n and ranks, each against an oracle; and what intervals cover."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from mcl_bench.results.best_of import expected_best
from mcl_bench.results.bootstrap import bootstrap
from mcl_bench.results.power import EFFECTS, power
from mcl_bench.results.ranks import mean_ranks
from mcl_bench.results.stats import holm, paired_difference, t_interval, tiers

# ---- bootstrap


def test_the_bootstrap_of_one_seed_has_the_binomials_interval() -> None:
    correct = np.zeros((1, 1000), dtype=bool)
    correct[0, :800] = True
    found = bootstrap(correct, draws=4000)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert found.mean == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.002)


def test_the_bootstraps_variance_is_that_of_a_plain_two_way_resampling() -> None:
    generator = np.random.default_rng(1)
    correct = generator.random((4, 40)) < generator.random((4, 1)) * 0.5 + 0.4
    means = []
    for _ in range(4000):
        seeds, images = generator.integers(4, size=4), generator.integers(40, size=40)
        means.append(correct[np.ix_(seeds, images)].mean())
    found = bootstrap(correct, draws=4000, seed=2)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.015)


def test_a_paired_bootstrap_of_one_and_the_same_is_zero() -> None:
    correct = np.random.default_rng(0).random((5, 300)) < 0.7
    found = bootstrap(correct, minus=correct)
    assert (found.low, found.mean, found.high) == (0, 0, 0)


def test_unlike_shapes_and_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        bootstrap(np.ones((2, 3), dtype=bool), minus=np.ones((2, 4), dtype=bool))
    with pytest.raises(ValueError, match="at least one"):
        bootstrap(np.ones((0, 3), dtype=bool))


# ---- power


@pytest.mark.parametrize("effect", EFFECTS)
def test_power_is_how_often_the_paired_test_shows_a_drawn_difference(effect: float) -> None:
    generator = np.random.default_rng(3)
    drawn = generator.normal(effect, 1, size=(20_000, 5))
    shown = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    assert power(5, effect) == pytest.approx(shown, abs=0.01)


def test_power_without_an_effect_is_the_level_and_of_two_seeds_is_not_known() -> None:
    assert power(5, 0.0) == pytest.approx(0.05)
    assert power(2, 3.0) is None


# ---- what a budget buys


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    values = [0.3, 0.9, 0.5, 0.7, 0.2]
    sizes = [1, 2, 3, 4, 5]
    expected = [
        statistics.mean(max(chosen) for chosen in itertools.combinations(values, size))
        for size in sizes
    ]
    assert expected_best(values, sizes) == pytest.approx(expected)
    fewest = [
        statistics.mean(min(chosen) for chosen in itertools.combinations(values, size))
        for size in sizes
    ]
    assert expected_best(values, sizes, minimise=True) == pytest.approx(fewest)


def test_trials_without_a_value_cost_their_place() -> None:
    values = [0.3, None, 0.9, None]
    chosen = [
        [value for value in subset if value is not None]
        for subset in itertools.combinations(values, 2)
    ]
    expected = statistics.mean(max(known) for known in chosen if known)
    assert expected_best(values, [2]) == pytest.approx([expected])
    assert expected_best([None, None], [1]) == [None]


def test_a_size_beyond_the_trials_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 2"):
        expected_best([0.1, 0.2], [3])


# ---- ranks


def test_mean_ranks_and_critical_difference_of_a_published_example() -> None:
    # Demšar 2006, section 3.2.2: of 4 classifiers over 14 data sets the critical difference at
    # the level 0.05 is 2.569·√(4·5 / (6·14)) = 1.25.
    values = {
        f"d{group}": {"a": 0.9, "b": 0.8, "c": 0.7 + 0.001 * group, "d": 0.6} for group in range(14)
    }
    ranks = mean_ranks(values)
    assert ranks is not None
    assert ranks.mean_rank == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert ranks.critical_difference == pytest.approx(1.25, abs=0.005)
    assert ranks.friedman_p is not None and ranks.friedman_p < 1e-6


def test_ties_share_a_rank_and_groups_that_lack_an_arm_are_left_out() -> None:
    ranks = mean_ranks({"x": {"a": 0.5, "b": 0.5}, "y": {"a": 0.9, "b": 0.1}, "z": {"a": 0.4}})
    assert ranks is not None
    assert (ranks.groups, ranks.mean_rank) == (2, {"a": 1.25, "b": 1.75})
    assert mean_ranks({"x": {"a": 0.5, "b": 0.4}}) is None


# ---- simulations at five seeds


def test_t_intervals_of_five_seeds_cover_as_often_as_they_say() -> None:
    generator = np.random.default_rng(4)
    drawn = generator.normal(0.8, 0.01, size=(4000, 5))
    covered = [
        interval.low <= 0.8 <= interval.high  # type: ignore[operator]
        for interval in (t_interval(list(values)) for values in drawn)
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_eight_equal_arms_seldom_show_a_difference_or_split_into_tiers() -> None:
    generator = np.random.default_rng(5)
    shown = split = 0
    tables = 2000
    for _ in range(tables):
        base = generator.normal(0, 0.01, size=5)  # what a seed does to every arm
        drawn = 0.8 + base + generator.normal(0, 0.01, size=(8, 5))
        rows = {
            f"arm{arm}": dict(enumerate(map(float, values))) for arm, values in enumerate(drawn)
        }
        names = list(rows)
        adjusted = holm([paired_difference(rows[name], rows[names[0]]).p for name in names[1:]])
        shown += any(p is not None and p < 0.05 for p in adjusted)
        split += len(set(tiers(rows).values())) > 1
    assert shown / tables <= 0.055
    assert split / tables <= 0.055
