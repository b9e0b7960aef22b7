"""Sweeps whose confirm trials were scored on test each epoch, and that left predictions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from results_stories import CE, EXPERIMENT, MC, confirms, epochs, record, write_sweep

from mcl_bench.records import TrialRecord

CE_EPOCHS = [[0.50, 0.70, 0.60], [0.40, 0.60, 0.70], [0.55, 0.65, 0.65]]
MC_EPOCHS = [[0.70, 0.90, 0.80], [0.60, 0.80, 0.80], [0.95, 0.85, 0.90]]
"""Top-1 on test after each epoch, for each confirm seed."""

NUM_IMAGES = 20


def scored(cell: str, by_seed: Sequence[Sequence[float]], **changes: object) -> list[TrialRecord]:
    """A confirm trial for each seed, scored on test after each of its epochs."""
    found = confirms(cell, [values[-1] for values in by_seed], **changes)
    return [
        dataclasses.replace(entry, epochs=epochs(list(values), metric="gap/top1"))
        for entry, values in zip(found, by_seed, strict=True)
    ]


def scored_sweep(
    home: Path,
    *,
    text: str = EXPERIMENT,
    name: str = "story",
    config: dict[str, object] | None = None,
    ce: Sequence[Sequence[float]] = CE_EPOCHS,
    mc: Sequence[Sequence[float]] = MC_EPOCHS,
) -> Path:
    """A finished sweep of both arms; `config` changes the configuration of all its trials."""
    searched = [record(cell, trial=k, value=0.5 - k / 10) for cell in (CE, MC) for k in range(2)]
    every = [*searched, *scored(CE, ce), *scored(MC, mc)]
    changed = [
        dataclasses.replace(entry, config={**entry.config, **(config or {})}) for entry in every
    ]
    return write_sweep(home, changed, text=text.replace("name: story", f"name: {name}"))


def leave_predictions(
    folder: Path, records: Sequence[TrialRecord], *, num: int = NUM_IMAGES
) -> None:
    """Predictions of each confirm trial that are as often right as its top-1 says."""
    for entry in records:
        assert entry.test_top1 is not None
        right = np.arange(num) < round(entry.test_top1 * num)
        ids = [f"image_{k:03}" for k in range(num)]
        order = np.random.default_rng(entry.seed).permutation(num)
        path = folder / "trials" / entry.cell / f"{entry.stage}-{entry.trial}/predictions.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"image_id": [ids[k] for k in order], "correct": right[order]})
        pq.write_table(table, path)
