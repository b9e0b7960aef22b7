"""A training whose mask is drawn once goes on with it after an interruption."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mcl_bench.records import TrialConfig
from mcl_bench.training import Interrupted, Training

LOSS = {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.4}


@pytest.mark.parametrize("option", [{"mask_draw": "once"}, {"mask_scope": "sample"}], ids=str)
def test_an_interrupted_training_ends_as_the_undisturbed_one(
    make_config: Callable[..., TrialConfig], option: dict[str, str]
) -> None:
    train = {"epochs": 2}
    config = make_config({**LOSS, **option}, train=train)
    undisturbed = [dict(record.metrics) for record in Training(config)]

    asked = iter(["go", "go", "leave"])
    left = Training(config, control=lambda: next(asked))
    with pytest.raises(Interrupted):
        list(left)
    path = Path(config.folder) / "checkpoint.pt"
    other = make_config({**LOSS, **option}, train=train, folder="other")
    again = [dict(record.metrics) for record in Training(other, path)]
    for one, two in zip(undisturbed, again, strict=True):
        for name in ("train/loss", "train/loss_dis", "val/loss"):
            assert one[name] == two[name]
