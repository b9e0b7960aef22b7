"""What is trained in every dialect against that source's own formula, and what options do."""

from typing import Any, get_args

import pytest
import torch
from dialect_oracles import ORACLES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mcl_bench.losses import channel_groups, draw_mask, mc_loss
from mcl_bench.losses.objective import MutualChannelTerm
from mcl_bench.spec import MutualChannelSpec, to_canonical
from mcl_bench.spec.loss import Dialect

torch.set_num_threads(1)

GROUPS = [(3, 3, 3, 3), (2, 2, 3, 3, 3), (1, 1, 2), (4, 5, 5, 5), (2, 2, 3, 3)]
SIZES = [(2, 3), (5, 3)]


def spec_of(**changed: Any) -> MutualChannelSpec:
    return MutualChannelSpec.model_validate({"name": "mc", **changed})


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(
    groups: tuple[int, ...], size: tuple[int, int], seed: int = 0
) -> tuple[Tensor, Tensor]:
    shape = (4, sum(groups), *size)
    maps = torch.randn(shape, generator=seeded(seed), dtype=torch.float64).requires_grad_()
    return maps, torch.arange(4) % len(groups)


def term_of(spec: MutualChannelSpec, groups: tuple[int, ...], seed: int = 5) -> MutualChannelTerm:
    return MutualChannelTerm(spec, groups=groups, class_weights=None, generator=seeded(seed))


def gradient(loss: Tensor, maps: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(loss, maps)
    return slope


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("dialect", sorted(ORACLES))
def test_a_dialect_has_the_gradient_of_its_sources_formula(
    dialect: str, groups: tuple[int, ...], size: tuple[int, int]
) -> None:
    spec = spec_of(dialect=dialect, mu=0.7, **{"lambda": 3.1})
    maps, target = batch_of(groups, size)
    mask = draw_mask(groups, spec.mask_ratio, generator=seeded())
    ours = gradient(term_of(spec, groups)(maps, target).total, maps)
    theirs = gradient(ORACLES[dialect](maps, target, groups, mask, 0.7, 3.1), maps)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    num_classes=st.integers(1, 6),
    more=st.integers(0, 14),
    mu=st.floats(0.001, 20),
    lambda_=st.floats(0, 50),
    ratio=st.floats(0, 0.9),
    form=st.tuples(
        st.sampled_from(["classes", "groups"]), st.sampled_from(["normalised", "literal"])
    ),
)
def test_the_simplest_canonical_form_has_the_gradient_of_the_one_that_was_written(
    num_classes: int, more: int, mu: float, lambda_: float, ratio: float, form: tuple[Any, Any]
) -> None:
    groups = channel_groups(num_classes, num_classes + more)
    written = spec_of(
        mu=mu, mask_ratio=ratio, reduction=form[0], diversity=form[1], **{"lambda": lambda_}
    )
    maps, target = batch_of(groups, (2, 3))
    mask = draw_mask(groups, ratio, generator=seeded())
    ours = gradient(term_of(written, groups)(maps, target).total, maps)
    terms = mc_loss(maps, target, groups=groups, mask=mask, reduction=form[0], diversity=form[1])
    direct = gradient(terms.weighted(mu=mu, lambda_=lambda_), maps)
    torch.testing.assert_close(ours, direct, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dialect", get_args(Dialect))
def test_what_is_computed_is_the_canonical_form_bit_for_bit(dialect: str) -> None:
    groups = (4, 4, 4)
    spec = spec_of(dialect=dialect, mu=0.3, mask_ratio=0.5, **{"lambda": 7.0})
    canonical = to_canonical(spec, groups=groups, map_size=(2, 3))
    maps, target = batch_of(groups, (2, 3))
    one, other = (term_of(each, groups)(maps, target) for each in (spec, canonical))
    assert torch.equal(one.total, other.total)
    assert torch.equal(gradient(one.total, maps), gradient(other.total, maps))


def test_holocron_weighs_by_the_size_of_the_maps_that_come() -> None:
    term = term_of(spec_of(dialect="holocron"), (3, 3))
    assert term.canonical((2, 3)).lambda_ == 3 / 6
    term(*batch_of((3, 3), (5, 3)))
    assert term.canonical((5, 3)).lambda_ == 3 / 15


def test_a_mask_for_each_image_differs_between_images() -> None:
    spec = spec_of(mask_scope="sample", mask_ratio=0.5)
    groups = (6, 6)
    maps, target = batch_of(groups, (2, 3))
    masks = draw_mask(groups, 0.5, generator=seeded(), batch=4)
    expected = mc_loss(maps, target, groups=groups, mask=masks)
    terms = term_of(spec, groups)(maps, target)
    assert torch.equal(terms.parts["dis"], expected.discriminality)
    assert len({tuple(mask.tolist()) for mask in masks}) > 1


def test_a_dropped_channel_never_wins_with_minus_inf() -> None:
    groups = (2, 2)
    maps = -torch.rand(2, 4, 2, 3, generator=seeded(), dtype=torch.float64) - 1
    target = torch.tensor([0, 1])
    mask = draw_mask(groups, 0.5, generator=seeded())
    terms = term_of(spec_of(mask_fill="minus_inf"), groups)(maps, target)
    kept = maps[:, mask.bool()].mean((2, 3))
    expected = torch.nn.functional.cross_entropy(kept, target)
    torch.testing.assert_close(terms.parts["dis"], expected)
    zero = term_of(spec_of(), groups)(maps, target)
    assert zero.parts["dis"].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_a_mask_drawn_once_stays_and_is_saved() -> None:
    groups, spec = (6, 6), spec_of(mask_draw="once")
    batch = batch_of(groups, (2, 3))
    term = term_of(spec, groups)
    assert list(term.state_dict()) == ["mask"]
    totals = {term(*batch).total.item() for _ in range(4)}
    assert len(totals) == 1

    other = term_of(spec, groups, seed=8)
    assert other(*batch).total.item() not in totals
    other.load_state_dict(term.state_dict())
    assert other(*batch).total.item() in totals


def test_a_mask_drawn_once_is_the_first_that_would_be_drawn_at_each_step() -> None:
    groups = (6, 6)
    batch = batch_of(groups, (2, 3))
    once = term_of(spec_of(mask_draw="once"), groups)(*batch).total
    assert torch.equal(once, term_of(spec_of(), groups)(*batch).total)


@pytest.mark.parametrize("option", [{"mask_draw": "once"}, {"mask_scope": "sample"}])
def test_in_evaluation_no_option_masks_anything(option: dict[str, str]) -> None:
    maps, target = batch_of((6, 6), (2, 3))
    terms = term_of(spec_of(**option), (6, 6)).eval()(maps, target)
    unmasked = mc_loss(maps, target, groups=(6, 6), mask=None)
    assert torch.equal(terms.parts["dis"], unmasked.discriminality)
