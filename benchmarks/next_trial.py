"""P9: the next trial of a cell is decided fast, however many it has: p95 <= 100 ms at 5,000.

A study in a SQLite file is filled to 100, 1,000 and 5,000 finished trials of five parameters, with
the values of the epochs that asynchronous halving let them run. At each of these numbers the calls
that the driver makes for a trial are timed: ask with the sampler `tpe`, what is noted of the run,
a report, the tell. Beside it plain Optuna does the same on a copy of the file: one long-lived
TPESampler, `study.ask`, a `suggest_float` for each parameter, `report`, `should_prune`, `tell`. It
seeds nothing by the trial, so that a killed search goes on with another one.

The two take turns, so that both see the same machine. The file is filled without waiting for the
disk; what is timed waits for it.

Run: `python benchmarks/next_trial.py [N [ROUNDS]]`: up to N finished trials (default 5000), ROUNDS
trials of each (default 60). Exit code 1 if the promise is broken.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from rig.measure import conditions, verdict
from sqlalchemy import event

from mcl_bench.spec import load
from mcl_bench.sweep.samplers import distribution
from mcl_bench.sweep.studies import Studies

PROMISE_MS = 100.0
OURS = "mcl_bench"
NUMBERS = (100, 1_000, 5_000)
CELL = "parts-convnet-mc"
EPOCHS, GRACE, REDUCTION = 27, 1, 3
EXPERIMENT = f"""\
version: 1
name: many
data: {{name: parts}}
model: {{backbone: convnet, weights: none, channels: adapter}}
arms:
  mc: {{loss: {{name: mc}}}}
train: {{epochs: {EPOCHS}}}
search:
  trials: 10000
  sampler: tpe
  pruner: {{name: asha, grace: {GRACE}, reduction: {REDUCTION}}}
  space:
    model.xi: {{int: [2, 10]}}
    train.optimizer.lr: {{log: [1.0e-4, 1.0e-1]}}
    arms.mc.loss.mu: {{log: [1.0e-5, 10]}}
    arms.mc.loss.lambda: {{log: [0.1, 50]}}
    arms.mc.loss.mask_ratio: {{float: [0.2, 0.8]}}
"""

Decide = Callable[[], dict[str, float]]
"""Decides one trial and ends it; returns the seconds of each part."""


def opened(url: str, folder: Path) -> Studies:
    """The studies of the one cell, on this storage, as a driver opens them."""
    file = folder / "many.yaml"
    file.write_text(EXPERIMENT, encoding="utf-8")
    experiment = load(file)
    studies = Studies(
        url,
        sweep=experiment.name,
        sweep_id="00000000",
        cells={cell.id: cell for cell in experiment.cells},
        search=experiment.spec.search,
        seed=0,
    )
    studies.open()
    return studies


def drawn_trial(
    rng: random.Random, space: dict[str, optuna.distributions.BaseDistribution]
) -> FrozenTrial:
    """A finished trial with random parameters; two of three end early, as with halving."""
    sampled = {
        name: rng.randint(2, 10)
        if name == "model.xi"
        else values.low * (values.high / values.low) ** rng.random()
        for name, values in space.items()
    }
    reached = rng.choices((1, 3, 9, EPOCHS), weights=(18, 6, 2, 1))[0]
    value = rng.random()
    reports = {epoch: value * (1 - 0.5**epoch) for epoch in range(1, reached + 1)}
    return create_trial(
        state=TrialState.COMPLETE if reached == EPOCHS else TrialState.PRUNED,
        value=reports[reached],
        params=sampled,
        distributions=space,
        intermediate_values=reports,
    )


def fill(url: str, folder: Path, *, to: int) -> None:
    """Bring the search study to this number of finished trials."""
    storage = optuna.storages.RDBStorage(url)
    event.listen(storage.engine, "connect", lambda one, _: one.execute("PRAGMA synchronous=OFF"))
    storage.engine.dispose()
    study = optuna.load_study(study_name=f"many@00000000/{CELL}/search", storage=storage)
    (cell,) = load(folder / "many.yaml").cells
    space = {name: distribution(values) for name, values in cell.space.items()}
    there = len(study.get_trials(deepcopy=False))
    rng = random.Random(there)
    for _ in range(there, to):
        study.add_trial(drawn_trial(rng, space))
    storage.engine.dispose()


def ours(url: str, folder: Path) -> Decide:
    """What the driver does for a trial."""
    studies = opened(url, folder)
    rng = random.Random(1)

    def decide() -> dict[str, float]:
        watch = Watch()
        trial = studies.ask(CELL)
        watch.note("ask")
        studies.note(CELL, "search", trial.number, key="k" * 64, run_id="r" * 32)
        value = rng.random()
        studies.report(CELL, trial.number, epoch=GRACE, value=value)
        watch.note("report")
        studies.tell(CELL, "search", trial.number, outcome="complete", value=value)
        watch.note("tell")
        return watch.seconds

    return decide


def plain_optuna(url: str) -> Decide:
    """The same work in Optuna's own words, with one long-lived sampler."""
    study = optuna.load_study(
        study_name=f"many@00000000/{CELL}/search",
        storage=url,
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=GRACE, reduction_factor=REDUCTION
        ),
    )
    rng = random.Random(1)

    def decide() -> dict[str, float]:
        watch = Watch()
        trial = study.ask()
        trial.suggest_int("model.xi", 2, 10)
        trial.suggest_float("train.optimizer.lr", 1e-4, 1e-1, log=True)
        trial.suggest_float("loss.mu", 1e-5, 10, log=True)
        trial.suggest_float("loss.lambda", 0.1, 50, log=True)
        trial.suggest_float("loss.mask_ratio", 0.2, 0.8)
        watch.note("ask")
        trial.set_user_attr("key", "k" * 64)
        trial.set_user_attr("run_id", "r" * 32)
        value = rng.random()
        trial.report(value, GRACE)
        trial.should_prune()
        watch.note("report")
        study.tell(trial, value)
        watch.note("tell")
        return watch.seconds

    return decide


