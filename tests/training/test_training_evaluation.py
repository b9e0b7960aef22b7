import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from mcl_bench.losses import Outputs
from mcl_bench.training.evaluation import confusion, evaluate, macro_top1
from mcl_bench.training.precision import Precision

CPU = Precision(name="fp32", device_type="cpu")


class Echo(nn.Module):
    """A network whose images are its logits, beside maps that are one per class and 2×3."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.groups = (1,) * num_classes

    def forward(self, images: Tensor) -> Outputs:
        maps = images[:, :, None, None].expand(-1, -1, 2, 3)
        return Outputs(logits=images, maps=maps, embedding=images)


class Batches:
    """Batches of three images, as the data room's but without images."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = logits, labels

    def epoch(self, number: int) -> Iterator[Any]:
        assert number == 0
        for indices in torch.arange(len(self.labels)).split(3):
            yield SimpleNamespace(
                images=self.logits[indices], target=self.labels[indices], indices=indices
            )


def scored(logits: Tensor, labels: Tensor) -> Any:
    network, batches = Echo(logits.shape[1]), Batches(logits, labels)
    return evaluate(
        network,  # type: ignore[arg-type]
        batches,  # type: ignore[arg-type]
        logits_of=lambda output: output.logits,
        precision=CPU,
        between=lambda: None,
    )


@pytest.fixture
def answers() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 7, generator=generator)
    labels = torch.randint(0, 6, (40,), generator=generator)
    return logits, labels


def test_scores_equal_plain_loops(answers: tuple[Tensor, Tensor]) -> None:
    logits, labels = answers
    found = scored(logits, labels)
    losses, hits, top5 = [], [], []
    recalls: dict[int, list[bool]] = {}
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(value) for value in row)) - row[label])
        order = sorted(range(7), key=lambda index, row=row: -row[index])
        hits.append(order[0] == label)
        top5.append(label in order[:5])
        recalls.setdefault(label, []).append(hits[-1])
    assert found.loss == pytest.approx(sum(losses) / 40)
    assert found.top1 == pytest.approx(sum(hits) / 40)
    assert found.top5 == pytest.approx(sum(top5) / 40)
    expected = sum(sum(kind) / len(kind) for kind in recalls.values()) / len(recalls)
    assert found.macro_top1 == pytest.approx(expected)
    assert found.in_top5_N.tolist() == top5
    assert found.indices_N.tolist() == list(range(40))


def test_macro_top1_equals_torchmetrics_where_all_classes_are_present() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.cat((torch.arange(7), torch.randint(0, 7, (50,), generator=generator)))
    predicted = torch.randint(0, 7, (57,), generator=generator)
    expected = multiclass_accuracy(predicted, labels, num_classes=7, average="macro")
    assert macro_top1(confusion(labels, predicted, 7)) == pytest.approx(expected.item())


def test_macro_top1_weighs_classes_equally_and_leaves_absent_ones_out() -> None:
    labels = torch.tensor([0, 0, 0, 0, 2])
    predicted = torch.tensor([0, 0, 0, 1, 1])
    assert macro_top1(confusion(labels, predicted, 4)) == pytest.approx((0.75 + 0) / 2)


def test_confusion_counts_true_classes_in_rows() -> None:
    counts = confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2]), 3)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


def test_top5_of_three_classes_is_top3() -> None:
    assert scored(torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])).top5 == 1


def test_channel_facts_are_means_over_images_whatever_the_batches(
    answers: tuple[Tensor, Tensor],
) -> None:
    logits, labels = answers
    found = scored(logits, labels)
    assert found.channels.diversity == pytest.approx(1)
    assert found.channels.alignment == pytest.approx(found.top1)


def test_evaluation_leaves_the_network_in_evaluation_mode_and_asks_between_batches(
    answers: tuple[Tensor, Tensor],
) -> None:
    network, asked = Echo(7), []
    batches, note = Batches(*answers), lambda: asked.append(1)
    evaluate(
        network,  # type: ignore[arg-type]
        batches,  # type: ignore[arg-type]
        logits_of=lambda output: output.logits,
        precision=CPU,
        between=note,
    )
    assert not network.training
    assert len(asked) == 14
