"""What each confirm seed of a row scored on test: its last epoch, and its best one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcl_bench.records import TrialRecord

GAP = "gap/top1"
"""Top-1 on test after each epoch, of which nothing is ever chosen."""


@dataclass(frozen=True, kw_only=True)
class SeedScore:
    """One confirm seed: top-1 on test of its last epoch, which counts, and of its best epoch.

    `best_top1` and `best_epoch` are None where test was scored after the last epoch only.
    `answers` names the trial that was trained, as `cell/confirm-number`: its folder holds the
    predictions.
    """

    seed: int
    top1: float
    best_top1: float | None
    best_epoch: int | None
    answers: str


def seed_scores(
    confirm: Sequence[TrialRecord], twins: Mapping[str, TrialRecord]
) -> tuple[SeedScore, ...]:
    """The scores of a row's confirm trials, in the order of their seeds.

    `twins` has the sweep's confirm trials by name: a duplicate has the epochs of the one that it
    is a duplicate of.
    """
    found = [
        _score(record, twins.get(record.duplicate_of or "", record))
        for record in confirm
        if record.test_top1 is not None
    ]
    return tuple(sorted(found, key=lambda score: score.seed))


def trial_name(record: TrialRecord) -> str:
    """How a trial is named within its sweep: `cell/stage-number`."""
    return f"{record.cell}/{record.stage}-{record.trial}"


def _score(record: TrialRecord, trained: TrialRecord) -> SeedScore:
    assert record.test_top1 is not None, "only scored trials are confirmed"
    scored = [
        (value, -epoch.epoch)
        for epoch in trained.epochs
        if (value := epoch.metrics.get(GAP)) is not None and math.isfinite(value)
    ]
    best, epoch = max(scored, default=(None, None))
    return SeedScore(
        seed=record.seed,
        top1=record.test_top1,
        best_top1=best,
        best_epoch=None if epoch is None else -epoch,
        answers=trial_name(trained),
    )
