"""A sweep of thousands of empty trials over 20 cells, watched from inside: `python -m rig.soak`.

Its argument is JSON: `trials` in all, `marks` (numbers of ended trials at which to look), and
`ray`. With `ray` it is the whole line, with two slots; without it, this process stands in for Tune
and for the workers: driver, Optuna on SQLite, MLflow on SQLite, the folder's flushed files and the
table are the real ones all the same. What was seen at each mark is printed as the last line.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mcl_bench import results
from mcl_bench.records import EpochRecord
from mcl_bench.results import MlflowTracker, SpooledTracker
from mcl_bench.spec import Experiment, load
from mcl_bench.sweep.book import Book, WriteTable
from mcl_bench.sweep.cluster import QUIET
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch
from rig.ours import idle_worker
from rig.work import SEARCHED, SLOTS, Work, train_epoch

CELLS = 20
SEEDS = 10
EMPTY = Work(trials=1, epochs=1, seconds=0.0)


def experiment_text(trials: int) -> str:
    """An experiment file of that many trials, searched and confirmed, over all cells."""
    lines = [
        "version: 1",
        "name: soak",
        "data: {name: parts, options: {classes: 2, train_per_class: 4, test_per_class: 2, "
        "size: 32}}",
        "model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}",
        "arms:",
        *(
            f"  a{arm:02d}: {{loss: {{name: ce}}, train: {{batch_size: {4 + arm}}}}}"
            for arm in range(CELLS)
        ),
        "train: {epochs: 1}",
        f"search: {{trials: {trials // CELLS - SEEDS}, sampler: tpe, pruner: {{name: none}}, "
        f"space: {{{', '.join(f'{key}: {{log: [0.0001, 0.9]}}' for key in SEARCHED)}}}}}",
        f"confirm: {{seeds: {SEEDS}}}",
        f"resources: {{max_concurrent: {SLOTS}, cpus: 1, gpus: 0}}",
    ]
    return "\n".join(lines) + "\n"


class Watched:
    """The driver, timed: how long it takes to give out a trial, and to take in an end."""

    def __init__(self, driver: Driver, marks: list[int]) -> None:
        self._marks = marks
        self._next: Callable[[], Any] = driver.next
        self._result: Callable[[Mapping[str, Any]], Any] = driver.on_result
        self._given: list[float] = []
        self._heard: list[float] = []
        self._ended = 0
        self.seen: list[dict[str, float]] = []
        vars(driver).update(next=self._timed_next, on_result=self._timed_result)

    def _timed_next(self) -> Any:
        began = time.perf_counter()
        step = self._next()
        if isinstance(step, Launch):
            self._given.append(time.perf_counter() - began)
        return step

    def _timed_result(self, result: Mapping[str, Any]) -> Any:
        began = time.perf_counter()
        decision = self._result(result)
        self._heard.append(time.perf_counter() - began)
        self._ended += 1
        if self._ended in self._marks:
            self.seen.append({"trials": self._ended, **_sizes(), **self._times()})
        return decision

    def _times(self) -> dict[str, float]:
        """The times since the last mark, which are let go."""
        found = {
            "next": statistics.median(self._given),
            "next_p95": statistics.quantiles(self._given, n=20)[-1],
            "result": statistics.median(self._heard),
            "result_p95": statistics.quantiles(self._heard, n=20)[-1],
        }
        self._given.clear()
        self._heard.clear()
        return found


def _sizes() -> dict[str, float]:
    """This process's memory in bytes, and its open files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return {
        "rss": sizes["Rss"],
        "pss": sizes["Pss"],
        "own": sizes["Private_Dirty"],
        "files": len(os.listdir("/proc/self/fd")),
    }


def stand_in(driver: Driver) -> None:
    """Do what Tune and its workers do: give each trial its one epoch, two at a time."""
    live: list[Launch] = []
    while True:
        while len(live) < SLOTS and isinstance(step := driver.next(), Launch):
            live.append(step)
        if not live:
            return
        launch = live.pop(0)
        trial = launch.trial
        metrics = train_epoch(EMPTY, 1, trial.settings[SEARCHED[0]])
        if trial.id.stage == "confirm":
            metrics |= dict.fromkeys(("test/top1", "test/top5", "test/macro_top1"), 0.5)
        now = time.time_ns() // 1_000_000
        record = EpochRecord(epoch=1, timestamp_ms=now, metrics=metrics, last=True)
        told = {"record": json.dumps(record.to_dict()), "earlier": "[]", "done": True}
        driver.on_result({"lease": trial.lease, "seconds": 0.0, "pid": os.getpid(), **told})
        driver.on_lost(trial.lease)


def run(*, trials: int, marks: list[int], ray: bool) -> list[dict[str, float]]:
    """Run the sweep in the current folder; what was seen at each mark."""
    home = Path.cwd() / "runs"
    file = Path.cwd() / "soak.yaml"
    file.write_text(experiment_text(trials))
    experiment = load(file)
    mlflow = MlflowTracker(sweep="soak", uri=f"sqlite:///{home / 'mlflow.db'}", home=home)
    tracker = SpooledTracker(mlflow)
    write_table = partial(results.write_table, metric="val/top1")
    if not ray:
        return _run_here(experiment, home, tracker, write_table, marks)
    os.environ.update(QUIET)  # Ray reads its environment when it is imported
    from mcl_bench.sweep import executor
    from mcl_bench.sweep.run import Outlets, run_sweep

    watched: list[Watched] = []
    execute = executor.execute

    def watching(driver: Driver, *rest: Any, **more: Any) -> None:
        watched.append(Watched(driver, marks))
        execute(driver, *rest, **more)

    vars(executor).update(execute=watching, TrialWorker=idle_worker(EMPTY))
    outlets = Outlets(
        tracker=tracker,
        write_table=write_table,
        listener=lambda _event: None,
        check=lambda: None,
    )
    outcome = run_sweep(experiment, home=home, outlets=outlets)
    if outcome.trials != {"complete": trials}:
        raise SystemExit(f"not every trial is complete: {outcome.trials}")
    return watched[0].seen


def _run_here(
    experiment: Experiment,
    home: Path,
    tracker: SpooledTracker,
    write_table: WriteTable,
    marks: list[int],
) -> list[dict[str, float]]:
    """The sweep without Ray."""
    folder = SweepFolder(home / "sweeps" / experiment.name)
    folder.open(experiment)
    settings = Settings(seed=experiment.spec.train.seed, store=home / "store")
    settings.prepare(experiment.cells)
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
    driver.begin({cell.id: {"CPU": 1.0, "GPU": 0.0} for cell in experiment.cells})
    watched = Watched(driver, marks)
    stand_in(driver)
    driver.end("complete")
    tracker.close()
    folder.close()
    return watched.seen


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))  # noqa: T201
