"""What is repeatable: two runs of one file give the same table, but for times and ids of runs."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from running import mcl_bench
from tracked import tracked

from mcl_bench.records import EpochRecord
from mcl_bench.results import write_table
from mcl_bench.spec import Experiment, load
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch

NOT_REPEATED = {"device_seconds", "wait_seconds", "started", "finished", "run_id", "epochs"}
"""Times, and the id that MLflow draws; of epochs the timestamps are left out."""

GRID = (
    "search.space.train.optimizer.lr={log: [0.001, 0.05], points: 2}",
    "search.space.arms.mc.loss.lambda=null",
    "search.space.arms.mc.loss.mask_ratio=null",
    "search.space.arms.mc.loss.mu={float: [0.1, 0.9], step: 0.8}",
)


def value_of(settings: Mapping[str, Any], seed: int, epoch: int) -> float:
    """What a training with these settings would be worth after so many epochs."""
    lr, xi = settings["train.optimizer.lr"], settings["model.xi"]
    noise = random.Random(f"{seed} {sorted(settings.items())}").random() / 50
    best = 1 - abs(math.log10(lr / 0.01)) / 3 - abs(xi - 3) / 10 + noise
    return round(best * (1 - 0.5**epoch), 9)


def report(launch: Launch, epoch: int) -> dict[str, Any]:
    """What a worker says after an epoch."""
    trial = launch.trial
    value = value_of(trial.settings, trial.seed, epoch)
    last = epoch == trial.settings["train.epochs"]
    metrics = {"train/loss": 1 - value, "val/top1": value, "val/macro_top1": value, "val/loss": 0.5}
    if trial.id.stage == "confirm":
        metrics = {"train/loss": 1 - value, **({"test/top1": value} if last else {})}
    record = EpochRecord(epoch=epoch, timestamp_ms=epoch, metrics=metrics, last=last)
    return {
        "lease": trial.lease,
        "seconds": 1.0,
        "earlier": "[]",
        "pid": 1,
        "record": json.dumps(record.to_dict()),
    }


def drive(experiment: Experiment, home: Path, *, slots: int, rng: random.Random) -> Driver:
    """Run a sweep in this process: real records, no training; who goes on next is drawn."""
    folder = SweepFolder(home / "sweeps" / experiment.name)
    folder.open(experiment)
    settings = Settings(seed=0, store=home.parent / "store")
    settings.prepare(experiment.cells)
    studies = Studies(
        folder.database,
        sweep=experiment.name,
        sweep_id=folder.id,
        cells={cell.id: cell for cell in experiment.cells},
        search=experiment.spec.search,
        seed=0,
    )
    tracker = tracked(experiment.name, home)
    book = Book(
        folder=folder,
        studies=studies,
        tracker=tracker,
        write_table=write_table,
        listener=lambda _event: None,
    )
    driver = Driver(experiment, book=book, studies=studies, settings=settings)
    driver.open()
    driver.begin({cell.id: {"CPU": 1.0, "GPU": 0.0} for cell in experiment.cells})
    running: dict[str, tuple[Launch, int]] = {}
    while True:
        step = None
        while len(running) < slots and isinstance(step := driver.next(), Launch):
            running[step.trial.lease] = (step, 0)
        if not running:
            assert isinstance(step, Finished)
            break
        lease = rng.choice(list(running))
        launch, epoch = running[lease]
        running[lease] = (launch, epoch + 1)
        if driver.on_result(report(launch, epoch + 1)) == "stop":
            del running[lease]
    driver.end("complete")
    tracker.close()
    folder.close()
    return driver


def table(home: Path) -> list[dict[str, Any]]:
    """The rows of the results table, but what is not repeated."""
    found = []
    for row in pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist():
        reports = [(one["epoch"], one["last"], shown(one["metrics"])) for one in row["epochs"]]
        kept = {name: value for name, value in row.items() if name not in NOT_REPEATED}
        found.append({**kept, "epochs": reports})
    return sorted(found, key=lambda row: (row["cell"], row["stage"], row["trial"]))


def shown(metrics: Any) -> list[tuple[str, float]]:
    """The metrics of an epoch but what no two runs share, in the order of their names."""
    unlike = ("time/", "system/")
    return sorted(one for one in dict(metrics).items() if not one[0].startswith(unlike))


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc"])
def test_without_a_pruner_the_order_of_endings_changes_nothing(
    tmp_path: Path, tiny_experiment: str, sampler: str
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    own = [f"search.sampler={sampler}", *(GRID if sampler == "grid" else ["search.trials=6"])]
    experiment = load(file, ["search.pruner=none", *own])
    runs = []
    for seed in (1, 2):
        home = tmp_path / str(seed)
        driver = drive(experiment, home, slots=2, rng=random.Random(seed))
        told = [json.loads(line) for line in folder_lines(home)]
        runs.append((table(home), [(one["cell"], one["trial"]) for one in told]))
        assert {cell.state() for cell in driver.plan.cells.values()} == {"complete"}
    (first, ended), (second, ended_otherwise) = runs
    assert first == second
    assert ended != ended_otherwise, "the endings were shuffled"
    assert len(first) == sum(cell.trials + 2 for cell in experiment.cells)


def folder_lines(home: Path) -> list[str]:
    """The records in the order in which trials ended."""
    return (home / "sweeps/tiny/records.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("tpe", "asha"), ("cmaes", "hyperband"), ("gp", "asha"), ("random", "median")],
)
def test_one_at_a_time_every_sampler_and_pruner_gives_the_same_twice(
    tmp_path: Path, tiny_experiment: str, sampler: str, pruner: str
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    experiment = load(
        file,
        [
            f"search.sampler={sampler}",
            f"search.pruner={{name: {pruner}, grace: 1}}",
            f"search.trials={7 if sampler == 'gp' else 12}",
            "train.epochs=9",
            "arms.mc=null",
            "search.space.arms.mc=null",
        ],
    )
    first, second = (tmp_path / "1", tmp_path / "2")
    for home in (first, second):
        drive(experiment, home, slots=1, rng=random.Random(0))
    assert table(first) == table(second)
    assert {row["state"] for row in table(first)} >= {"complete", "pruned"}


@pytest.mark.soak
def test_trained_on_two_slots_random_gives_the_same_twice(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    overrides = ("search.sampler=random", "search.pruner=none", "resources.max_concurrent=2")
    homes = (tmp_path / "1", tmp_path / "2")
    for home in homes:
        mcl_bench("sweep", str(file), *overrides, home=home)
    first, second = map(table, homes)
    assert first == second
    assert len(first) == 2 * (4 + 2)
