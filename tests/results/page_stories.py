"""Sweep folders that have all that a page shows: predictions, channel maps, a packed store."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from PIL import Image
from results_stories import EXPERIMENT, confirms, epochs, record, write_sweep

from mcl_bench import data
from mcl_bench.data.predictions import write_predictions
from mcl_bench.records import TestGrant, TrialRecord
from mcl_bench.spec import load

GRANT = TestGrant(cell="story", key="0" * 16, seed=0, entry="0" * 64)


def search(cell: str, values: list[float], **changes: Any) -> list[TrialRecord]:
    """Complete search trials with these values at different settings."""
    config = record(cell).config
    return [
        record(
            cell,
            trial=number,
            value=value,
            epochs=epochs([value / 2, value]),
            config={
                **config,
                "model.xi": 2 + number % 3,
                "train.optimizer.lr": 0.001 * (1 + number),
                **({"loss.mu": 0.1 * (1 + number)} if "loss.mu" in config else {}),
            },
            finished=1_700_000_000.0 + number,
            **changes,
        )
        for number, value in enumerate(values)
    ]


def confirmed(cell: str, values: list[float], **changes: Any) -> list[TrialRecord]:
    """Confirm trials of the first search trial, with curves."""
    return [
        dataclasses.replace(one, epochs=epochs([value / 2, value], metric="gap/top1"))
        for one, value in zip(confirms(cell, values, **changes), values, strict=True)
    ]


def leave_answers(folder: Path, record: TrialRecord, *, classes: list[str], ids: list[str]) -> None:
    """The files of a confirm trial: every second image is taken for the next class."""
    place = folder / "trials" / record.cell / f"{record.stage}-{record.trial}"
    place.mkdir(parents=True, exist_ok=True)
    label = [number % len(classes) for number in range(len(ids))]
    said = [(one + number % 2) % len(classes) for number, one in enumerate(label)]
    write_predictions(
        place / "predictions.parquet",
        image_ids=ids,
        label=label,
        predicted=said,
        correct=[a == b for a, b in zip(label, said, strict=True)],
        top5=[True] * len(ids),
        probability=[0.5] * len(ids),
    )
    (place / "confusion.json").write_text(json.dumps({"classes": classes, "counts": []}))
    Image.new("RGB", (64, 48), "teal").save(place / "channels.png")


def pack(home: Path, folder: Path) -> list[str]:
    """The ids of the story's test images, which are packed; its folder then says so."""
    spec = load(folder / "experiment.yaml").cells[0].spec.data
    packed = data.prepare(spec, store=home / "store")
    facts = {
        "id": "0a1b2c3d",
        "created": 1_700_000_000.0,
        "version": "0.1.0",
        "digests": {"parts": packed.digest},
    }
    (folder / "sweep.json").write_text(json.dumps(facts))
    return list(data.open_test(packed, GRANT).ids)


def write_whole_story(
    home: Path,
    *,
    classes: list[str],
    text: str = EXPERIMENT,
    cells: tuple[str, str] = ("parts-convnet-ce", "parts-convnet-mc"),
    **changes: Any,
) -> Path:
    """A finished sweep of two arms that has everything; mc is clearly better."""
    ce, mc = cells
    confirm = [*confirmed(ce, [0.50, 0.52, 0.51]), *confirmed(mc, [0.70, 0.71, 0.72])]
    records = [
        *search(ce, [0.6, 0.5, 0.4]),
        *search(mc, [0.7, 0.65, 0.5]),
        record(ce, trial=3, state="pruned", value=0.2),
        record(mc, trial=3, state="failed", value=None, cause="CUDA out of memory", **changes),
        *confirm,
    ]
    folder = write_sweep(home, records, text=text)
    ids = pack(home, folder)
    for one in confirm:
        leave_answers(folder, one, classes=classes, ids=ids)
    return folder
