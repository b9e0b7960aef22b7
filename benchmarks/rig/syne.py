"""A peer: Syne Tune with its local backend, as its documentation shows it: `python -m rig.syne`.

Its argument is JSON: the fields of `Work`. Its random search asks nothing of a storage and its
results go to a file of its own: it has no tracking. It looks at its trials every `LOOK_SECONDS`;
as it comes, it would every 5 s. Prints what was measured as its last line, as JSON.
"""

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import loguniform
from syne_tune.optimizer.baselines import RandomSearch
from syne_tune.tuner_callback import TunerCallback

from rig.work import SEARCHED, SLOTS, Work

LOOK_SECONDS = 0.1


class Clock(TunerCallback):
    """Notes when the first trial was started and each ended, in which process, and its training."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ends: list[float] = []
        self.pids: Counter[str] = Counter()
        self.busy = 0.0

    def on_start_trial(self, trial: Any) -> None:  # noqa: ARG002
        """A trial is started."""
        self.began = self.began or time.time()

    def on_trial_result(
        self,
        trial: Any,  # noqa: ARG002
        status: str,  # noqa: ARG002
        result: dict[str, Any],
        decision: str,  # noqa: ARG002
    ) -> None:
        """An epoch has ended."""
        self.busy += result["time_epoch_s"]

    def on_trial_complete(self, trial: Any, result: dict[str, Any]) -> None:  # noqa: ARG002
        """A trial has ended."""
        self.ends.append(time.time())
        self.pids[str(result["pid"])] += 1


def run(work: Work) -> dict[str, Any]:
    """Run the trials, keeping what they leave in the current folder; what was measured."""
    clock = Clock()
    space = {name.replace(".", "_"): loguniform(1e-4, 1.0) for name in SEARCHED}
    began = time.time()
    tuner = Tuner(
        trial_backend=LocalBackend(
            entry_point=str(Path(__file__).with_name("syne_trial.py")), num_gpus_per_trial=0
        ),
        scheduler=RandomSearch(
            {**space, "epochs": work.epochs, "seconds": work.seconds},
            metrics=["val_top1"],
            do_minimize=False,
        ),
        stop_criterion=StoppingCriterion(max_num_trials_completed=work.trials),
        n_workers=SLOTS,
        sleep_time=LOOK_SECONDS,
        callbacks=[clock],
        save_tuner=False,
        tuner_name="idle",
    )
    tuner.run()
    ended = time.time()
    if len(clock.ends) < work.trials:
        raise SystemExit(f"not every trial is complete: {len(clock.ends)} of {work.trials}")
    return {
        "wall": ended - began,
        "first": clock.began,
        "ends": clock.ends,
        "busy": clock.busy,
        "pids": clock.pids,
    }


if __name__ == "__main__":
    os.environ["SYNETUNE_FOLDER"] = str(Path.cwd())
    print(json.dumps(run(Work(**json.loads(sys.argv[1])))))  # noqa: T201
