"""The work of one trial, the same for ours and for the peers: epochs that take a set time."""

import time
from dataclasses import dataclass

SLOTS = 2
SEARCHED = ("train.optimizer.lr", "train.optimizer.weight_decay")

_MEASURED = (
    "train/loss",
    "train/loss_ce",
    "train/top1",
    "val/top5",
    "val/macro_top1",
    "val/loss",
    "channels/diversity",
    "channels/entropy",
    "channels/peak",
    "channels/alignment",
    "channels/alignment_masked",
    "channels/own_top1",
    "channels/own_energy",
    "time/data_wait_s",
    "best/val/top1",
    "best/epoch",
)
"""What an epoch of a cross-entropy trial reports, beside `val/top1` and its own time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A trial sleeps through its epochs: `epochs` of `seconds` each, 0 for an empty trial.

    Ours has `trials` search trials and as many confirm trials as there are slots.
    """

    trials: int
    epochs: int
    seconds: float


def train_epoch(work: Work, epoch: int, lr: float) -> dict[str, float]:
    """One epoch of nothing; as many metrics as a real one, of which `val/top1` depends on `lr`."""
    began = time.perf_counter()
    if work.seconds:
        time.sleep(work.seconds)
    top1 = epoch / work.epochs / (1 + abs(lr - 0.01))
    return {
        **dict.fromkeys(_MEASURED, top1),
        "val/top1": top1,
        "time/epoch_s": time.perf_counter() - began,
    }
