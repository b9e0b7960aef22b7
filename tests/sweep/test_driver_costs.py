"""What a driver writes of the seconds of its trials, and how a budget and other sweeps steer it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tracked import tracked

from mcl_bench.records import EpochRecord
from mcl_bench.results import write_table
from mcl_bench.spec import load
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.ledger import Ledger
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.run import _state
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch

ONE_ARM = ["arms.mc=null", "search.pruner=none"]
ONE_ARM += [f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio")]

OpenDriver = Callable[..., Driver]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves; nothing else does."""
    now = [1000.0]
    monkeypatch.setattr("mcl_bench.sweep.folder.time", Clock(now))
    monkeypatch.setattr("mcl_bench.sweep.limits.time", Clock(now))
    monkeypatch.setattr("mcl_bench.sweep.book.time", Clock(now))
    return now


class Clock:
    """Stands where a module has `time`."""

    def __init__(self, now: list[float]) -> None:
        self._now = now

    def monotonic(self) -> float:
        return self._now[0]

    def time(self) -> float:
        return 1.7e9 + self._now[0]

    def sleep(self, _seconds: float) -> None:
        raise AssertionError("nobody waits here")


@pytest.fixture
def open_driver(
    tmp_path: Path,
    tiny_experiment: str,
    clock: list[float],  # noqa: ARG001 - in place before a driver is
) -> Iterator[OpenDriver]:
    """Opens a driver of the sweep of a name, with all its records; the last one is closed."""
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    held = ExitStack()

    def opened(*overrides: str, name: str = "tiny", gpus: float = 0.0) -> Driver:
        held.close()
        experiment = load(file, [*ONE_ARM, f"name={name}", *overrides])
        folder = SweepFolder(home / "sweeps" / name)
        held.callback(folder.close)
        folder.open(experiment)
        settings = Settings(seed=0, store=home / "store")
        settings.prepare(experiment.cells)
        studies = Studies(
            folder.database,
            sweep=name,
            sweep_id=folder.id,
            cells={cell.id: cell for cell in experiment.cells},
            search=experiment.spec.search,
            seed=0,
        )
        tracker = tracked(name, home)
        held.callback(tracker.close)
        book = Book(
            folder=folder,
            studies=studies,
            tracker=tracker,
            write_table=write_table,
            listener=lambda _event: None,
        )
        driver = Driver(experiment, book=book, studies=studies, settings=settings)
        if not driver.finished:
            driver.open()
            needs = {"CPU": 1.0, "GPU": gpus}
            driver.begin({cell.id: needs for cell in experiment.cells}, slots=1)
        return driver

    with held:
        yield opened


def train(driver: Driver, clock: list[float], *, seconds: float, top1: float = 0.5) -> Any:
    """Let the next trial train for so long, and end; what the driver gave instead, if it did."""
    launch = driver.next()
    if not isinstance(launch, Launch):
        return launch
    clock[0] += seconds
    confirm = launch.trial.id.stage == "confirm"
    scores = {"test/top1": top1} if confirm else {"val/top1": top1, "val/loss": 1 / top1}
    record = EpochRecord(epoch=1, timestamp_ms=1, metrics=scores, last=True)
    driver.on_result(result(launch, seconds, record=json.dumps(record.to_dict())))
    return launch


def result(launch: Launch, seconds: float, **ended: Any) -> dict[str, Any]:
    told = {"seconds": seconds, "spent": json.dumps({"setup": 1.0}), "earlier": "[]", "pid": 1}
    return {"lease": launch.trial.lease, **told, **ended}


def events(driver: Driver, kind: str) -> list[dict[str, Any]]:
    return [event for event in driver._book.folder.events() if event["event"] == kind]


def test_a_device_second_is_a_share_of_a_gpu_and_the_record_says_so(
    open_driver: OpenDriver, clock: list[float]
) -> None:
    driver = open_driver("search.trials=1", "confirm.seeds=1", gpus=0.25)
    assert train(driver, clock, seconds=40.0).trial.keep_weights is False
    assert train(driver, clock, seconds=40.0).trial.keep_weights is True
    assert [record.device_seconds for record in driver._book.records] == [10.0, 10.0]
    driver.end(_state(driver))
    costs = json.loads((driver._book.folder.path / "costs.json").read_text())
    assert costs["slot_seconds"]["training"] == 78.0
    assert costs["device_seconds"]["training"] == 19.5
    assert costs["device_seconds"]["startup"] == 0.5


