"""The driver without Ray: failures by kind, retries alone, late and doubled reports, clocks."""

import json
import math
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from running import read_lines
from sqlalchemy import event
from test_driver import driving, launched, report, result

from mcl_bench.records import EpochRecord, RunError
from mcl_bench.sweep.breaker import ALIKE
from mcl_bench.sweep.disk import disk_told
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.lease import named_lease
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.trials import Launch

OOM = "oom: OutOfMemoryError: CUDA out of memory"
CELL = "parts-convnet-ce"


@pytest.fixture
def drive(tmp_path: Path, tiny_experiment: str) -> Callable[..., Any]:
    """Opens a driver of one cell; called again, it goes on with what the one before has left."""
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    return lambda *overrides, **words: driving(tmp_path / "runs", file, *overrides, **words)


def failed(launch: Launch, cause: str) -> dict[str, Any]:
    return result(launch, outcome="failed", cause=cause)


def states(driver: Driver) -> dict[tuple[str, int], str]:
    return {(one.stage, one.trial): one.state for one in driver._book.records}


def events(driver: Driver, kind: str) -> list[dict[str, Any]]:
    lines = read_lines(driver._book.folder.path / "events.jsonl")
    return [line for line in lines if line["event"] == kind]


def test_a_trial_out_of_memory_is_launched_once_more_alone_and_nothing_beside_it(
    drive: Callable[..., Any],
) -> None:
    with drive(
        "search.trials=4",
        resources={"CPU": 1.0, "GPU": 0.5},
        alone={"CPU": 1.0, "GPU": 1.0},
    ) as driver:
        first, beside = launched(driver), launched(driver)
        assert first.resources["GPU"] == 0.5
        assert not first.alone
        driver.on_result(failed(first, OOM))
        again = launched(driver)
        assert again.trial.id == first.trial.id
        assert again.trial.threads == first.trial.threads
        assert again.alone
        assert again.resources == {"CPU": 1.0, "GPU": 1.0}
        assert driver.next() is None, "nothing starts before it has been heard of"
        driver.on_result(report(beside, 1))
        assert driver.next() is None
        assert driver.on_result(report(again, 1)) == "go"
        assert launched(driver).trial.id.number == 2
        driver.on_result(failed(again, OOM))
        assert states(driver) == {("search", 0): "failed"}
        (record,) = driver._book.records
        assert record.cause == OOM


def test_the_end_of_a_lone_trial_lets_the_others_go_on(drive: Callable[..., Any]) -> None:
    for ending in ("lost", "failed"):
        with drive("search.trials=8") as driver:
            first = launched(driver)
            driver.on_result(failed(first, OOM))
            again = launched(driver)
            assert again.trial.id == first.trial.id
            assert driver.next() is None
            if ending == "lost":
                driver.on_lost(again.trial.lease)
                third = launched(driver)
                assert third.trial.id == first.trial.id
                assert third.alone, "it stays alone whatever else befalls it"
                driver.on_result(failed(third, "bug: KeyError: x"))
            else:
                driver.on_result(failed(again, "bug: KeyError: x"))
            assert launched(driver).trial.id != first.trial.id


