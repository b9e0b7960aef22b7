"""The trainable that Tune places: one `Training` at a time, in an actor that many trials reuse.

Tune may set an actor up for a trial and then give that trial to another actor, so nothing is
built before the first step. Whatever a trial's own code raises is written to its `log.txt` and
told to the driver as a result: the actor lives on for the next trial, unless what was raised has
spoiled the process. What was given to another worker meanwhile is not written to any more.
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
from mcl_bench.sweep.failures import cause_of, spoils
from mcl_bench.sweep.lease import Lease, LeaseLost
from mcl_bench.sweep.watchdog import Watchdog

if TYPE_CHECKING:
    from mcl_bench.training import Spent, Training

SAVE_SECONDS = float(os.environ.get("MCL_BENCH_SAVE_SECONDS", "60"))
"""How long a trial trains before it writes its next checkpoint."""

STOP_SECONDS = 0.5
"""How often a running trial looks whether the driver has said stop, or has given it away."""


class Spoiled(Exception):
    """A trial has ended, and its process must end with it; its argument is its last result."""


class Leaving(Exception):
    """This worker has been told to end and takes no further trial."""


class StepClock:
    """Started with a step; `told` is what its seconds went to.

    `setup` are those until the training is open, `wait` and `evaluation` those that the training
    has counted since, and `carried` what its checkpoint's unfinished epoch had taken in another
    lease. What is left of the step is training.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._setup = 0.0
        self._carried = 0.0
        self._wait = self._evaluation = 0.0
        self._spent: Spent | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began

    def opened(self, spent: "Spent") -> None:
        """The training has been opened in this step."""
        self._setup = self.seconds
        self._carried = spent.carried

    def follow(self, spent: "Spent") -> None:
        """The step goes on with the training that counts here."""
        self._spent = spent
        self._wait, self._evaluation = spent.wait, spent.evaluation

    def told(self) -> dict[str, float]:
        """The parts of the step so far that are known, in seconds; those of 0 are left out."""
        parts = {"setup": self._setup, "carried": self._carried}
        if self._spent is not None:
            parts["wait"] = self._spent.wait - self._wait
            parts["evaluation"] = self._spent.evaluation - self._evaluation
        return {name: seconds for name, seconds in parts.items() if seconds > 0}


class TrialWorker(tune.Trainable):
    """Runs trials, one after another; `config["trial"]` and a result's `record` are JSON."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep the config and load torch; the training is built in the first step."""
        from mcl_bench import training  # noqa: F401 - so that no trial waits for it

        self._config = config
        self._training: Training | None = None
        self._lease: Lease | None = None
        self._watchdog = Watchdog()
        self._leaving = False
        self._saved = self._looked = time.monotonic()
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            signal.signal(signal.SIGTERM, self._terminate)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in this process, unless it has been told to end."""
        self._close()
        if self._leaving:
            raise Leaving("this worker has had SIGTERM and takes no further trial")
        self._config = new_config
        self._lease = None
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; the last result of a trial carries `done`.

        Raises:
            Spoiled: the trial has ended in a way that no other should follow in this process.
        """
        clock = StepClock()
        trial = TrialConfig.from_dict(json.loads(self._config["trial"]))
        folder = Path(trial.folder)
        lease = self._lease = self._lease or Lease(folder, lease=trial.lease)
        earlier: list[EpochRecord] = []
        spoiled = False
        opening = self._training is None
        try:
            lease.hold()
            with self._watchdog.watches(folder):
                if self._training is None:
                    self._training = self._open(trial)
                    clock.opened(self._training.spent)
                    earlier = list(self._training.records)
                opening = False
                clock.follow(self._training.spent)
                record = earlier.pop() if self._training.finished else next(self._training)
                lease.hold()
                if not record.last and self._due():
                    self._training.write_checkpoint()
        except Exception as error:  # noqa: BLE001 - the border of a trial: told to the driver
            self._close()
            ended = _ending(error, opening=opening)
            spoiled = spoils(error)
            if ended["outcome"] == "failed" and lease.held:
                _log(trial, traceback.format_exc())
        else:
            ended = {"record": json.dumps(record.to_dict()), "done": record.last}
            _log(trial, _line(record))
            if record.last:
                self._close()
        told = json.dumps([record.to_dict() for record in earlier])
        result = {
            "lease": trial.lease,
            "seconds": clock.seconds,
            "spent": json.dumps(clock.told()),
            "earlier": told,
            "pid": os.getpid(),
            **ended,
        }
        if spoiled:
            raise Spoiled(json.dumps(result))
        return result

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
        self._watchdog.fed()
        word: Word = "go"
        if self._leaving or self._stopped():
            word = "leave"
        elif self._due():
            word = "save"
        if word != "go" and self._lease is not None:
            self._lease.hold()
        return word

    def _due(self) -> bool:
        """Whether it is time for a checkpoint; if so, its clock starts again."""
        if time.monotonic() - self._saved < SAVE_SECONDS:
            return False
        self._saved = time.monotonic()
        return not self._full()

    def _full(self) -> bool:
        """Whether there is no room for another trial's checkpoint, and this one has none yet."""
        if not Path(self._config["full"]).exists():
            return False
        folder = Path(json.loads(self._config["trial"])["folder"])
        return not any(folder.parent.glob("*/checkpoint.pt"))

    def _stopped(self) -> bool:
        """Whether the driver has said stop: a file, which every node that runs trials can see."""
        if time.monotonic() - self._looked < STOP_SECONDS:
            return False
        self._looked = time.monotonic()
        if self._lease is not None:
            self._lease.hold()
        return Path(self._config["stop"]).exists()

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        if self._training is None:
            raise SystemExit(0)
        self._leaving = True

    def _close(self) -> None:
        if self._training is not None:
            self._training.close()
            self._training = None


def _ending(error: Exception, *, opening: bool) -> dict[str, Any]:
    from mcl_bench.training import Interrupted

    if isinstance(error, Interrupted):
        return {"outcome": "interrupted", "done": True}
    if isinstance(error, LeaseLost):
        return {"outcome": "fenced", "done": True}
    return {"outcome": "failed", "cause": cause_of(error, opening=opening), "done": True}


def _line(record: EpochRecord) -> str:
    metrics = " ".join(f"{name}={value:.4g}" for name, value in sorted(record.metrics.items()))
    return f"epoch {record.epoch}: {metrics}\n"


def _log(trial: TrialConfig, text: str) -> None:
    path = Path(trial.folder).parent / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
