"""The main losses against oracles written from their formulas, and what each promises beyond."""

from typing import Any

import oracles_losses as oracles
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional as F

from mcl_bench.losses import Objective, Outputs, build_objective
from mcl_bench.spec import LossSpec

torch.set_num_threads(1)

B, K, D = 6, 5, 4
TARGET = torch.tensor([0, 4, 2, 1, 2, 2])
WEIGHTS = torch.linspace(0.3, 2.0, K)
weighted = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])


def outputs() -> Outputs:
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(B, *shape, generator=generator, dtype=torch.float64).requires_grad_()

    return Outputs(logits=normal(K), maps=normal(K, 2, 3), embedding=normal(D))


def objective_of(weights: Tensor | None = None, **loss: Any) -> Objective:
    torch.manual_seed(0)
    spec: Any = TypeAdapter(LossSpec).validate_python(loss)
    made = build_objective(spec, groups=(1,) * K, embedding_size=D, class_weights=weights)
    return made.double()


def plain(weights: Tensor | None) -> list[float] | None:
    return None if weights is None else weights.double().tolist()


def mean(losses: list[float], weights: Tensor | None) -> float:
    return oracles.weighted_mean(losses, TARGET.tolist(), plain(weights))


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-9, rel=1e-9)


@weighted
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_the_oracles(weights: Tensor | None, smoothing: float) -> None:
    output = outputs()
    loss = objective_of(weights, name="label_smoothing", smoothing=smoothing)
    expected = oracles.label_smoothing(
        output.logits.tolist(), TARGET.tolist(), smoothing, plain(weights)
    )
    assert loss(output, TARGET).total.item() == close(expected)


@weighted
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_the_oracles(weights: Tensor | None, gamma: float) -> None:
    output = outputs()
    losses = oracles.focal(output.logits.tolist(), TARGET.tolist(), gamma)
    loss = objective_of(weights, name="focal", gamma=gamma)
    assert loss(output, TARGET).total.item() == close(mean(losses, weights))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_has_a_gradient_where_the_network_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0, 0, 0, 0], [0, 200.0, 0, 0, 0]], requires_grad=True)
    output = Outputs(logits=logits, maps=torch.zeros(2, K, 1, 1), embedding=torch.zeros(2, D))
    total = objective_of(name="focal", gamma=gamma)(output, torch.tensor([0, 0])).total
    total.backward()
    assert total.item() == pytest.approx(100)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@weighted
@pytest.mark.parametrize("ce_weight", [0.0, 0.1, 3.0])
def test_cosine_is_the_oracles(weights: Tensor | None, ce_weight: float) -> None:
    output = outputs()
    logits, target = output.logits.tolist(), TARGET.tolist()
    expected = mean(oracles.cosine(logits, target), weights)
    expected += ce_weight * mean(oracles.cross_entropy(logits, target), weights)
    loss = objective_of(weights, name="cosine", ce_weight=ce_weight)
    assert loss(output, TARGET).total.item() == close(expected)


def test_cosine_alone_does_not_see_the_length_of_the_logits() -> None:
    output = outputs()
    longer = output._replace(logits=7 * output.logits)
    loss = objective_of(name="cosine", ce_weight=0.0)
    assert loss(output, TARGET).total.item() == close(loss(longer, TARGET).total.item())


@weighted
@pytest.mark.parametrize("weight", [0.0, 0.003, 2.0])
def test_center_is_the_oracles(weights: Tensor | None, weight: float) -> None:
    output, loss = outputs(), objective_of(weights, name="center", weight=weight)
    centres = loss.state_dict()["main.centres_KD"].tolist()
    target = TARGET.tolist()
    distances = oracles.distances_to_own(output.embedding.tolist(), centres, target)
    expected = mean(oracles.cross_entropy(output.logits.tolist(), target), weights)
    expected += weight / 2 * mean(distances, None)
    assert loss(output, TARGET).total.item() == close(expected)


@pytest.mark.parametrize("weight", [0.003, 2.0])
def test_centres_take_the_papers_step_whatever_the_weight(weight: float) -> None:
    output, loss = outputs(), objective_of(name="center", weight=weight)
    centres = loss.get_parameter("main.centres_KD")
    loss(output, TARGET).total.backward()
    steps = oracles.centre_steps(output.embedding.tolist(), centres.tolist(), TARGET.tolist())
    assert centres.grad is not None
    torch.testing.assert_close(centres.grad, torch.tensor(steps, dtype=torch.float64))
    pull = weight * (output.embedding - centres[TARGET]) / B
    assert output.embedding.grad is not None
    torch.testing.assert_close(output.embedding.grad, pull)


