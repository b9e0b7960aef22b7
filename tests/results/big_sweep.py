"""A sweep of any number of trials, drawn: for pages and tables of a size that nobody waits for.

Two data sets × four arms; search trials with a pruner's gaps, some failures of three causes, and
ten confirm trials a cell. The folder holds what `results` reads, and no Optuna storage.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcl_bench.records import EpochRecord, TrialRecord
from mcl_bench.spec import Cell, dump_yaml, load

EXPERIMENT = """\
version: 1
name: big
data: {name: parts, resize: 32, crop: 32}
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc}}
  arcface: {loss: {name: arcface}}
  label_smoothing: {loss: {name: label_smoothing}}
train: {epochs: 10, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: TRIALS
  sampler: random
  pruner: {name: asha, grace: 2, reduction: 2}
  space:
    model.xi: {int: [2, 8]}
    train.optimizer.lr: {log: [0.0001, 0.1]}
    arms.mc.loss.mu: {log: [0.01, 10]}
    arms.mc.loss.lambda: {log: [0.1, 50]}
    arms.mc.loss.mask_ratio: {float: [0.2, 0.8]}
matrix: {data: [{name: parts}, {name: digits}]}
confirm: {seeds: 10}
"""

CELLS = 8
BEGAN = 1_795_000_000.0
SKILL = {"ce": 0.80, "mc": 0.84, "arcface": 0.81, "label_smoothing": 0.80}
CAUSES = ("CUDA out of memory: 12 GiB asked, 3 GiB free", "the worker's node was lost", "NaN loss")


def write_big_sweep(home: Path, *, trials: int = 10_000) -> Path:
    """The folder of a sweep with about `trials` trials under `home`."""
    random_ = random.Random(7)
    search = max(1, trials // CELLS - 10)
    file = home / "big.yaml"
    home.mkdir(parents=True, exist_ok=True)
    file.write_text(EXPERIMENT.replace("TRIALS", str(search)))
    experiment = load(file)
    folder = home / "sweeps" / experiment.name
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(dump_yaml(experiment.resolved))
    facts = {"id": "b16b16b1", "created": BEGAN, "version": "0.1.0", "digests": {}}
    (folder / "sweep.json").write_text(json.dumps(facts))
    looks = []
    with (folder / "records.jsonl").open("w", encoding="utf-8") as lines:
        for cell in experiment.cells:
            for record in cell_records(cell, random_, search=search):
                lines.write(f"{record.to_json()}\n")
                if record.stage == "confirm":
                    looks.append({"cell": record.cell, "key": record.key, "seed": record.seed})
    (folder / "looks.jsonl").write_text("".join(f"{json.dumps(look)}\n" for look in looks))
    (folder / "events.jsonl").write_text('{"event": "end", "state": "complete", "time": 1.0}\n')
    return folder


def cell_records(cell: Cell, random_: random.Random, *, search: int) -> Iterator[TrialRecord]:
    """Every trial of one cell: its search, and ten confirm trials of the best."""
    best, best_value = 0, -1.0
    for trial in range(search):
        settings = cell.settings(drawn(cell, random_))
        lr = settings["train.optimizer.lr"]
        top = SKILL[cell.arm] - 0.08 * abs(4 * lr - 0.05) - abs(random_.gauss(0, 0.05))
        luck = random_.random()
        state = "pruned" if luck < 0.4 else "failed" if luck < 0.43 else "complete"
        done = {"pruned": random_.randint(2, 6), "failed": 0}.get(state, 10)
        epochs = curve(top, done, "val/top1", random_)
        value = epochs[-1].metrics["val/top1"] if epochs else None
        if state == "complete" and value is not None and value > best_value:
            best, best_value = trial, value
        cause = random_.choice(CAUSES) if state == "failed" else None
        yield record(cell, "search", trial, settings, epochs, state=state, value=value, cause=cause)
    for k in range(10):
        top = SKILL[cell.arm] + random_.gauss(0, 0.01)
        epochs = curve(top, 10, "gap/top1", random_)
        yield record(
            cell,
            "confirm",
            k,
            cell.settings(),
            epochs,
            value=epochs[-1].metrics["gap/top1"],
            seed=1000 + k,
            of=best,
        )


def drawn(cell: Cell, random_: random.Random) -> dict[str, Any]:
    """One setting of the cell's space, drawn uniformly or by its logarithm."""
    found: dict[str, Any] = {}
    for key, values in cell.space.items():
        low, high = values.ends
        if isinstance(low, int):
            found[key] = random_.randint(low, high)
        elif values.log:
            found[key] = low * (high / low) ** random_.random()
        else:
            found[key] = random_.uniform(low, high)
    return found


def curve(top: float, epochs: int, metric: str, random_: random.Random) -> tuple[EpochRecord, ...]:
    """A rise towards `top` over ten epochs, of which so many were trained."""
    return tuple(
        EpochRecord(
            epoch=epoch,
            timestamp_ms=1_795_000_000_000 + 1000 * epoch,
            metrics={
                metric: max(0.0, top * (1 - 0.5**epoch) + random_.gauss(0, 0.005)),
                "train/loss": 3 * 0.7**epoch,
                "train/top1": min(1.0, top * (1 - 0.4**epoch)),
            },
            last=epoch == 10,
        )
        for epoch in range(1, epochs + 1)
    )


def record(
    cell: Cell,
    stage: Any,
    trial: int,
    settings: dict[str, Any],
    epochs: tuple[EpochRecord, ...],
    *,
    state: Any = "complete",
    value: float | None,
    seed: int = 1,
    of: int | None = None,
    cause: str | None = None,
) -> TrialRecord:
    """A trial's record with these results."""
    started = BEGAN + 12.0 * trial
    return TrialRecord(
        sweep="big",
        cell=cell.id,
        dataset=cell.spec.data.name,
        backbone="convnet",
        weights="none",
        arm=cell.arm,
        xi=str(settings["model.xi"]),
        maps=12 * settings["model.xi"],
        parameters=36_000,
        stage=stage,
        trial=trial,
        seed=seed,
        state=state,
        key=f"{cell.id}/{stage}/{trial}",
        config=settings,
        started=started,
        finished=started + 10.0,
        run_id="",
        of=of,
        epochs=epochs,
        value=value,
        val_top1=value if stage == "search" else None,
        test_top1=value if stage == "confirm" else None,
        test_macro_top1=value if stage == "confirm" else None,
        device_seconds=3.0 * max(1, len(epochs)),
        cause=cause,
        versions={"torch": "2.14.1"},
    )


if __name__ == "__main__":
    print(write_big_sweep(Path(sys.argv[1]), trials=int(sys.argv[2])))  # noqa: T201