def test_a_worker_that_the_memory_monitor_killed_counts_as_out_of_memory(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=2") as driver:
        first = launched(driver)
        driver.on_lost(first.trial.lease, cause="oom: Task was killed")
        again = launched(driver)
        assert again.alone
        driver.on_lost(again.trial.lease, cause="oom: Task was killed")
        assert states(driver) == {("search", 0): "failed"}


def test_a_driver_that_goes_on_still_knows_that_a_trial_is_to_be_alone(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=3") as driver:
        first, second = launched(driver), launched(driver)
        driver.on_result(failed(second, OOM))
        assert launched(driver).alone
    with drive("search.trials=3") as driver:
        again = launched(driver)
        assert again.trial.id == second.trial.id
        assert again.alone
        driver.on_result(failed(again, OOM))
        assert states(driver) == {("search", 1): "failed"}
        assert launched(driver).trial.id == first.trial.id


def test_preemption_is_never_counted_however_often(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1") as driver:
        for _ in range(10):
            driver.on_result(result(launched(driver), outcome="interrupted"))
            driver.on_lost(launched(driver).trial.lease, cause="preempted: its node was taken away")
        assert states(driver) == {}
        launch = launched(driver)
        driver.on_result(report(launch, 1, last=True))
        assert states(driver) == {("search", 0): "complete"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_divergence(drive: Callable[..., Any], value: float) -> None:
    with drive("search.trials=2", "confirm.seeds=1") as driver:
        assert driver.on_result(report(launched(driver), 1, top1=value)) == "stop"
        driver.on_result(report(launched(driver), 1, last=True))
        confirm = launched(driver)
        assert driver.on_result(report(confirm, 1, top1=value, last=True)) == "stop"
        assert states(driver) == {
            ("search", 0): "diverged",
            ("search", 1): "complete",
            ("confirm", 0): "failed",
        }
        causes = {one.stage: one.cause for one in driver._book.records if one.cause}
        assert causes == {
            "search": f"diverged: val/top1 is {value}",
            "confirm": f"diverged: test/top1 is {value}",
        }
        assert isinstance(driver.next(), Finished)


def test_five_alike_stop_the_sweep_and_running_trials_leave(drive: Callable[..., Any]) -> None:
    with drive("search.trials=9") as driver:
        beside = launched(driver)
        for number in range(ALIKE):
            assert not driver.stopping
            driver.on_result(failed(launched(driver), f"bug: KeyError: {number}"))
        assert driver.stopping
        assert driver.stop_file.exists()
        assert isinstance(driver.broken, RunError)
        assert f"KeyError: {ALIKE - 1}" in str(driver.broken)
        assert "mcl-bench retry tiny" in str(driver.broken)
        driver.on_result(result(beside, outcome="interrupted"))
        driver.end("failed")
    with drive("search.trials=9") as driver:
        assert launched(driver).trial.id == beside.trial.id
        assert launched(driver).trial.id.number == ALIKE + 1


def test_what_is_told_twice_counts_once(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1", "confirm.seeds=1") as driver:
        launch = launched(driver)
        assert driver.on_result(report(launch, 1)) == "go"
        assert driver.on_result(report(launch, 1, top1=0.9)) == "go"
        assert driver.on_result(report(launch, 2, top1=0.4)) == "go"
        assert driver.on_result(report(launch, 1, top1=0.9)) == "go", "out of order"
        last = report(launch, 3, top1=0.3, last=True)
        assert [driver.on_result(last), driver.on_result(last)] == ["stop", "stop"]
        (record,) = driver._book.records
        assert [one.metrics["val/top1"] for one in record.epochs] == [0.5, 0.4, 0.3]
        assert record.device_seconds == 3.0
        assert [one["epoch"] for one in events(driver, "report")] == [1, 2, 3]
        assert len(events(driver, "tell")) == 1
        lines = (driver._book.folder.path / "records.jsonl").read_text().splitlines()
        assert len(lines) == 1


def test_what_comes_after_a_trials_end_is_dropped_whatever_it_says(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=1", "confirm.seeds=1") as driver:
        launch = launched(driver)
        driver.on_result(report(launch, 1, top1=0.3, last=True))
        for late in (
            report(launch, 2, top1=0.9, last=True),
            failed(launch, "bug: KeyError: late"),
            result(launch, outcome="interrupted"),
        ):
            assert driver.on_result(late) == "stop"
        driver.on_lost(launch.trial.lease)
        assert states(driver) == {("search", 0): "complete"}
        assert launched(driver).trial.id.stage == "confirm"


def test_a_worker_that_skips_an_epoch_is_taken_for_lost(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1") as driver:
        launch = launched(driver)
        driver.on_result(report(launch, 1))
        assert driver.on_result(report(launch, 3)) == "stop"
        (again,) = events(driver, "relaunch")
        assert again["cause"] == "lost: epoch 3 was told without the one before it"
        launch = launched(driver)
        earlier = [json.loads(report(launch, 2)["record"])]
        from_checkpoint = {**report(launch, 3), "earlier": json.dumps(earlier)}
        assert driver.on_result(from_checkpoint) == "go", "a checkpoint remembers the second"


def test_a_clock_that_goes_back_ends_no_trial_before_its_start(
    drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with drive("search.trials=1", "confirm.seeds=1") as driver:
        launch = launched(driver)
        monkeypatch.setattr(time, "time", lambda: now - 86_400)
        driver.on_result(report(launch, 1, last=True))
        (record,) = driver._book.records
        assert record.finished == record.started
        assert launched(driver).trial.id.stage == "confirm"
    monkeypatch.undo()
    with drive("search.trials=1", "confirm.seeds=1") as driver:
        driver.on_result(report(launched(driver), 1, last=True))
        assert set(states(driver).values()) == {"complete"}


def test_a_new_lease_takes_the_checkpoint_of_the_last_one_whatever_the_clocks_say(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=1") as driver:
        first = launched(driver)
        folder = Path(first.trial.folder)
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_text("older, by a node whose clock is a day ahead")
        ahead = time.time() + 86_400
        os.utime(folder / "checkpoint.pt", (ahead, ahead))
        driver.on_lost(first.trial.lease)
        second = launched(driver)
        assert second.checkpoint == str(folder / "checkpoint.pt")
        newer = Path(second.trial.folder)
        newer.mkdir()
        (newer / "checkpoint.pt").write_text("newer")
        driver.on_lost(second.trial.lease)
        third = launched(driver)
        assert third.checkpoint == str(newer / "checkpoint.pt")
        assert not folder.exists()
        assert named_lease(folder.parent) == third.trial.lease


def test_only_what_the_last_lease_left_is_kept(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1", "confirm.seeds=1") as driver:
        driver.on_result(report(launched(driver), 1, last=True))
        lost = launched(driver)
        driver.on_lost(lost.trial.lease)
        confirm = launched(driver)
        for launch in (confirm, lost):  # the lost worker writes after its successor
            Path(launch.trial.folder).mkdir(parents=True)
            (Path(launch.trial.folder) / "confusion.json").write_text(launch.trial.lease)
        driver.on_result(report(confirm, 1, last=True))
        folder = Path(confirm.trial.folder).parent
        assert (folder / "confusion.json").read_text() == confirm.trial.lease
        assert sorted(path.name for path in folder.iterdir()) == ["confusion.json", "log.txt"]


def test_a_hung_trial_is_lost_and_its_log_says_what_it_did(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1") as driver:
        launch = launched(driver)
        folder = Path(launch.trial.folder)
        folder.mkdir(parents=True)
        (folder / "hung.txt").write_text("Timeout (0:30:00)!\n  File x, line 1 in wait\n")
        driver.on_lost(launch.trial.lease)
        (again,) = events(driver, "relaunch")
        assert again["cause"].startswith("hung: no next batch for")
        assert "line 1 in wait" in (folder.parent / "log.txt").read_text()
        assert launched(driver).trial.id == launch.trial.id


def test_a_database_of_optuna_that_is_full_stops_the_sweep_and_tears_nothing(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=200") as driver:
        launch = launched(driver)
        database = driver._book.folder.path / "study.db"
        with sqlite3.connect(database) as reader:
            (pages,) = reader.execute("pragma page_count").fetchone()
        storage = driver._studies._storage
        engine = getattr(storage, "_backend", storage).engine

        @event.listens_for(engine, "begin")
        def limit(connection: Any) -> None:
            connection.exec_driver_sql(f"pragma max_page_count = {pages}")

        with pytest.raises(RunError, match="the disk is full"), disk_told():
            for _ in range(200):
                launched(driver)
        event.remove(engine, "begin", limit)
        asked = len(driver.plan.cells[CELL].search)
    with drive("search.trials=200") as driver:
        numbers = [launched(driver).trial.id.number for _ in range(asked + 1)]
        assert numbers[0] == launch.trial.id.number
        assert numbers == list(range(asked + 1))


def test_a_full_disk_tears_no_line_of_the_record(drive: Callable[..., Any]) -> None:
    """The kernel's limit on a file's size cuts a line in its middle, as a full disk does."""
    with drive("search.trials=9") as driver:
        launch = launched(driver)
        events_file = driver._book.folder.path / "events.jsonl"
        before = events_file.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
            with pytest.raises(RunError, match="the disk is full"), disk_told():
                driver._book.say("note", text="x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert events_file.read_bytes() == before
        driver.on_result(report(launch, 1, last=True))
        assert states(driver) == {("search", 0): "complete"}


def test_optuna_is_told_the_cause(drive: Callable[..., Any]) -> None:
    with drive("search.trials=1") as driver:
        driver.on_result(failed(launched(driver), "data: DataError: the packed file is absent"))
        study = optuna.load_study(
            study_name=f"tiny@{driver._book.folder.id}/{CELL}/search",
            storage=driver._book.folder.database,
        )
        assert study.trials[0].user_attrs["cause"].startswith("data: ")


def test_a_disk_that_is_full_for_mlflows_spool_stops_the_sweep_and_tears_nothing(
    drive: Callable[..., Any],
) -> None:
    with drive("search.trials=1") as driver:
        launch = launched(driver)
        spool = driver._book.folder.path / "spool.jsonl"
        before = spool.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
            (running,) = driver._live.values()
            with pytest.raises(RunError, match="the disk is full"), disk_told():
                driver._book.send(running, EpochRecord(epoch=1, timestamp_ms=1, metrics={}))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert spool.read_bytes() == before
        driver.on_result(report(launch, 1, last=True))
        assert states(driver) == {("search", 0): "complete"}
