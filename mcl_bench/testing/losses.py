"""The contract of a loss."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from mcl_bench.losses import Objective, ObjectiveTerms, Outputs, build_objective
from mcl_bench.spec import LossSpec

# B batch, K classes, C channels of all classes, D embedding

BATCH = 6
CLASSES = 5
EMBEDDING = 7
XI = 3

ROUNDING = 2e-5
"""How far apart two float32 sums of the same numbers may be, absolutely and relatively."""


class LossContract:
    """What every loss keeps to; the fixture `loss` gives its settings, as an experiment file would.

    The tests need no GPU, no data and no network: batches are made up.
    """

    @pytest.fixture
    def loss(self) -> Mapping[str, Any]:
        """The loss's settings: a mapping with `name` and what else belongs to it."""
        raise NotImplementedError("a LossContract needs a fixture named loss")

    @pytest.fixture
    def output(self) -> Outputs:
        """What a network might make of a batch; logits, maps and embedding ask for gradients."""
        return made_up_outputs(BATCH)

    @pytest.fixture
    def target(self) -> Tensor:
        """The batch's classes: one of them twice, none of the last but one."""
        return torch.tensor([2, 0, 4, 1, 0, 2])

    def test_the_loss_is_a_finite_scalar_and_its_parts_too(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        terms = objective_of(loss)(output, target)
        for value in (terms.total, *terms.parts.values()):
            assert value.shape == ()
            assert value.dtype == torch.float32
            assert value.isfinite()

    def test_gradients_reach_the_head_and_with_plus_the_maps(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        objective_of(loss)(output, target).total.backward()
        reached = [value.grad for value in (output.logits, output.embedding)]
        assert any(grad is not None and grad.count_nonzero() > 0 for grad in reached)
        if loss.get("plus") or loss["name"] == "mc":
            assert output.maps.grad is not None
            assert output.maps.grad.count_nonzero() > 0
        for grad in (*reached, output.maps.grad):
            assert grad is None or grad.isfinite().all()

    def test_what_the_loss_learns_gets_gradients(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        objective = objective_of(loss)
        objective(output, target).total.backward()
        for name, parameter in objective.named_parameters():
            assert parameter.grad is not None, f"{name} takes no part in the loss"
            assert parameter.grad.isfinite().all()

    def test_under_bf16_autocast_the_loss_is_that_of_float32(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        halves = Outputs(*(value.detach().bfloat16() for value in output))
        exact = objective_of(loss)(halves.full(), target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = objective_of(loss)(halves, target)
            logits = objective_of(loss).logits(halves)
        assert terms.total.dtype == logits.dtype == torch.float32
        torch.testing.assert_close(terms.total, exact.total, rtol=0, atol=0)
        torch.testing.assert_close(logits, objective_of(loss).logits(halves.full()))

    def test_the_order_of_the_batch_does_not_matter(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        turned = Outputs(*(value[order] for value in output))
        same(objective_of(loss)(output, target), objective_of(loss)(turned, target[order]))

    def test_other_names_of_the_classes_change_nothing(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        # Class k is called new_of[k] from now on; what is class new_of[k]'s comes from class k.
        new_of = torch.tensor([2, 4, 0, 1, 3])
        old_of = new_of.argsort()
        objective, renamed = objective_of(loss).eval(), objective_of(loss).eval()
        state = objective.state_dict()
        renamed.load_state_dict({key: reordered(value, old_of) for key, value in state.items()})
        channels = (XI * old_of[:, None] + torch.arange(XI)).flatten()
        other = Outputs(output.logits[:, old_of], output.maps[:, channels], output.embedding)
        same(objective(output, target), renamed(other, new_of[target]))
        close(objective.logits(output)[:, old_of], renamed.logits(other))

    def test_class_weights_of_one_change_nothing(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        weighted = objective_of(loss, class_weights=torch.ones(CLASSES))
        same(objective_of(loss)(output, target), weighted(output, target))

    def test_what_the_loss_learnt_survives_saving_and_loading(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        objective, other = objective_of(loss).eval(), objective_of(loss, seed=1).eval()
        file = io.BytesIO()
        torch.save(objective.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        same(objective(output, target), other(output, target))

    def test_one_image_is_a_batch(self, loss: Mapping[str, Any]) -> None:
        output = made_up_outputs(1)
        terms = objective_of(loss)(output, torch.tensor([3]))
        terms.total.backward()
        assert terms.total.isfinite()

    def test_one_seed_makes_one_loss(
        self, loss: Mapping[str, Any], output: Outputs, target: Tensor
    ) -> None:
        one, other = objective_of(loss), objective_of(loss)
        assert one.state_dict().keys() == other.state_dict().keys()
        for value, again in zip(
            one.state_dict().values(), other.state_dict().values(), strict=True
        ):
            assert torch.equal(value, again)
        assert torch.equal(one(output, target).total, other(output, target).total)

    def test_every_image_has_a_finite_logit_for_each_class(
        self, loss: Mapping[str, Any], output: Outputs
    ) -> None:
        with torch.inference_mode():
            logits = objective_of(loss).eval().logits(output)
        assert logits.shape == (BATCH, CLASSES)
        assert logits.isfinite().all()

    @pytest.mark.parametrize("label", [-1, CLASSES])
    def test_a_label_that_is_no_class_is_refused(
        self, loss: Mapping[str, Any], output: Outputs, label: int
    ) -> None:
        target = torch.tensor([2, 0, label, 1, 0, 2])
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            objective_of(loss)(output, target)


def made_up_outputs(batch: int) -> Outputs:
    """What a network might make of `batch` images: leaves that ask for gradients."""
    generator = torch.Generator().manual_seed(batch)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator).requires_grad_()

    return Outputs(
        logits=normal(CLASSES), maps=normal(CLASSES * XI, 2, 3), embedding=normal(EMBEDDING)
    )


def objective_of(
    loss: Mapping[str, Any], *, seed: int = 0, class_weights: Tensor | None = None
) -> Objective:
    """The objective of these settings, drawn from torch's global generator seeded with `seed`."""
    spec: Any = TypeAdapter(LossSpec).validate_python(dict(loss))
    torch.manual_seed(seed)
    return build_objective(
        spec,
        groups=(XI,) * CLASSES,
        embedding_size=EMBEDDING,
        class_weights=class_weights,
        generator=torch.Generator().manual_seed(seed),
    )


def reordered(value: Tensor, order: Tensor) -> Tensor:
    """The tensor with every dimension that counts the classes in another order."""
    for dimension, size in enumerate(value.shape):
        if size == CLASSES:
            value = value.index_select(dimension, order)
    return value


def same(one: ObjectiveTerms, other: ObjectiveTerms) -> None:
    """Assert that two batches' terms agree up to rounding."""
    names: Sequence[str] = list(one.parts)
    assert names == list(other.parts)
    close(one.total, other.total)
    for name in names:
        close(one.parts[name], other.parts[name])


def close(one: Tensor, other: Tensor) -> None:
    """Assert that two tensors agree up to rounding."""
    torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)