def test_the_seconds_of_a_trial_that_leaves_or_fails_are_told_and_kept_over_a_resume(
    open_driver: OpenDriver, clock: list[float]
) -> None:
    driver = open_driver("search.trials=2", "confirm.seeds=1")
    launch = driver.next()
    assert isinstance(launch, Launch)
    clock[0] += 30.0
    driver.stop()
    driver.on_result(result(launch, 30.0, outcome="interrupted"))
    driver.end(_state(driver))
    assert _state(driver) == "interrupted"
    driver = open_driver("search.trials=2", "confirm.seeds=1")
    train(driver, clock, seconds=10.0)
    (record,) = driver._book.records
    assert record.device_seconds == 40.0
    launch = driver.next()
    assert isinstance(launch, Launch)
    clock[0] += 7.0
    driver.on_result(result(launch, 7.0, outcome="failed", cause="bug: no"))
    owned = driver._book.ledger.costs(live=True).slot_seconds
    assert {owner: seconds for owner, seconds in owned.items() if seconds} == {
        "startup": 3.0,
        "training": 38.0,
        "failure": 6.0,
    }


def test_a_budget_closes_the_search_for_the_confirmation_and_only_a_raised_one_goes_on(
    open_driver: OpenDriver, clock: list[float]
) -> None:
    # A trial takes 100 s and a confirm trial 143: one and two of them, with what is spare, 429.
    words = ("search.trials=40", "confirm.seeds=2")
    driver = open_driver(*words, f"budget.device_hours={1000 / 3600}")
    given = [train(driver, clock, seconds=100.0) for _ in range(6)]
    given += [train(driver, clock, seconds=143.0) for _ in range(2)]
    stages = [launch.trial.id.stage for launch in given]
    assert stages == ["search"] * 6 + ["confirm"] * 2
    assert isinstance(driver.next(), Finished)
    assert _state(driver) == "budget"
    assert [cell.state() for cell in driver.plan.cells.values()] == ["complete"]
    assert len(events(driver, "close")) == 1
    driver.end(_state(driver))
    again = open_driver(*words, f"budget.device_hours={1000 / 3600}")
    assert again.finished
    assert _state(again) == "budget"
    more = open_driver(*words, f"budget.device_hours={1400 / 3600}")
    assert not more.finished
    assert train(more, clock, seconds=100.0, top1=0.9).trial.id.number == 6
    assert events(more, "drive")[-1]["closed"] is False
    best = more.plan.cells["parts-convnet-ce"].best()
    assert train(more, clock, seconds=143.0).trial.id.stage == "confirm"
    assert best == 6, "the changed best is confirmed anew"


def test_where_the_budget_is_spent_a_running_trial_is_told_to_leave(
    open_driver: OpenDriver, clock: list[float]
) -> None:
    words = ("search.trials=4", "confirm.seeds=1", "budget.hours=0.1")
    driver = open_driver(*words)
    launch = driver.next()
    assert isinstance(launch, Launch)
    clock[0] += 359.0
    assert driver.mind_limits()
    assert not driver.stop_file.exists()
    clock[0] += 2.0
    assert not driver.mind_limits()
    assert driver.stop_file.exists()
    driver.on_result(result(launch, 361.0, outcome="interrupted"))
    assert driver.next() is None
    assert _state(driver) == "budget"
    driver.end(_state(driver))
    assert driver._book.folder.closed
    assert open_driver(*words).finished


def test_with_reuse_a_search_trial_is_told_what_another_sweep_knows_and_confirms_are_trained(
    open_driver: OpenDriver, clock: list[float]
) -> None:
    words = ("search.trials=2", "confirm.seeds=1", "search.metric=val/loss")
    first = open_driver("search.trials=2", "confirm.seeds=1", name="first")
    for top1 in (0.5, 0.8, 0.6):
        train(first, clock, seconds=100.0, top1=top1)
    driver = open_driver(*words, "search.reuse=true")
    confirm = train(driver, clock, seconds=100.0)
    assert confirm.trial.id.stage == "confirm"
    assert isinstance(driver.next(), Finished)
    known = [record for record in driver._book.records if record.stage == "search"]
    assert [record.state for record in known] == ["duplicate"] * 2
    assert [record.value for record in known] == [1 / 0.5, 1 / 0.8]
    names = [f"first/parts-convnet-ce/search-{number}" for number in range(2)]
    assert [record.duplicate_of for record in known] == names
    assert [record.device_seconds for record in known] == [0.0, 0.0]
    costs = Ledger(driver._book.folder.events()).costs(live=True)
    assert (costs.duplicates, costs.saved_seconds) == (2, 200.0)
    without = open_driver(*words, name="third")
    assert train(without, clock, seconds=1.0).trial.id.stage == "search"
