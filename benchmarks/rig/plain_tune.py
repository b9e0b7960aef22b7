"""The peers: Ray Tune as its documentation shows it: `python -m rig.plain_tune WORK`.

WORK is JSON: the fields of `Work`, `reuse` (a class trainable with `reuse_actors`, otherwise a
function), and `tracking` (with `MLflowLoggerCallback` on a SQLite store). OptunaSearch keeps its
trials in memory. Prints what was measured as its last line, as JSON.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from rig.work import SEARCHED, SLOTS, Work, train_epoch


class Clock(tune.Callback):
    """Notes when Tune's loop began and each trial ended, in which process, and its training."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ends: list[float] = []
        self.pids: Counter[str] = Counter()
        self.busy = 0.0

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ARG002
        """Tune is about to ask for trials; the first time, no actor has been started yet."""
        self.began = self.began or time.time()

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Any],  # noqa: ARG002
        trial: Any,  # noqa: ARG002
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """An epoch has ended."""
        self.busy += result["time/epoch_s"]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A trial has ended."""
        self.ends.append(time.time())
        self.pids[str(trial.last_result["pid"])] += 1


def function(work: Work) -> Any:
    """A function trainable."""

    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, work.epochs + 1):
            tune.report(train_epoch(work, epoch, config[SEARCHED[0]]))

    return train


def reusable(work: Work) -> type[tune.Trainable]:
    """A class trainable whose actor can be used again."""

    class Train(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.lr = config[SEARCHED[0]]
            self.epoch = 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            metrics = train_epoch(work, self.epoch, self.lr)
            return {**metrics, "done": self.epoch == work.epochs}

    return Train


def run(work: Work, *, reuse: bool, tracking: bool) -> dict[str, Any]:
    """Run the trials in the current folder; what was measured, as plain values."""
    folder = Path.cwd()
    clock = Clock()
    store = f"sqlite:///{folder / 'mlflow.db'}"
    tracker = [MLflowLoggerCallback(tracking_uri=store, experiment_name="idle")]
    began = time.time()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        tuner = tune.Tuner(
            tune.with_resources(reusable(work) if reuse else function(work), {"cpu": 1}),
            param_space={name: tune.loguniform(1e-4, 1.0) for name in SEARCHED},
            tune_config=tune.TuneConfig(
                metric="val/top1",
                mode="max",
                search_alg=OptunaSearch(),
                num_samples=work.trials,
                max_concurrent_trials=SLOTS,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                name="idle",
                storage_path=str(folder / "tune"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False if reuse else None),
                callbacks=[*(tracker if tracking else []), clock],
            ),
        )
        found = tuner.fit()
    finally:
        ray.shutdown()
    ended = time.time()
    if found.num_terminated != work.trials or found.num_errors:
        raise SystemExit(f"not every trial is complete: {found.num_terminated} of {work.trials}")
    return {
        "wall": ended - began,
        "first": clock.began,
        "ends": clock.ends,
        "busy": clock.busy,
        "pids": clock.pids,
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    flags = {name: asked.pop(name) for name in ("reuse", "tracking")}
    print(json.dumps(run(Work(**asked), **flags)))  # noqa: T201
