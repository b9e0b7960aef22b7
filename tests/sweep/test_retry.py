"""Failed trials that are run again: prepared by one call, run by the next driver; no Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from running import mcl_bench, read_lines
from test_driver import ONE_CELL, driving, launched, report, result

from mcl_bench.records import TrialRecord, UserError
from mcl_bench.results import MlflowTracker, Row, leaderboard, read_records
from mcl_bench.spec import Experiment, load
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.retry import retry
from mcl_bench.sweep.trials import Launch

CELL = "parts-convnet-ce"
SMALL = ("search.trials=2", "confirm.seeds=2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def file(tmp_path: Path, tiny_experiment: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture
def drive(home: Path, file: Path) -> Callable[..., Any]:
    return lambda: driving(home, file, *SMALL)


@pytest.fixture
def experiment(file: Path) -> Experiment:
    return load(file, [*ONE_CELL, *SMALL])


def fail(driver: Driver, launch: Launch, cause: str = "bug: KeyError: x") -> None:
    driver.on_result(result(launch, outcome="failed", cause=cause))


def win(driver: Driver, launch: Launch, *, top1: float = 0.5) -> None:
    driver.on_result(report(launch, 1, top1=top1, last=True))


def by_name(home: Path) -> dict[tuple[str, int], TrialRecord]:
    return {(one.stage, one.trial): one for one in read_records(home / "sweeps/tiny")}


def the_row(home: Path) -> Row:
    (row,) = leaderboard(home, ["tiny"])
    return row


def ended(driver: Driver) -> None:
    assert isinstance(driver.next(), Finished)
    whole = driver.plan.cells[CELL].state() == "complete"
    driver.end("complete" if whole else "failed")


def test_a_failed_search_trial_is_run_again_with_its_settings_and_the_pair_counts_as_one(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        first = launched(driver)
        fail(driver, first, "oom: MemoryError: ")
        # alone first, then for good
        fail(driver, launched(driver), "oom: MemoryError: ")
        win(driver, launched(driver), top1=0.4)
        for _ in range(2):
            win(driver, launched(driver))
        ended(driver)
    (marked,) = retry(experiment, home=home, name="tiny", kind="oom")
    assert (marked.stage, marked.trial) == ("search", 0)
    assert retry(experiment, home=home, name="tiny") == [], "once is enough"
    with drive() as driver:
        assert driver.plan.cells[CELL].state() == "search"
        again = launched(driver)
        assert again.trial.id.number == 2
        assert again.trial.settings == first.trial.settings
        assert again.trial.key == first.trial.key
        win(driver, again, top1=0.9)
        assert driver.plan.cells[CELL].best() == 2
        for _ in range(2):
            confirm = launched(driver)
            assert confirm.trial.id.stage == "confirm"
            win(driver, confirm)
        ended(driver)
    records = by_name(home)
    assert records["search", 0].state == "retried"
    assert (records["search", 2].state, records["search", 2].retry_of) == ("complete", 0)
    row = the_row(home)
    assert (row.trials, row.n, row.state) == (2, 2, "complete")


def test_a_failed_confirm_trial_is_run_again_on_its_seed_and_its_look_counts_once(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        for top1 in (0.4, 0.6):
            win(driver, launched(driver), top1=top1)
        win(driver, launched(driver))
        lost = launched(driver)
        fail(driver, lost, "data: DataError: the packed file is damaged")
        ended(driver)
    (marked,) = retry(experiment, home=home, name="tiny")
    assert (marked.stage, marked.trial, marked.of) == ("confirm", 1, 1)
    with drive() as driver:
        again = launched(driver)
        assert (again.trial.id.stage, again.trial.id.number) == ("confirm", 2)
        assert again.trial.seed == lost.trial.seed
        win(driver, again)
        ended(driver)
    records = by_name(home)
    assert (records["confirm", 2].retry_of, records["confirm", 2].of) == (1, 1)
    row = the_row(home)
    assert (row.n, row.test_looks, row.state) == (2, 2, "complete")


def test_optuna_keeps_the_failure_and_mlflow_says_that_it_was_retried(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        fail(driver, launched(driver))
        win(driver, launched(driver))
        database, study_id = driver._book.folder.database, driver._book.folder.id
    retry(experiment, home=home, name="tiny")
    with drive() as driver:
        win(driver, launched(driver))
        (study,) = (
            optuna.load_study(study_name=name, storage=database)
            for name in optuna.get_all_study_names(database)
            if name.endswith("search")
        )
        assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
        assert study.trials[2].user_attrs["retry_of"] == 0
        driver._book._tracker.settle(60)
        tracker = MlflowTracker(sweep="tiny", uri=f"sqlite:///{home / 'mlflow.db'}", home=home)
        tracker.open_sweep(sweep_id=study_id, config=experiment.resolved)
        told = {one.trial.number: one.state for one in tracker.inventory().trials}
        assert told == {0: "retried", 1: "complete", 2: "complete"}


def test_a_driver_killed_after_the_ask_of_a_retry_asks_it_once(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        fail(driver, launched(driver))
        win(driver, launched(driver))
    retry(experiment, home=home, name="tiny")
    with drive() as driver:
        again = launched(driver)
    with drive() as driver:
        taken_up = launched(driver)
        assert taken_up.trial.id == again.trial.id
        win(driver, taken_up)
        assert launched(driver).trial.id.stage == "confirm"
    records = by_name(home)
    assert records["search", 2].retry_of == 0


def test_a_failure_whose_end_was_told_to_nobody_can_be_retried(
    drive: Callable[..., Any],
    experiment: Experiment,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver died between the line of `records.jsonl` and Optuna's tell."""

    def killed(*_args: Any) -> None:
        raise KeyboardInterrupt

    with drive() as driver:
        launch = launched(driver)
        monkeypatch.setattr(driver._book, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            fail(driver, launch)
    assert len(retry(experiment, home=home, name="tiny")) == 1
    with drive() as driver:
        again = launched(driver)
        assert again.trial.id.number == 1
        assert again.trial.settings == launch.trial.settings


def test_a_retry_that_fails_again_can_be_retried_again(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        fail(driver, launched(driver))
        win(driver, launched(driver))
    for number in (2, 3):
        assert len(retry(experiment, home=home, name="tiny")) == 1
        with drive() as driver:
            again = launched(driver)
            assert again.trial.id.number == number
            fail(driver, again)
    chain = {name: record.retry_of for name, record in by_name(home).items()}
    assert chain == {
        ("search", 0): None,
        ("search", 1): None,
        ("search", 2): 0,
        ("search", 3): 2,
    }


def test_a_confirm_trial_of_a_setting_that_is_best_no_more_is_left_as_it_is(
    drive: Callable[..., Any], experiment: Experiment, home: Path, file: Path
) -> None:
    with drive() as driver:
        for top1 in (0.4, 0.6):
            win(driver, launched(driver), top1=top1)
        fail(driver, launched(driver))
        win(driver, launched(driver))
    with driving(home, file, "search.trials=3", "confirm.seeds=2") as driver:
        win(driver, launched(driver), top1=0.9)
    assert retry(experiment, home=home, name="tiny") == []


def test_a_sweep_that_is_being_run_is_left_alone(
    drive: Callable[..., Any], experiment: Experiment, home: Path
) -> None:
    with drive() as driver:
        fail(driver, launched(driver))
        before = (home / "sweeps/tiny/records.jsonl").read_bytes()
        with pytest.raises(UserError, match="being run by another driver") as refused:
            retry(experiment, home=home, name="tiny")
        assert refused.value.exit_code == 2
        assert (home / "sweeps/tiny/records.jsonl").read_bytes() == before


def test_the_verb_says_what_it_prepared_and_what_runs_it(
    drive: Callable[..., Any], home: Path
) -> None:
    with drive() as driver:
        for _ in range(2):
            fail(driver, launched(driver), "disk: OSError: No space left on device")
        ended(driver)
    none = mcl_bench("retry", "tiny", "--cause", "oom", home=home)
    assert none.stdout == "nothing to retry: no trial of sweep tiny has failed of oom\n"
    assert "causes: config, diverged, oom" in (
        mcl_bench("retry", "tiny", "--cause", "omm", home=home, code=2).stderr
    )
    assert "there is no sweep tinny" in mcl_bench("retry", "tinny", home=home, code=2).stderr
    done = mcl_bench("retry", "tiny", "--failed", "--cause", "disk", home=home).stdout
    assert f"{CELL}/search-0: disk: OSError: No space left on device" in done
    assert "2 search will run again" in done
    assert f"mcl-bench sweep {home}/sweeps/tiny/experiment.yaml" in done
    again = json.loads(mcl_bench("retry", "tiny", "--json", home=home).stdout)
    assert again["retried"] == []
    said = [one for one in read_lines(home / "sweeps/tiny/events.jsonl") if one["event"] == "retry"]
    assert [one["trial"] for one in said] == [0, 1]
    status = json.loads(mcl_bench("status", "tiny", "--json", home=home).stdout)
    assert status["sweeps"][0]["trials"] == {"retried": 2}
    with drive() as driver:
        assert [launched(driver).trial.id.number for _ in range(2)] == [2, 3]
