import json
from pathlib import Path
from typing import Any

import filelock
import pytest
from results_stories import CE, MC, confirms, record, write_sweep

from mcl_bench.results import render_status, status, status_json
from mcl_bench.results.status import SweepStatus


def event(name: str, cell: str = CE, trial: int = 0, **more: Any) -> dict[str, Any]:
    return {"time": 1.0, "event": name, "cell": cell, "stage": "search", "trial": trial, **more}


START: dict[str, Any] = {"time": 0.0, "event": "start", "pid": 1, "host": "here"}

EVENTS = [
    START,
    event("ask"),
    event("launch"),
    event("report", epoch=1, value=0.5),
    event("tell", state="complete", value=0.5),
    event("ask", trial=1),
    event("launch", trial=1),
    event("report", trial=1, epoch=1, value=0.3),
    event("report", trial=1, epoch=2, value=0.4),
    event("ask", MC),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_sweep(tmp_path / "runs", [record(value=0.5)], events=EVENTS)
    return tmp_path / "runs"


def only(home: Path) -> SweepStatus:
    (sweep,) = status(home)
    return sweep


def test_a_ledger_without_a_confirm_trials_look_is_told(home: Path) -> None:
    assert only(home).warnings == ()
    assert list(status_json(status(home))) == ["sweeps"]
    write_sweep(home, [record(value=0.5), *confirms(CE, [0.5, 0.6])], looks=[], events=EVENTS)
    (warning,) = status_json(status(home))["warnings"]
    assert "sweep story: the ledger of looks at test has been tampered with" in warning
    assert f"no look of {CE}/confirm-0, seed 11, and of 1 more" in warning
    text = render_status(status(home), width=500)
    assert f"Warning: {warning}" in text


def test_a_sweep_whose_lock_is_held_is_running_and_tells_what_runs(home: Path) -> None:
    with filelock.FileLock(home / "sweeps/story/lock"):
        sweep = only(home)
        assert only(home).state == "running"
    assert sweep.trials == {"complete": 1, "running": 1, "waiting": 1}
    ce, mc = sweep.cells
    assert [(trial.trial, trial.state, trial.epoch, trial.value) for trial in ce.open] == [
        (1, "running", 2, 0.4)
    ]
    assert [(trial.trial, trial.state) for trial in mc.open] == [(0, "waiting")]
    assert (ce.best_trial, ce.best_value, ce.metric) == (0, 0.5, "val/top1")
    assert (mc.best_trial, mc.best_value) == (None, None)
    assert (ce.state, mc.state) == ("search", "search")


def test_a_sweep_whose_driver_was_killed_is_interrupted_and_so_is_what_ran(home: Path) -> None:
    (home / "sweeps/story/lock").touch()
    sweep = only(home)
    assert sweep.state == "interrupted"
    assert sweep.trials == {"complete": 1, "interrupted": 1, "waiting": 1}


def test_looking_takes_no_lock_that_a_driver_would_miss(home: Path) -> None:
    lock = filelock.FileLock(home / "sweeps/story/lock", timeout=0)
    lock.acquire()
    lock.release()
    only(home)
    lock.acquire()
    lock.release()


def test_a_sweep_that_ended_has_the_state_of_its_end(tmp_path: Path) -> None:
    records = [
        *(record(cell, trial=k) for cell in (CE, MC) for k in range(2)),
        *confirms(CE, [0.8, 0.8, 0.9]),
        *confirms(MC, [0.8, 0.8, 0.9]),
    ]
    events = [START, {"time": 9.0, "event": "end", "state": "complete"}]
    write_sweep(tmp_path / "runs", records, events=events)
    sweep = only(tmp_path / "runs")
    assert (sweep.state, sweep.trials) == ("complete", {"complete": 10})
    assert [cell.state for cell in sweep.cells] == ["complete", "complete"]


def test_a_start_after_an_end_is_not_the_end(tmp_path: Path) -> None:
    events = [START, {"time": 9.0, "event": "end", "state": "complete"}, START]
    write_sweep(tmp_path / "runs", [], events=events)
    assert only(tmp_path / "runs").state == "interrupted"


def test_a_trial_whose_worker_was_lost_waits_again(tmp_path: Path) -> None:
    events = [START, event("ask"), event("launch"), event("relaunch", cause="worker lost")]
    write_sweep(tmp_path / "runs", [], events=events)
    assert only(tmp_path / "runs").trials == {"waiting": 1}


def test_old_confirm_trials_are_counted_as_superseded(tmp_path: Path) -> None:
    records = [record(value=0.5), record(trial=1, value=0.6), *confirms(CE, [0.8, 0.9])]
    write_sweep(tmp_path / "runs", records)
    assert only(tmp_path / "runs").trials == {"complete": 2, "superseded": 2}


def test_a_trial_with_a_record_and_no_tell_yet_is_counted_once(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs", [record()], events=EVENTS[:4])
    assert only(tmp_path / "runs").trials == {"complete": 1}


def test_a_torn_last_event_is_ignored(home: Path) -> None:
    path = home / "sweeps/story/events.jsonl"
    path.write_text(path.read_text() + '{"time": 3, "event": "tell", "cell"')
    assert only(home).trials["waiting"] == 1


def test_json_names_the_sweep_its_state_trials_and_cells(home: Path) -> None:
    document = json.loads(json.dumps(status_json(status(home)), allow_nan=False))
    (sweep,) = document["sweeps"]
    assert list(sweep) == ["sweep", "state", "trials", "cells"]
    assert sweep["sweep"] == "story"
    assert sweep["cells"][0]["best"] == {"trial": 0, "metric": "val/top1", "value": 0.5}
    assert sweep["cells"][1]["best"] is None


def test_a_value_that_is_not_a_number_is_null(tmp_path: Path) -> None:
    events = [START, event("ask"), event("launch"), event("report", epoch=1, value=float("nan"))]
    write_sweep(tmp_path / "runs", [], events=events)
    assert json.dumps(status_json(status(tmp_path / "runs")), allow_nan=False)


def test_people_read_state_counts_best_and_what_runs(home: Path) -> None:
    text = render_status(status(home))
    assert "sweep story: interrupted, 1 complete, 1 interrupted, 1 waiting" in text
    assert "val/top1 0.5000 (search-0)" in text
    assert f"{CE}/search-1: interrupted, epoch 2, 0.4000" in text
    assert max(map(len, text.splitlines())) <= 80


def test_without_a_sweep_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert status(tmp_path) == []
    assert render_status([]) == "no sweep yet"