class Watch:
    """The seconds of each part of one decision, of all of it, and of all of it on the CPU."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._cpu = time.process_time()
        self.seconds: dict[str, float] = {}

    def note(self, part: str) -> None:
        """The part that has just been done."""
        now = time.perf_counter()
        self.seconds[part], self._last = now - self._last, now
        self.seconds["all"] = now - self._began
        self.seconds["cpu"] = time.process_time() - self._cpu


def timed(url: str, folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """The seconds of each part of each round, of ours and of plain Optuna, each on a copy."""
    file = Path(url.removeprefix("sqlite:///"))
    copies = [f"sqlite:///{shutil.copy(file, file.with_name(name))}" for name in ("a.db", "b.db")]
    sides = {OURS: ours(copies[0], folder), "plain Optuna": plain_optuna(copies[1])}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    for turn in range(rounds + 1):
        for name, decide in sides.items():
            for part, seconds in decide().items():
                if turn:  # the first one reads the whole study
                    found[name].setdefault(part, []).append(1000 * seconds)
    return found


def line(number: int, side: str, found: dict[str, list[float]]) -> str:
    """One side's row of the table, in milliseconds."""
    columns = [("ask", 50), ("ask", 95), ("report", 50), ("tell", 50), ("all", 50), ("all", 95)]
    values = [np.percentile(found[part], share) for part, share in [*columns, ("cpu", 50)]]
    return f"{number:9,}  {side:14}" + "".join(f"{value:10.1f}" for value in values) + "\n"


def main() -> int:
    """Measure, print, and say by the exit code whether the promise is kept."""
    arguments = [int(argument) for argument in sys.argv[1:]]
    most, rounds = (*arguments, *(NUMBERS[-1], 60)[len(arguments) :])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    heads = ("ask p50", "p95", "report p50", "tell p50", "all p50", "p95", "on CPU p50")
    sys.stdout.write(
        f"P9: deciding the next trial, milliseconds; 5 parameters, tpe, asha, SQLite, "
        f"{rounds} trials each; {conditions()}, load {os.getloadavg()[0]:.1f}\n"
        f"{'finished':>9}  {'':14}" + "".join(f"{head:>10}" for head in heads) + "\n"
    )
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="mcl-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'study.db'}"
        opened(url, folder)
        for number in [*[one for one in NUMBERS if one < most], most]:
            fill(url, folder, to=number)
            found = timed(url, folder, rounds)
            sys.stdout.writelines(line(number, side, parts) for side, parts in found.items())
            sys.stdout.flush()
            worst = float(np.percentile(found[OURS]["all"], 95))
    kept = worst <= PROMISE_MS
    promise = f"p95 of ask, report and tell <= {PROMISE_MS:g} ms at {most:,} trials"
    sys.stdout.write(verdict(promise, f"{worst:.1f} ms", kept=kept) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
