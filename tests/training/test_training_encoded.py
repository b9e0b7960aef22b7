"""A training on images kept as JPEG."""

import math
from typing import Any

from mcl_bench.training import Training


def test_a_training_on_encoded_images_learns_and_repeats(make_config: Any) -> None:
    train = {"epochs": 2}
    encoded = [
        [record.metrics for record in Training(make_config(folder=name, **both))]
        for name in ("one", "two")
        for both in [{"data": {"store": "encoded"}, "train": train}]
    ]
    decoded = [record.metrics for record in Training(make_config(folder="three", train=train))]
    losses = [[epoch["train/loss"] for epoch in run] for run in (*encoded, decoded)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    assert all(
        math.isclose(one, other, rel_tol=0.05) for one, other in zip(*losses[1:], strict=True)
    )
    assert losses[0][1] < losses[0][0]
