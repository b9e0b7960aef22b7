import pytest
import reference
import torch
from torch import Tensor

from mcl_bench.losses import Objective, build_objective, draw_mask, mc_loss
from mcl_bench.spec.schema import CrossEntropySpec, MutualChannelSpec

torch.set_num_threads(1)

GROUPS = (2, 2, 2, 3, 3)
CE = CrossEntropySpec(name="ce")
MC = MutualChannelSpec(name="mc", mu=0.5, lambda_=5.0, mask_ratio=0.5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = seeded(0)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    maps = torch.randn(4, 12, 2, 3, generator=generator, dtype=torch.float64)
    return logits, maps, torch.tensor([0, 4, 2, 1])


@pytest.mark.parametrize("weights", [None, torch.linspace(0.3, 2.0, 5)], ids=["plain", "weighted"])
def test_the_ce_objective_is_the_oracles_cross_entropy(
    batch: tuple[Tensor, Tensor, Tensor], weights: Tensor | None
) -> None:
    logits, _, target = batch
    terms = build_objective(CE, groups=GROUPS, class_weights=weights)(*batch)
    expected = reference.cross_entropy(
        logits.tolist(), target.tolist(), None if weights is None else weights.tolist()
    )
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)
    assert terms.ce is terms.total
    assert terms.discriminality is None
    assert terms.diversity is None


@pytest.mark.parametrize("weights", [None, torch.linspace(0.3, 2.0, 5)], ids=["plain", "weighted"])
def test_the_mc_objective_adds_the_weighted_terms_to_the_cross_entropy(
    batch: tuple[Tensor, Tensor, Tensor], weights: Tensor | None
) -> None:
    logits, maps, target = (tensor.tolist() for tensor in batch)
    plain_weights = None if weights is None else weights.tolist()
    mask = draw_mask(GROUPS, 0.5, generator=seeded(1)).tolist()

    objective = build_objective(MC, groups=GROUPS, class_weights=weights, generator=seeded(1))
    terms = objective(*batch)

    ce = reference.cross_entropy(logits, target, plain_weights)
    dis = reference.discriminality(maps, target, GROUPS, mask, plain_weights)
    div = reference.diversity(maps, GROUPS)
    total = ce + reference.mutual_channel_loss(dis, div, mu=0.5, lambda_=5.0)
    assert terms.ce.item() == pytest.approx(ce, abs=1e-6)
    assert terms.discriminality is not None
    assert terms.diversity is not None
    assert terms.discriminality.item() == pytest.approx(dis, abs=1e-6)
    assert terms.diversity.item() == pytest.approx(div, abs=1e-6)
    assert terms.total.item() == pytest.approx(total, abs=1e-6)


def test_the_mc_objective_sends_gradients_to_the_logits_and_to_the_maps(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    logits, maps, target = batch
    logits.requires_grad_()
    maps.requires_grad_()
    build_objective(MC, groups=GROUPS, generator=seeded(0))(logits, maps, target).total.backward()
    assert logits.grad is not None
    assert maps.grad is not None
    assert torch.count_nonzero(logits.grad) == logits.grad.numel()
    assert torch.count_nonzero(maps.grad) > 0


def test_with_mu_zero_the_objective_is_cross_entropy_and_draws_no_mask(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    generator = seeded(0)
    before = generator.get_state()
    spec = MutualChannelSpec(name="mc", mu=0.0, lambda_=5.0, mask_ratio=0.5)
    terms = build_objective(spec, groups=GROUPS, generator=generator)(*batch)
    assert torch.equal(terms.total, build_objective(CE, groups=GROUPS)(*batch).total)
    assert terms.discriminality is None
    assert terms.diversity is None
    assert torch.equal(generator.get_state(), before)


def test_the_mask_is_drawn_anew_at_each_step_and_follows_the_generators_state(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    generator = seeded(2)
    objective = build_objective(MC, groups=GROUPS, generator=generator)
    objective(*batch)
    state = generator.get_state()
    first = [objective(*batch).total.item() for _ in range(6)]
    generator.set_state(state)
    assert [objective(*batch).total.item() for _ in range(6)] == first
    assert len(set(first)) > 1


def test_in_evaluation_the_objective_masks_nothing_and_draws_nothing(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    generator = seeded(0)
    before = generator.get_state()
    objective = build_objective(MC, groups=GROUPS, generator=generator).eval()
    _, maps, target = batch
    unmasked = mc_loss(maps, target, groups=GROUPS, mask=None)
    assert torch.equal(objective(*batch).discriminality, unmasked.discriminality)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_under_bf16_autocast_every_term_is_that_of_float32(
    spec: CrossEntropySpec | MutualChannelSpec, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    logits, maps, target = batch
    halves = (logits.bfloat16(), maps.bfloat16(), target)
    exact = build_objective(spec, groups=GROUPS, generator=seeded(0))(
        halves[0].float(), halves[1].float(), target
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = build_objective(spec, groups=GROUPS, generator=seeded(0))(*halves)
    assert all(term.dtype == torch.float32 for term in terms if term is not None)
    assert terms == exact


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_an_objective_has_nothing_to_learn_and_nothing_to_save(
    spec: CrossEntropySpec | MutualChannelSpec,
) -> None:
    objective = build_objective(spec, groups=GROUPS, class_weights=torch.ones(5))
    assert isinstance(objective, Objective)
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_weights_that_are_not_one_per_class_are_refused(
    spec: CrossEntropySpec | MutualChannelSpec,
) -> None:
    with pytest.raises(ValueError, match=r"each of 5 classes, got the shape \(12,\)"):
        build_objective(spec, groups=GROUPS, class_weights=torch.ones(12))


def test_groups_without_a_channel_are_refused_when_the_objective_is_built() -> None:
    with pytest.raises(ValueError, match="at least 1 channel, got 0"):
        build_objective(MC, groups=(3, 0))
