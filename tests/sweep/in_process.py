"""A whole sweep in this process, without Ray: real trainings, studies, tracker, table and folder.

What Tune does is done here by a loop: every slot's trial trains an epoch in turn. A test can end
the drive at any named point with `Killed`; the next drive finds what was written until then.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from without_ray import Worker

from mcl_bench.cli.run import _tracker
from mcl_bench.results import write_table
from mcl_bench.spec import load
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch

RESOURCES = {"CPU": 1.0, "GPU": 0.0}


class Killed(BaseException):
    """The drive has been ended where a SIGKILL would have ended it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """An experiment file with its overrides, and where its record is kept."""

    file: Path
    home: Path
    overrides: Sequence[str] = ()
    slots: int = 2
    disturb: Callable[[], bool] | None = None
    """Asked before each epoch: whether the worker is lost now."""
    echo: Callable[[], bool] | None = None
    """Asked after each epoch: whether something heard before, of any lease, is heard again."""

    @contextmanager
    def opened(self) -> Iterator[Driver]:
        """Its driver, opened and begun; the lock is let go at the end."""
        experiment = load(self.file, list(self.overrides))
        folder = SweepFolder(self.home / "sweeps" / experiment.name)
        folder.open(experiment)
        tracker = _tracker(experiment, self.home, verbose=False, new=False)
        try:
            settings = Settings(seed=experiment.spec.train.seed, store=self.home / "store")
            settings.prepare(experiment.cells)
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
                write_table=write_table,
                listener=lambda _event: None,
            )
            driver = Driver(experiment, book=book, studies=studies, settings=settings)
            driver.open()
            driver.begin({cell.id: RESOURCES for cell in experiment.cells})
            yield driver
        finally:
            tracker.close()
            folder.close()

    def drive(self, chance: random.Random | None = None) -> None:
        """Run what is left to its end; with `chance` slots take turns at random."""
        with self.opened() as driver:
            live: list[Worker] = []
            heard: list[dict[str, Any]] = []
            while True:
                while len(live) < self.slots:
                    step = driver.next()
                    if not isinstance(step, Launch):
                        break
                    live.append(Worker(step, driver))
                if not live:
                    assert isinstance(step, Finished), "nothing runs and nothing can start"
                    break
                worker = live[0] if chance is None else chance.choice(live)
                live.remove(worker)
                if self._goes_on(driver, worker, heard):
                    live.append(worker)
                if heard and self.echo is not None and self.echo():
                    driver.on_result(random.Random(len(heard)).choice(heard))
            driver.end("complete")

    def _goes_on(self, driver: Driver, worker: Worker, heard: list[dict[str, Any]]) -> bool:
        """Train an epoch of a trial; whether it has another one before it."""
        if self.disturb is not None and self.disturb():
            worker.cleanup()
            driver.on_lost(worker.lease)
            return False
        result: dict[str, Any] = worker.step()
        heard.append(result)
        goes_on = driver.on_result(result) == "go"
        if not goes_on:
            worker.cleanup()
            driver.on_lost(worker.lease)
        return goes_on
