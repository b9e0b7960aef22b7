"""Training on augmented, mixed, prefetched and balanced batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mcl_bench import data
from mcl_bench.training import Interrupted, Training

ONE = {"train": {"epochs": 1, "schedule": {"warmup_epochs": 0}}}
TWO = {"train": {"epochs": 2, "schedule": {"warmup_epochs": 0}}}


def augmented(recipe: str, **changes: Any) -> dict[str, Any]:
    return {"data": {"augment": recipe, **changes}, **ONE}


@pytest.mark.parametrize("recipe", ["mixup", "crop_flip+randaugment+cutmix"])
@pytest.mark.parametrize("loss", [{"name": "ce"}, None], ids=["ce", "mc"])
def test_a_network_trains_on_mixed_images(recipe: str, loss: Any, make_config: Any) -> None:
    (record,) = Training(make_config(loss, **augmented(recipe)))
    assert 0 <= record.metrics["train/top1"] <= 1
    (plain,) = Training(make_config(loss, **augmented("crop_flip")))
    assert record.metrics["train/loss"] != plain.metrics["train/loss"]


def test_train_top1_counts_the_class_that_most_of_an_image_shows(make_config: Any) -> None:
    training = Training(make_config({"name": "ce"}, **augmented("mixup")))
    (batch, *_) = training._inputs.train.epoch(0)
    partner = (batch.target + 1) % 12
    logits = torch.nn.functional.one_hot(partner, 12).float() * 9

    class Saying(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            own = network(images)
            return own._replace(logits=own.logits * 0 + logits)

    network, training.network = training.network, Saying()
    seen = []
    for share in (0.6, 0.4):
        training._sums = type(training._sums)(epoch=1, device_type="cpu")
        mix = data.Mix(target=partner, share=share)
        training._step(
            data.Batch(images=batch.images, target=batch.target, indices=batch.indices, mix=mix)
        )
        seen.append(training._sums.metrics()["train/top1"])
    assert seen == [0, 1]


def test_a_training_on_drawn_policies_goes_on_bit_for_bit(make_config: Any) -> None:
    changes = {"data": {"augment": "crop_flip+trivialaugment+mixup"}, **TWO}
    whole = Training(make_config(**changes))
    records = list(whole)
    calls = 0

    def leave() -> Any:
        nonlocal calls
        calls += 1
        return "leave" if calls == 3 else "go"

    with pytest.raises(Interrupted) as caught:
        list(Training(make_config(folder="other", **changes), control=leave))
    again = Training(make_config(folder="other", **changes), Path(caught.value.checkpoint))
    assert [r.metrics["train/loss"] for r in again] == [r.metrics["train/loss"] for r in records]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_a_prefetched_training_is_the_same_one_and_leaves_no_thread(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    changes = {"data": {"augment": "crop_flip+colour+mixup"}, **TWO}
    whole = list(Training(make_config(**changes)))
    made = data.Batches.__init__

    def ahead(self: Any, *inputs: Any, **options: Any) -> None:
        made(self, *inputs, **options, prefetch=True)

    monkeypatch.setattr(data.Batches, "__init__", ahead)
    records = list(Training(make_config(**changes)))
    for record, plain in zip(records, whole, strict=True):
        assert record.metrics["time/data_wait_s"] >= 0
        assert {
            k: v for k, v in record.metrics.items() if not k.startswith(("time/", "system/"))
        } == {k: v for k, v in plain.metrics.items() if not k.startswith(("time/", "system/"))}
    with pytest.raises(Interrupted):
        next(Training(make_config(folder="left", **changes), control=lambda: "leave"))
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]


@pytest.mark.parametrize("balance", ["weights", "sqrt_weights", "sampling"])
def test_balance_goes_by_the_images_that_per_class_leaves(
    balance: str, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that validation or the limit made smaller weighs as what is left of it."""
    official = data.cut

    def uneven(labels: torch.Tensor, **options: Any) -> data.Split:
        found = official(labels, **options)
        keep = (labels[found.train] != 0) | (
            found.train == found.train[labels[found.train] == 0][0]
        )
        return data.Split(train=found.train[keep], validation=found.validation)

    monkeypatch.setattr(data, "cut", uneven)
    training = Training(make_config(data={"balance": balance, "per_class": 4}, **ONE))
    batches = training._inputs.train
    counts = torch.bincount(torch.cat([b.target for b in batches.epoch(0)]), minlength=12)
    weights = training._inputs.class_weights
    if balance == "sampling":
        assert weights is None
        drawn = torch.stack(
            [
                torch.bincount(torch.cat([b.target for b in batches.epoch(e)]), minlength=12)
                for e in range(40)
            ]
        ).sum(0)
        assert drawn.min() / drawn.max() > 0.6
    else:
        assert counts.tolist() == [1, *[4] * 11]
        assert weights is not None
        assert weights[0] / weights[1] == pytest.approx(4 if balance == "weights" else 2)
    (record,) = training
    assert record.metrics["train/loss"] > 0
