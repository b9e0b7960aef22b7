"""Training: networks, optimisation and evaluation, put together as an iterator of epochs."""

from mcl_bench.training.check import check
from mcl_bench.training.checkpoint import CheckpointError
from mcl_bench.training.epoch import Diverged
from mcl_bench.training.facts import NetworkFacts, describe, source_sha256
from mcl_bench.training.listing import BackboneFacts, list_backbones
from mcl_bench.training.machine import count_gpus, default_device
from mcl_bench.training.pieces import SMALLEST_PIECE
from mcl_bench.training.predictor import Predictor
from mcl_bench.training.spent import Spent
from mcl_bench.training.trial import Interrupted, Training, run_trial

__all__ = [
    "SMALLEST_PIECE",
    "BackboneFacts",
    "CheckpointError",
    "Diverged",
    "Interrupted",
    "NetworkFacts",
    "Predictor",
    "Spent",
    "Training",
    "check",
    "count_gpus",
    "default_device",
    "describe",
    "list_backbones",
    "run_trial",
    "source_sha256",
]
