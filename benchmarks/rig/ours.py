"""The real line of mcl_bench with trials that train nothing: `python -m rig.ours WORK`.

All of it is real: the driver, Optuna's storage, MLflow's store, the folder's files, Ray Tune. Only
the `Training` inside the worker is replaced, by `IdleTraining`. The worker's class is put in the
executor's place here, in this process; being of `__main__`, it reaches Ray's actors by value.

WORK is JSON: the fields of `Work`, and `tracking`. Runs in the current folder; what was measured
is printed as the last line, as JSON.
"""

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mcl_bench import data, results, training
from mcl_bench.records import (
    CellWords,
    Costs,
    EpochRecord,
    Inventory,
    News,
    TrialConfig,
    TrialName,
    TrialRecord,
)
from mcl_bench.results import MlflowTracker, SpooledTracker
from mcl_bench.spec import load
from mcl_bench.sweep.cluster import QUIET
from mcl_bench.sweep.run import Outlets, run_sweep
from mcl_bench.sweep.tracker import Tracker
from rig.work import SEARCHED, SLOTS, Work, train_epoch

if TYPE_CHECKING:
    from mcl_bench.sweep.worker import TrialWorker

EXPERIMENT = """\
version: 1
name: idle
data: {{name: parts, options: {{classes: 2, train_per_class: 4, test_per_class: 2, size: 32}}}}
model: {{backbone: convnet, weights: none, channels: adapter, head: avgmax}}
arms:
  ce: {{loss: {{name: ce}}}}
train: {{epochs: {epochs}, batch_size: 4}}
search:
  trials: {trials}
  sampler: tpe
  pruner: {{name: none}}
  space:
    {lr}: {{log: [0.0001, 1.0]}}
    {decay}: {{log: [0.00001, 0.1]}}
confirm: {{seeds: {slots}}}
resources: {{max_concurrent: {slots}, cpus: 1, gpus: 0}}
"""


class IdleTraining:
    """What the worker needs of a `Training`, without any training."""

    def __init__(self, trial: TrialConfig, work: Work) -> None:
        self._trial = trial
        self._work = work
        self.records: list[EpochRecord] = []
        self.spent = SimpleNamespace(wait=0.0, evaluation=0.0, carried=0.0)

    @property
    def finished(self) -> bool:
        """True once every epoch has its record."""
        return len(self.records) == self._work.epochs

    def __next__(self) -> EpochRecord:
        epoch = len(self.records) + 1
        metrics = train_epoch(self._work, epoch, self._trial.settings[SEARCHED[0]])
        if self._trial.id.stage == "confirm":
            metrics |= dict.fromkeys(("test/top1", "test/top5", "test/macro_top1"), 0.5)
        record = EpochRecord(
            epoch=epoch,
            timestamp_ms=time.time_ns() // 1_000_000,
            metrics=metrics,
            last=epoch == self._work.epochs,
        )
        self.records.append(record)
        return record

    def write_checkpoint(self) -> None:
        """There is nothing to keep."""

    def close(self) -> None:
        """There is nothing to end."""


def idle_worker(work: Work) -> type["TrialWorker"]:
    """The real worker, but for the training that it opens."""
    from mcl_bench.sweep.worker import TrialWorker

    class IdleWorker(TrialWorker):
        def _open(self, trial: TrialConfig) -> Any:
            self._saved = time.monotonic()
            return IdleTraining(trial, work)

    return IdleWorker


class NoTracker:
    """A `Tracker` that keeps no record: the same sweep without tracking."""

    unsent = 0

    def open_sweep(self, *, sweep_id: str, config: Mapping[str, Any]) -> str:  # noqa: ARG002
        """No run."""
        return "none"

    def retire_sweep(self, *, sweep_id: str, name: str) -> None:
        """Nothing is there."""

    def open_cell(self, cell: CellWords) -> str:  # noqa: ARG002
        """No run."""
        return "none"

    def start_trial(self, config: TrialConfig, *, known_run_id: str | None = None) -> str:  # noqa: ARG002
        """No run."""
        return "none"

    def log_epochs(self, trial: TrialName, records: Sequence[EpochRecord]) -> None:
        """Kept nowhere."""

    def finish_trial(self, record: TrialRecord, *, artifacts: Sequence[Path] = ()) -> None:
        """Kept nowhere."""

    def interrupt_trial(self, trial: TrialName) -> None:
        """Kept nowhere."""

    def finish_cell(
        self,
        cell: str,
        *,
        state: str,
        records: Sequence[TrialRecord],
        weights: Mapping[int, Path] | None = None,
    ) -> None:
        """Kept nowhere."""

    def finish_sweep(self, *, state: str, costs: Costs | None = None) -> None:
        """Kept nowhere."""

    def inventory(self) -> Inventory:
        """Nothing is known."""
        return Inventory(side="none", trials=())

    def news(self) -> News:
        """There is none."""
        return News()

    def send_rest(
        self, cells: Sequence[CellWords], *, sweep_id: str, config: Mapping[str, Any]
    ) -> None:
        """Nothing is left."""

    def settle(self, seconds: float) -> int:  # noqa: ARG002
        """Nothing is left."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


class Timed:
    """A tracker whose calls are timed: `seconds` and `cpu_seconds` of this thread, by call."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu_seconds: dict[str, float] = defaultdict(float)

    @property
    def unsent(self) -> int:
        """How many entries are kept."""
        return self._tracker.unsent

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._tracker, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began
                self.cpu_seconds[name] += time.thread_time() - cpu

        return timed


def run(work: Work, *, tracking: bool) -> dict[str, Any]:
    """Run the sweep in the current folder; what was measured, as plain values."""
    os.environ.update(QUIET)  # Ray reads its environment when it is imported
    from mcl_bench.sweep import executor

    folder = Path.cwd()
    file = folder / "idle.yaml"
    lr, decay = SEARCHED
    file.write_text(
        EXPERIMENT.format(epochs=work.epochs, trials=work.trials, lr=lr, decay=decay, slots=SLOTS)
    )
    experiment = load(file)
    home = folder / "runs"

    def check() -> None:
        data.check(experiment)
        training.check(experiment, data.count_classes(experiment, store=home / "store"))

    tracker = Timed(
        SpooledTracker(
            MlflowTracker(sweep="idle", uri=f"sqlite:///{home / 'mlflow.db'}", home=home)
        )
        if tracking
        else NoTracker()
    )
    events: list[Mapping[str, Any]] = []
    outlets = Outlets(
        tracker=tracker,
        write_table=partial(results.write_table, metric="val/top1"),
        listener=events.append,
        check=check,
    )
    vars(executor)["TrialWorker"] = idle_worker(work)
    began = time.time()
    outcome = run_sweep(experiment, home=home, outlets=outlets)
    ended = time.time()
    if outcome.trials != {"complete": work.trials + SLOTS}:
        raise SystemExit(f"not every trial is complete: {outcome.trials}")
    records = results.read_records(home / "sweeps" / "idle")
    return {
        "wall": ended - began,
        "first": min(event["time"] for event in events if event["event"] == "launch"),
        "ends": [event["time"] for event in events if event["event"] == "tell"],
        "busy": sum(epoch.metrics["time/epoch_s"] for r in records for epoch in r.epochs),
        "pids": Counter(
            str(event["pid"])
            for event in events
            if event["event"] == "report" and event["epoch"] == work.epochs
        ),
        "tracker_seconds": tracker.seconds,
        "tracker_cpu_seconds": tracker.cpu_seconds,
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    tracked = asked.pop("tracking")
    print(json.dumps(run(Work(**asked), tracking=tracked)))  # noqa: T201
