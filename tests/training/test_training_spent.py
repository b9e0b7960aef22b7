"""What a training counts of its own time, and the weights that it leaves."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mcl_bench.records import TrialConfig
from mcl_bench.training import Interrupted, Training

MakeConfig = Callable[..., TrialConfig]


def test_waiting_and_evaluation_are_counted_over_all_epochs(make_config: MakeConfig) -> None:
    training = Training(make_config(train={"epochs": 2}))
    assert (training.spent.wait, training.spent.evaluation, training.spent.carried) == (0, 0, 0)
    first = next(training)
    once = training.spent.evaluation
    second = next(training)
    assert training.spent.evaluation > once > 0
    told = [record.metrics["time/data_wait_s"] for record in (first, second)]
    assert training.spent.wait == pytest.approx(sum(told))
    lasted = sum(record.metrics["time/epoch_s"] for record in (first, second))
    assert training.spent.wait + training.spent.evaluation < lasted


def test_what_an_unfinished_epoch_had_taken_is_carried_and_not_counted_again(
    make_config: MakeConfig,
) -> None:
    asked = 0

    def control() -> Any:
        nonlocal asked
        asked += 1
        return "leave" if asked == 4 else "go"

    config = make_config(train={"epochs": 1})
    with pytest.raises(Interrupted) as caught:
        next(Training(config, control=control))
    again = Training(config, caught.value.checkpoint)
    assert again.spent.carried > 0
    assert again.spent.wait == again.spent.evaluation == 0
    record = next(again)
    assert record.metrics["time/epoch_s"] > again.spent.carried


@pytest.mark.parametrize("loss", ["mc", "arcface"])
def test_the_weights_of_network_and_loss_are_left_once_and_only_if_asked_for(
    make_config: MakeConfig, loss: str
) -> None:
    config = make_config(loss={"name": loss}, stage="confirm", train={"epochs": 2})
    list(Training(config))
    path = Path(config.folder) / "weights.safetensors"
    assert not path.exists()
    keeping = dataclasses.replace(config, keep_weights=True)
    training = Training(keeping)
    next(training)
    assert not path.exists()
    next(training)
    found = load_file(path)
    state = training.network.state_dict()
    assert len(found) == len(state) + len(training.objective.state_dict())
    for name, value in state.items():
        assert torch.equal(found[f"network.{name}"], value)
    path.unlink()
    Training(keeping, training.write_checkpoint())
    assert path.exists(), "a lease that takes up a finished training leaves them too"
