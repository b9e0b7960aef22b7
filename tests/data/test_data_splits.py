"""Cuts are stratified, repeatable and depend on what they should."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mcl_bench.data.splits import Balance, class_weights, cut, cut_test
from mcl_bench.records import UserError
from mcl_bench.spec.schema import DataSpec


def spec(**changes: Any) -> DataSpec:
    return DataSpec(**{"name": "parts", **changes})


def labels_of(*counts: int) -> torch.Tensor:
    return torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])


def counts(labels: torch.Tensor, indices: torch.Tensor, classes: int) -> list[int]:
    return torch.bincount(labels[indices], minlength=classes).tolist()


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_every_class_of_two_or_more_has_an_image_on_each_side(
    sizes: list[int], share: float, seed: int
) -> None:
    labels = labels_of(*sizes)
    sides = cut(labels, digest="d", data=spec(validation=share, split_seed=seed))
    both = torch.cat([sides.train, sides.validation])
    assert sorted(both.tolist()) == list(range(len(labels)))
    trained = counts(labels, sides.train, len(sizes))
    held = counts(labels, sides.validation, len(sizes))
    for size, left, right in zip(sizes, trained, held, strict=True):
        assert left >= 1
        assert (right >= 1) == (size >= 2)
        assert size == 1 or abs(right - size * share) < 1 or 1 in (left, right)


def test_a_tenth_of_each_class_is_held_out() -> None:
    labels = labels_of(40, 30, 20)
    sides = cut(labels, digest="d", data=spec())
    assert counts(labels, sides.validation, 3) == [4, 3, 2]
    assert sides.train.dtype == torch.int64
    assert (sides.train.diff() > 0).all()
    assert (sides.validation.diff() > 0).all()


def test_the_cut_depends_on_digest_share_and_split_seed_only() -> None:
    labels = labels_of(30, 30)

    def held(digest: str = "d", **changes: Any) -> list[int]:
        return cut(labels, digest=digest, data=spec(**changes)).validation.tolist()

    assert held() == held(resize=32, augment="none", test=0.4, balance="weights", per_class=3)
    assert len({tuple(held()), tuple(held("e")), tuple(held(split_seed=1))}) == 3
    assert held(validation=0.2) != held()


def test_the_cut_of_a_class_does_not_depend_on_the_others() -> None:
    alone = cut(labels_of(30), digest="d", data=spec()).validation
    together = cut(labels_of(30, 17), digest="d", data=spec()).validation
    assert together[together < 30].tolist() == alone.tolist()


def test_per_class_limits_what_is_trained_on_and_not_what_is_validated_on() -> None:
    labels = labels_of(30, 10)
    whole = cut(labels, digest="d", data=spec())
    less = cut(labels, digest="d", data=spec(per_class=12))
    assert counts(labels, less.train, 2) == [12, 9]
    assert less.validation.tolist() == whole.validation.tolist()
    assert set(less.train.tolist()) <= set(whole.train.tolist())


def test_official_validation_images_are_taken_as_they_are() -> None:
    official = torch.tensor([False, True, False, False, True, False])
    sides = cut(labels_of(3, 3), digest="d", data=spec(validation="official"), official=official)
    assert sides.validation.tolist() == [1, 4]
    assert sides.train.tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("official", [None, torch.zeros(6, dtype=torch.bool)])
def test_official_without_such_images_is_refused_by_name(official: torch.Tensor | None) -> None:
    with pytest.raises(UserError, match="official") as raised:
        cut(labels_of(3, 3), digest="d", data=spec(validation="official"), official=official)
    assert raised.value.key == "data.validation"


def test_the_test_cut_is_stratified_and_repeatable() -> None:
    labels = labels_of(60, 3, 2, 1).tolist()
    held = cut_test(labels, digest="d", share=0.2)
    by_class = [sum(h for h, own in zip(held, labels, strict=True) if own == k) for k in range(4)]
    assert by_class == [12, 1, 1, 0]
    assert held == cut_test(labels, digest="d", share=0.2)
    assert held != cut_test(labels, digest="e", share=0.2)


@pytest.mark.parametrize(("balance", "power"), [("weights", 1.0), ("sqrt_weights", 0.5)])
def test_class_weights_fall_with_the_class_and_have_mean_one_over_images(
    balance: Balance, power: float
) -> None:
    labels = labels_of(50, 5, 20)
    weights = class_weights(labels, 3, balance)
    assert weights[labels].mean().item() == pytest.approx(1, abs=1e-6)
    assert (weights[1] / weights[0]).item() == pytest.approx(10**power, rel=1e-5)
    assert weights.dtype == torch.float32


def test_a_class_without_images_has_weight_zero_and_moves_no_other() -> None:
    labels = labels_of(4, 2)
    assert class_weights(labels, 3, "weights").tolist() == pytest.approx([0.75, 1.5, 0])


@pytest.mark.parametrize("balance", ["none", "sampling"])
def test_other_balances_weight_nothing(balance: Balance) -> None:
    assert class_weights(labels_of(4, 2), 2, balance) is None
