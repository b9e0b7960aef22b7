"""Batches that go through the network in pieces: the same step where nothing sees a whole batch."""

from typing import Any

import pytest
import torch

from mcl_bench.data import Batch, Mix
from mcl_bench.training import Training
from mcl_bench.training.pieces import pieces_of

NO_NORM = {"model": {"backbone": "vgg11", "channels": "native", "xi": "auto", "head": "avgmax"}}
LOSSES: dict[str, dict[str, Any]] = {
    "ce": {"name": "ce"},
    "mc": {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.0},
    "cosine": {"name": "cosine"},
}


def batch(images: int, *, mixed: bool = False) -> Batch:
    indices = torch.arange(images)
    mix = Mix(target=indices.roll(1) % 12, share=0.7) if mixed else None
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(images, 3, 32, 32, generator=generator)
    return Batch(images=pixels, target=indices % 12, indices=indices, mix=mix)


def stepped(config: Any, one: Batch) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The gradients of one step on this batch, and what is told of it."""
    training = Training(config)
    training.network.train()
    training.objective.train()
    training._step(one)
    named = [*training.network.named_parameters(), *training.objective.named_parameters()]
    gradients = {name: value.grad for name, value in named if value.grad is not None}
    told = training._sums.metrics()
    return gradients, {name: value for name, value in told.items() if name.startswith("train/")}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_in_pieces_is_that_of_the_whole_batch(
    make_config: Any, loss: str, mixed: bool
) -> None:
    one = batch(11, mixed=mixed)
    whole, told = stepped(make_config(LOSSES[loss], **NO_NORM), one)
    for count in (2, 4):
        changes = {**NO_NORM, "train": {"micro_batches": count}}
        gradients, in_pieces = stepped(make_config(LOSSES[loss], **changes), one)
        assert gradients.keys() == whole.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-6)
        assert in_pieces == pytest.approx(told, rel=1e-5)


def test_batchnorm_and_masks_see_a_piece_at_a_time(make_config: Any) -> None:
    """So the step is another one, which is why it has a key of its own."""
    one = batch(12)
    whole, _ = stepped(make_config(), one)
    gradients, _ = stepped(make_config(train={"micro_batches": 2}), one)
    first = next(iter(whole))
    assert not torch.allclose(gradients[first], whole[first], rtol=1e-2)


@pytest.mark.parametrize(
    ("images", "count", "sizes"),
    [
        (8, 1, [8]),
        (8, 2, [4, 4]),
        (11, 4, [2, 3, 3, 3]),
        (5, 4, [2, 3]),
        (3, 2, [3]),
        (2, 8, [2]),
        (8, 4, [2, 2, 2, 2]),
    ],
)
def test_pieces_are_as_equal_as_can_be_and_never_of_one_image(
    images: int, count: int, sizes: list[int]
) -> None:
    one = batch(images, mixed=True)
    pieces = pieces_of(one, count)
    assert [len(piece.target) for piece in pieces] == sizes
    assert torch.equal(torch.cat([piece.images for piece in pieces]), one.images)
    assert torch.equal(torch.cat([piece.indices for piece in pieces]), one.indices)
    assert one.mix is not None
    partners = [piece.mix.target for piece in pieces if piece.mix is not None]
    assert torch.equal(torch.cat(partners), one.mix.target)


def test_a_training_in_pieces_goes_on_from_its_checkpoint_bit_for_bit(
    make_config: Any,
) -> None:
    pieces = {"train": {"micro_batches": 4, "epochs": 2}}
    straight = Training(make_config(**pieces, folder="straight"))
    records = list(straight)
    halfway = Training(make_config(**pieces, folder="halfway"))
    next(halfway)
    resumed = Training(make_config(**pieces, folder="halfway"), halfway.write_checkpoint())
    again = [*resumed.records, *resumed]
    for one, other in zip(records, again, strict=True):
        assert one.metrics["train/loss"] == other.metrics["train/loss"]
        assert one.metrics["val/loss"] == other.metrics["val/loss"]
