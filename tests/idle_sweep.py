"""A sweep whose trainings only wait and say where they are: arguments FILE, HOME and ADDRESS.

All but the training is real. A trial that is given a logical GPU needs none: it says which it was
given, in a file of its own under `HOME/places`.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray
from tracked import tracked

from mcl_bench import results
from mcl_bench.records import EpochRecord, TrialConfig
from mcl_bench.spec import load
from mcl_bench.sweep import executor
from mcl_bench.sweep.run import Outlets, run_sweep
from mcl_bench.sweep.worker import TrialWorker
from mcl_bench.training import Spent

EPOCH_SECONDS = 1.0


class IdleTraining:
    """What a worker needs of a `Training`."""

    def __init__(self, trial: TrialConfig, folder: Path) -> None:
        self._trial = trial
        self._folder = folder
        self._began = time.time()
        self.records: list[EpochRecord] = []
        self.spent = Spent()

    @property
    def finished(self) -> bool:
        return len(self.records) == self._trial.settings["train.epochs"]

    def __next__(self) -> EpochRecord:
        time.sleep(EPOCH_SECONDS)
        search = {"val/top1": 0.5, "val/macro_top1": 0.5, "val/loss": 1.0, "train/loss": 1.0}
        metrics = search if self._trial.id.stage == "search" else {"test/top1": 0.5}
        epoch = len(self.records) + 1
        last = epoch == self._trial.settings["train.epochs"]
        record = EpochRecord(epoch=epoch, timestamp_ms=epoch, metrics=metrics, last=last)
        self.records.append(record)
        if last:
            said = {
                "cell": self._trial.id.cell,
                "device": self._trial.device,
                "gpus": [f"{ray.get_runtime_context().get_node_id()}/{n}" for n in given_gpus()],
                "began": self._began,
                "ended": time.time(),
            }
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{self._trial.lease}.json").write_text(json.dumps(said))
        return record

    def write_checkpoint(self) -> None:
        """There is nothing to keep."""

    def close(self) -> None:
        """There is nothing to end."""


def given_gpus() -> list[str]:
    ids: list[str] = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return ids


def main(file: Path, home: Path, address: str) -> None:
    class IdleWorker(TrialWorker):
        def _open(self, trial: TrialConfig) -> Any:
            self._saved = time.monotonic()
            return IdleTraining(trial, home / "places")

    vars(executor)["TrialWorker"] = IdleWorker
    experiment = load(file)
    outlets = Outlets(
        tracker=tracked(experiment.name, home),
        write_table=partial(results.write_table, metric="val/top1"),
        listener=lambda _event: None,
        check=lambda: None,
    )
    outcome = run_sweep(experiment, home=home, outlets=outlets, address=address)
    print(json.dumps(dict(outcome.trials)))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
