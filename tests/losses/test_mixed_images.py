"""Losses of images that are mixed: shares of two targets, judged with one mask."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from mcl_bench.losses import Mixed, Outputs, build_objective, draw_mask, mc_loss
from mcl_bench.spec import CrossEntropySpec, MutualChannelSpec
from mcl_bench.testing.losses import made_up_outputs, objective_of

TARGET = torch.tensor([2, 0, 4, 1, 0, 3])
MIXED = Mixed(target=TARGET.roll(1), share=0.3)
LOSSES: tuple[dict[str, Any], ...] = (
    {"name": "ce"},
    {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.4},
    {"name": "label_smoothing", "smoothing": 0.1},
    {"name": "focal", "gamma": 2.0},
    {"name": "cosine", "ce_weight": 0.1},
    {"name": "arcface"},
    {"name": "cosface"},
    {"name": "sphereface"},
    {"name": "center"},
    {"name": "lgm"},
    {"name": "focal", "gamma": 1.0, "plus": {"name": "mc", "mu": 0.5, "lambda": 2.0}},
    {"name": "own_losses:Sharpened", "options": {"gamma": 3.0}},
)


def names(loss: dict[str, Any]) -> str:
    return f"{loss['name']}+plus" if "plus" in loss else loss["name"]


def test_the_gradient_of_cross_entropy_is_that_of_torchvisions_soft_labels() -> None:
    torch.manual_seed(0)
    mixup = v2.MixUp(alpha=1.0, num_classes=5)
    _, soft_BK = mixup(torch.zeros(6, 3, 4, 4), TARGET)
    share = soft_BK[0, TARGET[0]].item()
    output = made_up_outputs(6)
    F.cross_entropy(output.logits, soft_BK).backward()
    expected, output.logits.grad = output.logits.grad, None
    objective = build_objective(CrossEntropySpec(name="ce"), groups=(3,) * 5, embedding_size=7)
    terms = objective(output, TARGET, Mixed(target=TARGET.roll(1), share=share))
    terms.total.backward()
    assert 0 < share < 1
    torch.testing.assert_close(output.logits.grad, expected)
    torch.testing.assert_close(terms.parts["ce"], F.cross_entropy(output.logits, soft_BK))


@pytest.mark.parametrize("weights", [None, torch.linspace(0.3, 2.0, 5)], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", LOSSES, ids=names)
def test_a_mixed_loss_is_the_shares_of_both_targets_losses(
    loss: dict[str, Any], weights: Tensor | None
) -> None:
    output = made_up_outputs(6)

    def terms(*inputs: Any) -> Any:
        return objective_of(loss, class_weights=weights)(output, *inputs)

    own, other, mixed = terms(TARGET), terms(MIXED.target), terms(TARGET, MIXED)
    torch.testing.assert_close(mixed.total, 0.3 * own.total + 0.7 * other.total)
    assert mixed.parts.keys() == own.parts.keys()
    for name, part in mixed.parts.items():
        torch.testing.assert_close(part, 0.3 * own.parts[name] + 0.7 * other.parts[name])
    mixed.total.backward()
    used = [value for value in output if value.grad is not None]
    assert used
    assert all(value.grad.isfinite().all() for value in used)


@pytest.mark.parametrize("loss", LOSSES, ids=names)
def test_class_weights_change_every_loss(loss: dict[str, Any]) -> None:
    output = made_up_outputs(6)
    plain = objective_of(loss)(output, TARGET)
    weighted = objective_of(loss, class_weights=torch.linspace(0.3, 2.0, 5))(output, TARGET)
    assert weighted.total.isfinite()
    assert weighted.total.item() != pytest.approx(plain.total.item(), abs=1e-4)
    for name in plain.parts.keys() - {"div"}:
        assert weighted.parts[name].item() != pytest.approx(plain.parts[name].item(), abs=1e-4)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_both_targets_are_judged_with_one_mask_that_is_drawn_once(scope: Any) -> None:
    spec = MutualChannelSpec(name="mc", mu=1.0, lambda_=0.0, mask_ratio=0.5, mask_scope=scope)
    groups = (4,) * 5
    used, expected = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    maps = torch.randn(6, 20, 2, 3, generator=torch.Generator().manual_seed(0))
    output = Outputs(logits=torch.zeros(6, 5), maps=maps, embedding=torch.zeros(6, 7))
    objective = build_objective(spec, groups=groups, embedding_size=7, generator=used)
    terms = objective(output, TARGET, MIXED)
    images = 6 if scope == "sample" else None
    mask = draw_mask(groups, 0.5, generator=expected, batch=images)
    own, other = (
        mc_loss(maps, target, groups=groups, mask=mask).discriminality
        for target in (TARGET, MIXED.target)
    )
    torch.testing.assert_close(terms.parts["dis"], 0.3 * own + 0.7 * other)
    assert torch.equal(used.get_state(), expected.get_state())
