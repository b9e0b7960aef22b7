"""Hand-made records and sweep folders with known answers, for the tests of the results."""

import json
from pathlib import Path
from typing import Any

from mcl_bench.records import EpochRecord, TrialRecord
from mcl_bench.spec import dump_yaml, load

EXPERIMENT = """\
version: 1
name: story
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc, mu: 0.5, lambda: 5}}
train: {epochs: 3, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: 2
  sampler: random
  pruner: none
  space:
    model.xi: {int: [2, 4]}
    train.optimizer.lr: {log: [0.001, 0.05]}
    arms.mc.loss.mu: {log: [0.1, 2]}
confirm: {seeds: 3}
"""

CE, MC = "parts-convnet-ce", "parts-convnet-mc"
SEEDS = (11, 22, 33)


def epochs(values: list[float], *, metric: str = "val/top1") -> tuple[EpochRecord, ...]:
    """One record for each value, a second apart."""
    return tuple(
        EpochRecord(
            epoch=number,
            timestamp_ms=1_700_000_000_000 + 1000 * number,
            metrics={metric: value, "train/loss": 1 / number},
            last=number == len(values),
        )
        for number, value in enumerate(values, start=1)
    )


def record(cell: str = CE, stage: str = "search", trial: int = 0, **changes: Any) -> TrialRecord:
    """A complete trial of 90 seconds, with these changes."""
    value = changes.pop("value", 0.5)
    arm = cell.rpartition("-")[2]
    loss = {"loss.name": arm} | ({"loss.mu": 0.5, "loss.lambda": 5.0} if arm == "mc" else {})
    plain: dict[str, Any] = {
        "sweep": "story",
        "cell": cell,
        "dataset": "parts",
        "backbone": "convnet",
        "weights": "none",
        "arm": arm,
        "xi": "3",
        "maps": 12,
        "parameters": 1000,
        "stage": stage,
        "trial": trial,
        "seed": 7,
        "state": "complete",
        "key": f"{cell}-{stage}-{trial}".ljust(64, "0"),
        "config": {
            "data.name": "parts",
            "data.resize.short": 32,
            "model.xi": 3,
            "train.epochs": 2,
            "confirm.refit": True,
            **loss,
        },
        "started": 1_700_000_000.0,
        "finished": 1_700_000_090.5,
        "run_id": "",
        "value": value,
        "device_seconds": 90.0,
        "versions": {"torch": "2.14"},
    }
    if stage == "search":
        plain["val_top1"] = value
    else:
        plain |= {"test_top1": value, "test_macro_top1": value, "of": 0, "val_top1": None}
    return TrialRecord(**(plain | changes))


def confirms(
    cell: str, values: list[float], *, of: int = 0, first: int = 0, **changes: Any
) -> list[TrialRecord]:
    """A confirm trial for each value, with the seeds that all cells share."""
    return [
        record(cell, "confirm", first + k, seed=SEEDS[k], value=value, of=of, **changes)
        for k, value in enumerate(values)
    ]


def look_of(record: TrialRecord) -> dict[str, Any]:
    """What the ledger holds of a confirm trial, as it did before there was a chain."""
    return {
        "cell": record.cell,
        "key": record.key,
        "seed": record.seed,
        "of": record.of,
        "time": 1.0,
    }


def write_sweep(
    home: Path,
    records: list[TrialRecord],
    *,
    text: str = EXPERIMENT,
    looks: list[dict[str, Any]] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> Path:
    """A sweep's folder as a driver leaves it; without `looks` each confirm trial has its own."""
    file = home.parent / "story.yaml"
    file.write_text(text)
    experiment = load(file)
    folder = home / "sweeps" / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(f"# sweep 0a1b2c3d\n{dump_yaml(experiment.resolved)}")
    if looks is None:
        looks = [look_of(entry) for entry in records if entry.stage == "confirm"]
    written = {
        "records.jsonl": [entry.to_json() for entry in records],
        "looks.jsonl": [json.dumps(look) for look in looks],
        "events.jsonl": [json.dumps(event) for event in events or []],
    }
    for name, lines in written.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder
