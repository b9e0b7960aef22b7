"""The driver without Ray: what it makes of lost workers, of divergence, and of late reports."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from tracked import tracked

from mcl_bench.records import EpochRecord
from mcl_bench.results import write_table
from mcl_bench.spec import load
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.failures import MAX_LOSSES
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch

RESOURCES = {"CPU": 1.0, "GPU": 0.0}


ONE_CELL = (
    "arms.mc=null",
    "search.pruner=none",
    *(f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio")),
)


@contextmanager
def driving(
    home: Path, file: Path, *overrides: str, resources: Any = RESOURCES, alone: Any = None
) -> Iterator[Driver]:
    """A driver of this experiment that has begun; all its records are real."""
    experiment = load(file, [*ONE_CELL, *overrides])
    folder = SweepFolder(home / "sweeps/tiny")
    folder.open(experiment)
    folder.keep(experiment)
    settings = Settings(seed=0, store=home / "store")
    settings.prepare(experiment.cells)
    studies = Studies(
        folder.database,
        sweep="tiny",
        sweep_id=folder.id,
        cells={cell.id: cell for cell in experiment.cells},
        search=experiment.spec.search,
        seed=0,
    )
    tracker = tracked("tiny", home)
    book = Book(
        folder=folder,
        studies=studies,
        tracker=tracker,
        write_table=write_table,
        listener=lambda _event: None,
    )
    driver = Driver(experiment, book=book, studies=studies, settings=settings)
    driver.open()
    driver.begin(
        {cell.id: resources for cell in experiment.cells},
        alone=alone and {cell.id: alone for cell in experiment.cells},
    )
    try:
        yield driver
    finally:
        tracker.close()
        folder.close()


@pytest.fixture
def driver(tmp_path: Path, tiny_experiment: str) -> Iterator[Driver]:
    """A driver of one cell with one search trial and one confirm seed."""
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    with driving(tmp_path / "runs", file, "search.trials=1", "confirm.seeds=1") as driver:
        yield driver


def launched(driver: Driver) -> Launch:
    step = driver.next()
    assert isinstance(step, Launch)
    return step


def result(launch: Launch, **ended: Any) -> dict[str, Any]:
    return {
        "lease": launch.trial.lease,
        "seconds": 1.0,
        "spent": "{}",
        "earlier": "[]",
        "pid": 1,
        **ended,
    }


def report(launch: Launch, epoch: int, *, top1: float = 0.5, last: bool = False) -> dict[str, Any]:
    search = {"val/top1": top1, "val/macro_top1": top1, "val/loss": 1.0, "train/loss": 1.0}
    scores = search if launch.trial.id.stage == "search" else {"test/top1": top1}
    record = EpochRecord(epoch=epoch, timestamp_ms=epoch, metrics=scores, last=last)
    return result(launch, record=json.dumps(record.to_dict()))


def ended(driver: Driver, stage: str) -> tuple[str, str, str | None]:
    """How the stage's last trial ended: in the record, in Optuna, and why."""
    records = [one for one in driver._book.records if one.stage == stage]
    url = f"sqlite:///{driver._book.folder.path / 'study.db'}"
    name = f"tiny@{driver._book.folder.id}/parts-convnet-ce/{stage}"
    state = optuna.load_study(study_name=name, storage=url).trials[-1].state.name
    return records[-1].state, state, records[-1].cause


def test_three_losses_without_a_new_epoch_fail_a_trial_and_its_log_says_so(driver: Driver) -> None:
    for _ in range(MAX_LOSSES):
        launch = launched(driver)
        assert launch.trial.id.number == 0
        driver.on_result(report(launch, 1))  # heard before, from the second time on
        driver.on_lost(launch.trial.lease)
    assert isinstance(driver.next(), Finished)
    state, in_optuna, cause = ended(driver, "search")
    assert (state, in_optuna) == ("failed", "FAIL")
    assert cause == "lost: the worker has gone (3 times in a row without a new epoch)"
    assert cause in (Path(launch.trial.folder).parent / "log.txt").read_text()
    assert driver.plan.cells["parts-convnet-ce"].shortfall() == (
        "no search trial is complete (1 failed)"
    )


def test_a_new_epoch_forgives_the_losses_before_it(driver: Driver) -> None:
    for epoch in (1, 2):
        driver.on_lost(launched(driver).trial.lease)
        launch = launched(driver)
        driver.on_result(report(launch, epoch))
        driver.on_lost(launch.trial.lease)
    launch = launched(driver)
    driver.on_result(report(launch, 3, last=True))
    assert ended(driver, "search")[:2] == ("complete", "COMPLETE")


def test_divergence_is_a_result_in_search_and_a_failure_in_confirm(driver: Driver) -> None:
    launch = launched(driver)
    driver.on_result(report(launch, 1))
    driver.on_result(result(launch, outcome="failed", cause="diverged: Diverged: train/loss"))
    assert ended(driver, "search") == ("diverged", "PRUNED", "diverged: Diverged: train/loss")
    assert isinstance(driver.next(), Finished)
    assert driver.plan.cells["parts-convnet-ce"].state() == "failed"


def test_a_diverged_confirm_trial_leaves_its_row_short_of_a_seed(driver: Driver) -> None:
    launch = launched(driver)
    driver.on_result(report(launch, 1, last=True))
    confirm = launched(driver)
    assert confirm.trial.grant is not None
    driver.on_result(result(confirm, outcome="failed", cause="diverged: Diverged: train/loss"))
    assert ended(driver, "confirm") == ("failed", "FAIL", "diverged: Diverged: train/loss")
    assert driver.plan.cells["parts-convnet-ce"].shortfall() == (
        "0 of 1 confirm trials are complete (1 failed)"
    )


def test_what_a_lost_lease_says_is_dropped(driver: Driver) -> None:
    first = launched(driver)
    driver.on_lost(first.trial.lease)
    second = launched(driver)
    assert driver.on_result(report(first, 1, top1=0.9, last=True)) == "stop"
    driver.on_result(report(second, 1, top1=0.4, last=True))
    (record,) = driver._book.records
    assert record.value == 0.4
