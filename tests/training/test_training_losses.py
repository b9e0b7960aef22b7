"""Every arm trains, is judged, and goes on from a checkpoint, by the real training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mcl_bench.training import Interrupted, Training

ONE: dict[str, Any] = {"train": {"epochs": 1}}
TWO: dict[str, Any] = {"train": {"epochs": 2}}
PLUS = {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.4}
ARMS: dict[str, dict[str, Any]] = {
    "label_smoothing": {"name": "label_smoothing"},
    "focal": {"name": "focal"},
    "cosine": {"name": "cosine"},
    "center": {"name": "center"},
    "sphereface": {"name": "sphereface", "margin": 2},
    "cosface": {"name": "cosface", "scale": 16.0},
    "arcface": {"name": "arcface", "scale": 16.0},
    "lgm": {"name": "lgm"},
    "main": {"name": "own_losses:Sharpened", "options": {"gamma": 1.5}},
}
LEARNT = ["center", "lgm", "arcface", "main"]


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("plus", [False, True], ids=["alone", "plus_mc"])
def test_an_arm_trains_and_its_record_names_its_terms(
    make_config: Any, name: str, plus: bool
) -> None:
    loss = {**ARMS[name], **({"plus": PLUS} if plus else {})}
    (record,) = Training(make_config(loss, data={"balance": "weights"}, **ONE))
    terms = {key for key in record.metrics if key.startswith("train/loss_")}
    assert terms == {f"train/loss_{name}", *(["train/loss_dis", "train/loss_div"] if plus else [])}
    assert {"val/top1", "val/top5", "val/macro_top1", "val/loss"} <= set(record.metrics)


@pytest.mark.parametrize("name", LEARNT)
def test_what_a_loss_learns_is_trained_with_the_network(make_config: Any, name: str) -> None:
    training = Training(make_config(ARMS[name], **ONE))
    before = {key: value.clone() for key, value in training.objective.state_dict().items()}
    assert before
    list(training)
    for key, value in training.objective.state_dict().items():
        assert not torch.equal(value, before[key])


@pytest.mark.parametrize("name", LEARNT)
def test_what_a_loss_learns_is_drawn_from_the_trials_seed_only(make_config: Any, name: str) -> None:
    torch.manual_seed(1)
    one = Training(make_config(ARMS[name], **ONE))
    torch.manual_seed(2)
    same = Training(make_config(ARMS[name], **ONE))
    other = Training(make_config(ARMS[name], seed=4, **ONE))
    plain = Training(make_config({"name": "ce"}, **ONE))
    for key, value in one.objective.state_dict().items():
        assert torch.equal(value, same.objective.state_dict()[key])
        assert not torch.equal(value, other.objective.state_dict()[key])
    for key, value in one.network.state_dict().items():
        assert torch.equal(value, plain.network.state_dict()[key])


@pytest.mark.parametrize("name", LEARNT)
def test_a_training_with_a_learnt_loss_goes_on_bit_for_bit(make_config: Any, name: str) -> None:
    loss = {**ARMS[name], "plus": PLUS}
    whole = Training(make_config(loss, folder="whole", **TWO))
    list(whole)

    asked = iter(["go"] * 6 + ["leave"])
    broken = Training(make_config(loss, folder="broken", **TWO), control=lambda: next(asked))
    with pytest.raises(Interrupted) as caught:
        list(broken)
    again = Training(make_config(loss, folder="broken", **TWO), Path(caught.value.checkpoint))
    list(again)
    for part in ("network", "objective"):
        expected = getattr(whole, part).state_dict()
        found = getattr(again, part).state_dict()
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), key


def test_arcface_with_mc_loss_on_top_learns(make_config: Any) -> None:
    loss = {**ARMS["arcface"], "plus": PLUS}
    records = list(Training(make_config(loss, train={"epochs": 8})))
    assert records[-1].metrics["train/loss"] < records[0].metrics["train/loss"]
    assert records[-1].metrics["train/top1"] > 2 / 12
