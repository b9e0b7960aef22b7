import pytest
import reference
import torch
from torch import Tensor

from mcl_bench.losses import Objective, Outputs, build_objective, draw_mask, mc_loss
from mcl_bench.spec import CrossEntropySpec, LossSpec, MutualChannelSpec

torch.set_num_threads(1)

GROUPS = (2, 2, 2, 3, 3)
CE = CrossEntropySpec(name="ce")
MC = MutualChannelSpec(name="mc", mu=0.5, lambda_=5.0, mask_ratio=0.5)
Batch = tuple[Outputs, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def objective_of(
    spec: LossSpec,
    *,
    weights: Tensor | None = None,
    generator: torch.Generator | None = None,
    groups: tuple[int, ...] = GROUPS,
) -> Objective:
    return build_objective(
        spec, groups=groups, embedding_size=7, class_weights=weights, generator=generator
    )


@pytest.fixture
def batch() -> Batch:
    generator = seeded(0)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    maps = torch.randn(4, 12, 2, 3, generator=generator, dtype=torch.float64)
    embedding = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    output = Outputs(logits=logits, maps=maps, embedding=embedding)
    return output, torch.tensor([0, 4, 2, 1])


@pytest.mark.parametrize("weights", [None, torch.linspace(0.3, 2.0, 5)], ids=["plain", "weighted"])
def test_the_ce_objective_is_the_oracles_cross_entropy(
    batch: Batch, weights: Tensor | None
) -> None:
    output, target = batch
    terms = objective_of(CE, weights=weights)(*batch)
    expected = reference.cross_entropy(
        output.logits.tolist(), target.tolist(), None if weights is None else weights.tolist()
    )
    assert terms.total.item() == pytest.approx(expected, abs=1e-6)
    assert dict(terms.parts) == {"ce": terms.total}


@pytest.mark.parametrize("weights", [None, torch.linspace(0.3, 2.0, 5)], ids=["plain", "weighted"])
def test_the_mc_objective_adds_the_weighted_terms_to_the_cross_entropy(
    batch: Batch, weights: Tensor | None
) -> None:
    logits, maps, target = batch[0].logits.tolist(), batch[0].maps.tolist(), batch[1].tolist()
    plain_weights = None if weights is None else weights.tolist()
    mask = draw_mask(GROUPS, 0.5, generator=seeded(1)).tolist()

    objective = objective_of(MC, weights=weights, generator=seeded(1))
    terms = objective(*batch)

    ce = reference.cross_entropy(logits, target, plain_weights)
    dis = reference.discriminality(maps, target, GROUPS, mask, plain_weights)
    div = reference.diversity(maps, GROUPS)
    total = ce + reference.mutual_channel_loss(dis, div, mu=0.5, lambda_=5.0)
    assert {name: part.item() for name, part in terms.parts.items()} == {
        "ce": pytest.approx(ce, abs=1e-6),
        "dis": pytest.approx(dis, abs=1e-6),
        "div": pytest.approx(1 - div, abs=1e-6),
    }
    assert terms.total.item() == pytest.approx(total, abs=1e-6)


def test_the_mc_objective_sends_gradients_to_the_logits_and_to_the_maps(
    batch: Batch,
) -> None:
    (logits, maps, _), _ = batch
    logits.requires_grad_()
    maps.requires_grad_()
    objective_of(MC, generator=seeded(0))(*batch).total.backward()
    assert logits.grad is not None
    assert maps.grad is not None
    assert torch.count_nonzero(logits.grad) == logits.grad.numel()
    assert torch.count_nonzero(maps.grad) > 0


def test_with_mu_zero_the_objective_is_cross_entropy_and_draws_no_mask(
    batch: Batch,
) -> None:
    generator = seeded(0)
    before = generator.get_state()
    spec = MutualChannelSpec(name="mc", mu=0.0, lambda_=5.0, mask_ratio=0.5)
    terms = objective_of(spec, generator=generator)(*batch)
    assert torch.equal(terms.total, objective_of(CE)(*batch).total)
    assert set(terms.parts) == {"ce"}
    assert torch.equal(generator.get_state(), before)


def test_the_mask_is_drawn_anew_at_each_step_and_follows_the_generators_state(
    batch: Batch,
) -> None:
    generator = seeded(2)
    objective = objective_of(MC, generator=generator)
    objective(*batch)
    state = generator.get_state()
    first = [objective(*batch).total.item() for _ in range(6)]
    generator.set_state(state)
    assert [objective(*batch).total.item() for _ in range(6)] == first
    assert len(set(first)) > 1


def test_in_evaluation_the_objective_masks_nothing_and_draws_nothing(
    batch: Batch,
) -> None:
    generator = seeded(0)
    before = generator.get_state()
    objective = objective_of(MC, generator=generator).eval()
    output, target = batch
    unmasked = mc_loss(output.maps, target, groups=GROUPS, mask=None)
    assert torch.equal(objective(*batch).parts["dis"], unmasked.discriminality)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_under_bf16_autocast_every_term_is_that_of_float32(
    spec: CrossEntropySpec | MutualChannelSpec, batch: Batch
) -> None:
    output, target = batch
    halves = Outputs(*(value.bfloat16() for value in output))
    exact = objective_of(spec, generator=seeded(0))(halves.full(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective_of(spec, generator=seeded(0))(halves, target)
    assert all(part.dtype == torch.float32 for part in (terms.total, *terms.parts.values()))
    assert terms == exact


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_an_objective_has_nothing_to_learn_and_nothing_to_save(
    spec: CrossEntropySpec | MutualChannelSpec,
) -> None:
    objective = objective_of(spec, weights=torch.ones(5))
    assert isinstance(objective, Objective)
    assert list(objective.parameters()) == []
    assert objective.state_dict() == {}


@pytest.mark.parametrize("spec", [CE, MC], ids=["ce", "mc"])
def test_weights_that_are_not_one_per_class_are_refused(
    spec: CrossEntropySpec | MutualChannelSpec,
) -> None:
    with pytest.raises(ValueError, match=r"each of 5 classes, got the shape \(12,\)"):
        objective_of(spec, weights=torch.ones(12))


def test_groups_without_a_channel_are_refused_when_the_objective_is_built() -> None:
    with pytest.raises(ValueError, match="at least 1 channel, got 0"):
        objective_of(MC, groups=(3, 0))
