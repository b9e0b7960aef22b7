"""Ray Tune as a disposable executor: it places trials and says what became of them.

One Tuner runs all cells. The searcher asks the driver, the scheduler passes each epoch on and
stops what the driver prunes; neither knows a metric, and neither is ever saved or restored.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import NODE_IP
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from mcl_bench.records import UserError
from mcl_bench.sweep.disk import disk_told
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.lost import LostWorkers, read_error
from mcl_bench.sweep.nodes import NODE_LABEL, Nodes
from mcl_bench.sweep.placing import Placer
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.scratch import scratch_folder
from mcl_bench.sweep.worker import Spoiled, TrialWorker

TRIALS_PER_TUNER = 1000
"""Tune keeps memory and files for every trial it has seen: a new Tuner now and then drops them."""


class DriverSearcher(Searcher):
    """Asks for trials as there is room for them, and tells the driver of lost workers."""

    def __init__(self, driver: Driver, placer: Placer, *, nodes: Nodes) -> None:
        super().__init__()
        self._driver = driver
        self._placer = placer
        self._nodes = nodes
        self._leases: dict[str, str] = {}
        self._given = 0

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config; None while there is no room or nothing can start yet."""
        self._driver.mind_limits()  # Tune asks again and again while trials run
        if self._given >= TRIALS_PER_TUNER or self._driver.stopping:
            return str(Searcher.FINISHED)
        try:
            with disk_told():
                step = self._placer.next()
        except UserError as error:
            self._driver.break_off(error)
            return str(Searcher.FINISHED)
        if step is None:
            return None
        if isinstance(step, Finished):
            return str(Searcher.FINISHED)
        self._given += 1
        self._leases[trial_id] = step.trial.lease
        return {
            "trial": json.dumps(step.trial.to_dict()),
            "checkpoint": step.checkpoint,
            "stop": str(self._driver.stop_file),
            "full": str(self._driver.limits.quota.full_file),
            "resources": dict(step.resources),
            "alone": step.alone,
            "nodes": self._nodes.selector,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A Tune trial has ended: by its last result, by our stop, or with its worker."""
        lease = self._leases.pop(trial_id, None)
        if lease is None:
            return
        self._placer.free(lease)
        try:
            with disk_told():
                if not error and result is not None and result.get("lease") == lease:
                    self._driver.on_result(result)
                self._driver.on_lost(lease)
        except UserError as fault:
            self._driver.break_off(fault)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Epochs reach the driver through the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is saved: the Optuna storage is the only memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is restored."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class DriverScheduler(FIFOScheduler):
    """Passes each epoch to the driver, stops the trials that it prunes, and says why one is lost.

    Tune tells a scheduler of an error before it tells the searcher.
    """

    def __init__(self, driver: Driver, placer: Placer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver = driver
        self._placer = placer
        self._lost = LostWorkers()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """CONTINUE or STOP, as the driver decides."""
        self._placer.stands(result["lease"], result[NODE_IP])
        try:
            with disk_told():
                go = self._driver.on_result(result) == "go"
        except UserError as error:
            self._driver.break_off(error)
            go = False
        return str(TrialScheduler.CONTINUE if go else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Tell the driver how a trial's worker ended, as far as Ray knows."""
        error = read_error(trial)
        try:
            with disk_told():
                if isinstance(error, Spoiled):
                    self._driver.on_result(json.loads(error.args[0]))
                elif error is not None:
                    lease = json.loads(trial.config["trial"])["lease"]
                    self._driver.on_lost(lease, cause=self._lost.cause(error))
        except UserError as fault:
            self._driver.break_off(fault)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def execute(driver: Driver, placer: Placer, *, nodes: Nodes, verbose: bool = False) -> None:
    """Run the driver's trials on the connected Ray until none is left."""
    # Tune keeps one trial pending by default, so actors would start one after another; how many
    # there may be, the placer says.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(TRIALS_PER_TUNER)
    while not (driver.finished or driver.stopping):
        searcher = DriverSearcher(driver, placer, nodes=nodes)
        scheduler = DriverScheduler(driver, placer)
        with scratch_folder() as scratch:
            _tuner(searcher, scheduler, scratch=scratch, verbose=verbose).fit()


def _tuner(
    searcher: DriverSearcher, scheduler: DriverScheduler, *, scratch: Path, verbose: bool
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(TrialWorker, _placement),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch),
            verbose=2 if verbose else 0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _placement(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """What a trial needs. Tune uses a process again for trials that are placed alike.

    For one bundle both strategies are the same: the other one asks for a process of its own.
    """
    wanted = {kind: need for kind, need in config["resources"].items() if need > 0}
    strategy = "STRICT_PACK" if config["alone"] else "PACK"
    where = None if config["nodes"] is None else [{NODE_LABEL: config["nodes"]}]
    return tune.PlacementGroupFactory([wanted], strategy=strategy, bundle_label_selector=where)


def _trial_name(trial: Trial) -> str:
    return str(trial.trial_id)
