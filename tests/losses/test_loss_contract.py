"""Every loss of an experiment file keeps to the contract, with and without MC-Loss on top."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from mcl_bench.testing import LossContract

torch.set_num_threads(1)

MAIN: list[dict[str, Any]] = [
    {"name": "ce"},
    {"name": "label_smoothing"},
    {"name": "focal"},
    {"name": "focal", "gamma": 0.5},
    {"name": "cosine"},
    {"name": "cosine", "ce_weight": 0.0},
    {"name": "center"},
    {"name": "sphereface"},
    {"name": "cosface"},
    {"name": "arcface"},
    {"name": "lgm"},
    {"name": "own_losses:Sharpened", "options": {"gamma": 3.0}},
    {"name": "own_losses:Plain"},
]
PLUS = {"plus": {"name": "mc", "mu": 0.5}}
LOSSES = [{"name": "mc"}, *MAIN, *({**loss, **PLUS} for loss in MAIN)]


def shown(loss: Mapping[str, Any]) -> str:
    return "+".join([loss["name"], *(["mc"] if "plus" in loss else [])])


class TestLosses(LossContract):
    @pytest.fixture(params=LOSSES, ids=shown)
    def loss(self, request: pytest.FixtureRequest) -> Mapping[str, Any]:
        given: Mapping[str, Any] = request.param
        return given
