"""Kills for real: whatever dies, the same command ends the sweep as if nothing had happened."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import psutil
import pyarrow.parquet as pq
import pytest
from running import command, environment, mcl_bench, read_lines

from mcl_bench.sweep.faults import POINTS

OVERRIDES = ("search.pruner=none", "search.trials=5", "train.epochs=3")
CELLS = ("parts-convnet-ce", "parts-convnet-mc")
TRIALS, SEEDS, EPOCHS = 5, 2, 3
TIMES = {"device_seconds", "wait_seconds", "started", "finished", "run_id", "epochs"}


@contextmanager
def sweeping(file: Path, home: Path, **extra: str) -> Iterator[subprocess.Popen[str]]:
    """The sweep as a process; it and all it started are gone at the end."""
    with (
        (home.parent / "out.txt").open("a") as out,
        subprocess.Popen(
            command("sweep", str(file), *OVERRIDES),
            env={**environment(home), "MCL_BENCH_SAVE_SECONDS": "0", **extra},
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        ) as sweep,
    ):
        try:
            yield sweep
        finally:
            kill_tree(sweep.pid)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all that it started."""
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        if process.is_running():
            process.kill()
    psutil.wait_procs(family, timeout=10)


def wait_for(condition: Any, sweep: subprocess.Popen[str], *, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert sweep.poll() is None, "the sweep ended before the point was reached"
        assert time.monotonic() < deadline, "the point was not reached"
        time.sleep(0.02)


def rows(home: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    table = pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist()
    return {(row["cell"], row["stage"], row["trial"]): row for row in table}


def check_whole(home: Path) -> None:
    """Optuna, MLflow, the table and the file hold every trial once, every epoch once."""
    expected = {
        (cell, stage, number)
        for cell in CELLS
        for stage, count in (("search", TRIALS), ("confirm", SEEDS))
        for number in range(count)
    }
    table = rows(home)
    assert set(table) == expected
    assert {row["state"] for row in table.values()} <= {"complete", "duplicate"}
    url = f"sqlite:///{home / 'sweeps/tiny/study.db'}"
    stored = {
        (*name.split("/")[1:], trial.number): trial.state.name
        for name in optuna.get_all_study_names(url)
        for trial in optuna.load_study(study_name=name, storage=url).trials
    }
    assert stored == dict.fromkeys(expected, "COMPLETE")
    with sqlite3.connect(home / "mlflow.db") as database:
        runs = database.execute(
            "select r.run_uuid, r.status from runs r join tags t on t.run_uuid = r.run_uuid "
            "where t.key = 'mcl.kind' and t.value = 'trial'"
        ).fetchall()
        assert {run for run, _ in runs} == {row["run_id"] for row in table.values()}
        assert {status for _, status in runs} == {"FINISHED"}
        for row in table.values():
            if row["state"] == "complete":
                steps = database.execute(
                    "select step from metrics where run_uuid = ? and key = 'train/loss' "
                    "order by step",
                    (row["run_id"],),
                ).fetchall()
                assert [step for (step,) in steps] == list(range(1, EPOCHS + 1)), row["trial"]
    looks = [(look["cell"], look["key"], look["seed"]) for look in looks_of(home)]
    confirm = [row for row in table.values() if row["stage"] == "confirm"]
    assert sorted(looks) == sorted((row["cell"], row["key"], row["seed"]) for row in confirm)


def looks_of(home: Path) -> list[dict[str, Any]]:
    return read_lines(home / "sweeps/tiny/looks.jsonl")


def values(home: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Every column of the table but the times."""
    return {
        name: {key: value for key, value in row.items() if key not in TIMES}
        for name, row in rows(home).items()
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    path = tmp_path_factory.mktemp("kills") / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> Path:
    home = file.parent / "undisturbed"
    mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    check_whole(home)
    return home


@pytest.mark.timeout(600)
def test_a_sweep_killed_at_every_point_ends_as_the_undisturbed_one(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    for point in POINTS:
        reached = tmp_path / point
        with sweeping(file, home, MCL_BENCH_FAULT=f"{point}={reached}") as sweep:
            wait_for(reached.exists, sweep)
    mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    check_whole(home)
    assert values(home) == values(undisturbed)


def test_killed_workers_are_replaced_and_their_trials_go_on(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    events = home / "sweeps/tiny/events.jsonl"
    with sweeping(file, home) as sweep:
        wait_for(lambda: events.exists() and '"report"' in events.read_text(), sweep)
        pids = {event["pid"] for event in read_lines(events) if event["event"] == "report"}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert sweep.wait(timeout=120) == 0, (tmp_path / "out.txt").read_text()
    assert any(event["event"] == "relaunch" for event in read_lines(events))
    said = (tmp_path / "out.txt").read_text()
    assert "again, from its checkpoint (lost: " in said
    assert not [word for word in ("Traceback", "ERROR", "raylet", "ray.") if word in said], said
    check_whole(home)
    assert values(home) == values(undisturbed)


def test_a_driver_killed_alone_leaves_nothing_that_spoils_its_successor(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    events = home / "sweeps/tiny/events.jsonl"
    with sweeping(file, home) as sweep:
        wait_for(lambda: events.exists() and '"report"' in events.read_text(), sweep)
        family = psutil.Process(sweep.pid).children(recursive=True)
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.wait(timeout=10)
        mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    for process in family:
        if process.is_running():
            process.kill()
    check_whole(home)
    assert values(home) == values(undisturbed)