@weighted
@pytest.mark.parametrize(("margin", "likelihood"), [(0.0, 0.0), (0.3, 0.1), (1.0, 2.0)])
def test_the_gaussian_mixture_is_the_oracles(
    weights: Tensor | None, margin: float, likelihood: float
) -> None:
    output = outputs()
    loss = objective_of(weights, name="lgm", margin=margin, likelihood=likelihood)
    means = loss.state_dict()["main.centres_KD"].tolist()
    embedding, target = output.embedding.tolist(), TARGET.tolist()
    expected = mean(oracles.gaussian_mixture(embedding, means, target, margin), weights)
    distances = oracles.distances_to_own(embedding, means, target)
    expected += likelihood * mean(distances, None) / 2
    assert loss(output, TARGET).total.item() == close(expected)
    for x, row in zip(embedding, loss.logits(output).tolist(), strict=True):
        assert row == close([-oracles.squared_distance(x, mean) / 2 for mean in means])


MARGINS = [
    ("arcface", 28.6, 64.0),
    ("arcface", 0.0, 8.0),
    ("arcface", 90.0, 3.0),
    ("cosface", 0.35, 64.0),
    ("cosface", 1.5, 4.0),
    ("sphereface", 1, 1.0),
    ("sphereface", 4, 1.0),
    ("sphereface", 3, 2.0),
    ("sphereface", 8, 0.5),
]


@weighted
@pytest.mark.parametrize(("name", "margin", "scale"), MARGINS)
def test_a_margin_loss_is_the_oracles(
    weights: Tensor | None, name: str, margin: float, scale: float
) -> None:
    output = outputs()
    loss = objective_of(weights, name=name, margin=margin, scale=scale)
    directions = loss.state_dict()["main.softmax.W"].T.tolist()
    embedding, target = output.embedding.tolist(), TARGET.tolist()
    losses = oracles.margin_softmax(name, embedding, directions, target, margin=margin, scale=scale)
    expected = pytest.approx(mean(losses, weights), rel=1e-6, abs=1e-9)
    assert loss(output, TARGET).total.item() == expected


@pytest.mark.parametrize(("name", "margin", "scale"), MARGINS)
def test_predictions_of_a_margin_loss_are_scaled_cosines_without_a_margin(
    name: str, margin: float, scale: float
) -> None:
    output, loss = outputs(), objective_of(name=name, margin=margin, scale=scale)
    directions = loss.state_dict()["main.softmax.W"].T.tolist()
    expected = scale * torch.tensor(
        oracles.cosines(output.embedding.tolist(), directions), dtype=torch.float64
    )
    if name == "sphereface":
        expected = expected * output.embedding.norm(dim=1, keepdim=True)
    torch.testing.assert_close(loss.logits(output), expected)


@pytest.mark.parametrize(("name", "margin"), [("arcface", 0.0), ("cosface", 0.0)])
def test_without_a_margin_the_loss_is_the_cross_entropy_of_the_predictions(
    name: str, margin: float
) -> None:
    output, loss = outputs(), objective_of(name=name, margin=margin, scale=16.0)
    expected = F.cross_entropy(loss.logits(output), TARGET)
    torch.testing.assert_close(loss(output, TARGET).total, expected)


@pytest.mark.parametrize(
    "loss",
    [{"name": name} for name in ("focal", "cosine", "lgm", "cosface", "arcface", "sphereface")],
    ids=lambda loss: loss["name"],
)
def test_gradients_are_those_of_the_values(loss: dict[str, Any]) -> None:
    objective = objective_of(**loss, **({"scale": 4.0} if "face" in loss["name"] else {}))
    output = outputs()

    def total(logits: Tensor, embedding: Tensor) -> Tensor:
        made: Tensor = objective(Outputs(logits, output.maps, embedding), TARGET).total
        return made + 0 * logits.sum() + 0 * embedding.sum()

    assert torch.autograd.gradcheck(total, (output.logits, output.embedding))


@pytest.mark.parametrize("name", ["arcface", "cosface", "sphereface"])
def test_an_embedding_that_lies_in_its_classs_direction_has_a_finite_gradient(name: str) -> None:
    loss = objective_of(name=name).float()
    directions = loss.state_dict()["main.softmax.W"].T
    embedding = directions[TARGET].clone().requires_grad_()
    output = Outputs(torch.zeros(B, K), torch.zeros(B, K, 1, 1), embedding)
    loss(output, TARGET).total.backward()
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


def test_the_parts_name_the_main_loss_and_main_for_a_users_own() -> None:
    output = outputs()
    for name in ("label_smoothing", "lgm", "arcface"):
        assert set(objective_of(name=name)(output, TARGET).parts) == {name}
    both = objective_of(name="own_losses:Plain", plus={"name": "mc", "mu": 1.0})
    assert set(both(output, TARGET).parts) == {"main", "dis", "div"}


def test_a_users_loss_gets_the_class_weights_and_its_options() -> None:
    loss = objective_of(WEIGHTS, name="own_losses:Plain", options={"a": 1, "b": [2, 3]})
    given = loss.main.loss.given  # type: ignore[union-attr]
    assert given == {"num_classes": K, "embedding_size": D, "class_weights": WEIGHTS, "a": 1} | {
        "b": [2, 3]
    }
