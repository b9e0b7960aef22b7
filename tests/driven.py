"""A sweep run by a driver in this process, without Ray; all of its records are real."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tracked import tracked

from mcl_bench.records import EpochRecord
from mcl_bench.results import write_table
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import CHECKPOINT, Launch

EPOCHS = 3
RESOURCES = {"CPU": 1.0, "GPU": 0.0}


@contextmanager
def driving(experiment: Experiment, home: Path) -> Iterator[Driver]:
    """A driver of this sweep, open and begun; its folder is closed at the end."""
    folder = SweepFolder(home / "sweeps" / experiment.name)
    folder.open(experiment)
    tracker = tracked(experiment.name, home)
    try:
        settings = Settings(seed=0, store=home / "store")
        digests = settings.prepare(experiment.cells)
        folder.hold_digests(digests)
        folder.keep(experiment)
        studies = Studies(
            folder.database,
            sweep=experiment.name,
            sweep_id=folder.id,
            cells={cell.id: cell for cell in experiment.cells},
            search=experiment.spec.search,
            seed=experiment.spec.train.seed,
        )
        book = Book(
            folder=folder,
            studies=studies,
            tracker=tracker,
            write_table=partial(write_table, metric=experiment.spec.search.metric),
            listener=lambda _event: None,
        )
        driver = Driver(experiment, book=book, studies=studies, settings=settings)
        driver.open()
        driver.begin({cell.id: RESOURCES for cell in experiment.cells})
        yield driver
    finally:
        tracker.close()
        folder.close()


def told(launch: Launch, **ended: Any) -> dict[str, Any]:
    """What a worker says of its trial."""
    return {"lease": launch.trial.lease, "seconds": 1.0, "earlier": "[]", "pid": 1, **ended}


def epoch(launch: Launch, number: int, top1: float, *, last: bool) -> dict[str, Any]:
    """What a worker says after an epoch."""
    search = {"val/top1": top1, "val/macro_top1": top1, "val/loss": 1.0, "train/loss": 1.0}
    confirm = {"test/top1": top1, "train/loss": 1.0}
    metrics = search if launch.trial.id.stage == "search" else confirm
    record = EpochRecord(epoch=number, timestamp_ms=number, metrics=metrics, last=last)
    return told(launch, record=json.dumps(record.to_dict()))


def train(driver: Driver, launch: Launch) -> None:
    """Play a worker: a trial whose values follow from its settings, until it ends."""
    lease = Path(launch.trial.folder)
    lease.mkdir(parents=True)
    (lease / CHECKPOINT).write_bytes(b"checkpoint")
    (lease.parent / "log.txt").write_text("trained\n")
    if launch.trial.id.stage == "confirm":
        (lease / "predictions.parquet").write_bytes(b"predictions")
    lr = float(launch.trial.settings["train.optimizer.lr"])
    for number in range(1, EPOCHS + 1):
        top1 = round(0.9 - lr + 0.01 * number, 6)
        result = epoch(launch, number, top1, last=number == EPOCHS)
        if driver.on_result(result) == "stop":
            return


def drive(
    experiment: Experiment,
    home: Path,
    *,
    until: Callable[[Driver], bool] = lambda _driver: False,
    at_once: int = 1,
) -> None:
    """Run a sweep to its end, `at_once` trials at a time; or leave it there, as a killed one."""
    with driving(experiment, home) as driver:
        while not until(driver):
            steps = [driver.next() for _ in range(at_once)]
            if isinstance(steps[0], Finished):
                driver.end("complete")
                return
            for launch in steps:
                if isinstance(launch, Launch):
                    train(driver, launch)
