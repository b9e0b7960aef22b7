"""The trainable that Tune places: one `Training` at a time, in an actor that many trials reuse.

Tune may set an actor up for a trial and then give that trial to another actor, so nothing is
built before the first step. Whatever a trial's own code raises is written to its `log.txt` and
told to the driver as a result: the actor lives on for the next trial.
"""

import contextlib
import json
import os
import signal
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune

from mcl_bench.records import EpochRecord, TrialConfig, Word

if TYPE_CHECKING:
    from mcl_bench.training import Training

SAVE_SECONDS = float(os.environ.get("MCL_BENCH_SAVE_SECONDS", "60"))
"""How long a trial trains before it writes its next checkpoint."""

STOP_SECONDS = 0.5
"""How often a running trial looks whether the driver has said stop."""


class TrialWorker(tune.Trainable):
    """Runs trials, one after another; `config["trial"]` and a result's `record` are JSON."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the config and load torch; the training is built in the first step."""
        from mcl_bench import training  # noqa: F401 - so that no trial waits for it

        self._config = config
        self._training: Training | None = None
        self._leaving = False
        self._saved = self._looked = time.monotonic()
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            signal.signal(signal.SIGTERM, self._terminate)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in this process, unless it has been told to end."""
        self._close()
        if self._leaving:
            raise RuntimeError("this worker has had SIGTERM and takes no further trial")
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; the last result of a trial carries `done`."""
        began = time.monotonic()
        trial = TrialConfig.from_dict(json.loads(self._config["trial"]))
        earlier: list[EpochRecord] = []
        try:
            if self._training is None:
                self._training = self._open(trial)
                earlier = list(self._training.records)
            record = earlier.pop() if self._training.finished else next(self._training)
            if not record.last and self._due():
                self._training.write_checkpoint()
        except Exception as error:  # noqa: BLE001 - the border of a trial: told to the driver
            self._close()
            ended = _ending(error)
            if ended["outcome"] != "interrupted":
                _log(trial, traceback.format_exc())
        else:
            ended = {"record": json.dumps(record.to_dict()), "done": record.last}
            _log(trial, _line(record))
            if record.last:
                self._close()
        told = json.dumps([record.to_dict() for record in earlier])
        return {
            "lease": trial.lease,
            "seconds": time.monotonic() - began,
            "earlier": told,
            "pid": os.getpid(),
            **ended,
        }

    def cleanup(self) -> None:
        """End what is open."""
        self._close()

    def _open(self, trial: TrialConfig) -> "Training":
        from mcl_bench.training import Training

        checkpoint = self._config.get("checkpoint")
        self._saved = time.monotonic()
        return Training(
            trial, None if checkpoint is None else Path(checkpoint), control=self._control
        )

    def _control(self) -> Word:
        if self._leaving or self._stopped():
            return "leave"
        return "save" if self._due() else "go"

    def _due(self) -> bool:
        """Whether it is time for a checkpoint; if so, its clock starts again."""
        if time.monotonic() - self._saved < SAVE_SECONDS:
            return False
        self._saved = time.monotonic()
        return True

    def _stopped(self) -> bool:
        """Whether the driver has said stop: a file, which every node that runs trials can see."""
        if time.monotonic() - self._looked < STOP_SECONDS:
            return False
        self._looked = time.monotonic()
        return Path(self._config["stop"]).exists()

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        if self._training is None:
            raise SystemExit(0)
        self._leaving = True

    def _close(self) -> None:
        if self._training is not None:
            self._training.close()
            self._training = None


def _ending(error: Exception) -> dict[str, Any]:
    from mcl_bench.training import Diverged, Interrupted

    if isinstance(error, Interrupted):
        return {"outcome": "interrupted", "done": True}
    outcome = "diverged" if isinstance(error, Diverged) else "failed"
    return {"outcome": outcome, "cause": f"{type(error).__name__}: {error}", "done": True}


def _line(record: EpochRecord) -> str:
    metrics = " ".join(f"{name}={value:.4g}" for name, value in sorted(record.metrics.items()))
    return f"epoch {record.epoch}: {metrics}\n"


def _log(trial: TrialConfig, text: str) -> None:
    path = Path(trial.folder).parent / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
