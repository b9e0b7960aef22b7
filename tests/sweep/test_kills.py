"""Kills for real: whatever dies, the same command ends the sweep as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import command, environment, mcl_bench, read_lines
from whole import Expected

OVERRIDES = ("search.pruner=none", "search.trials=5", "train.epochs=3")
EXPECTED = Expected(
    name="tiny", cells=("parts-convnet-ce", "parts-convnet-mc"), trials=5, seeds=2, epochs=3
)


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
    """SIGKILL a process and all that it started; whoever started it is left to wait for it."""
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        if process.is_running():
            process.kill()
    psutil.wait_procs(family[1:], timeout=10)


def wait_for(condition: Any, sweep: subprocess.Popen[str], *, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert sweep.poll() is None, "the sweep ended before the point was reached"
        assert time.monotonic() < deadline, "the point was not reached"
        time.sleep(0.02)


def events(home: Path) -> list[dict[str, Any]]:
    path = home / "sweeps/tiny/events.jsonl"
    return read_lines(path) if path.exists() else []


def has_reported(home: Path, *, stage: str = "search") -> bool:
    """Whether a trial of this stage has told an epoch."""
    return any(event["event"] == "report" and event["stage"] == stage for event in events(home))


def go_on(file: Path, home: Path, undisturbed: Path) -> None:
    """Run the same command again: the sweep ends as the undisturbed one did."""
    mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    EXPECTED.check(home)
    assert EXPECTED.values(home) == EXPECTED.values(undisturbed)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    path = tmp_path_factory.mktemp("kills") / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> Path:
    home = file.parent / "undisturbed"
    mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    EXPECTED.check(home)
    return home


def test_killed_workers_are_replaced_and_their_trials_go_on(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    with sweeping(file, home) as sweep:
        wait_for(lambda: has_reported(home), sweep)
        pids = {event["pid"] for event in events(home) if event["event"] == "report"}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert sweep.wait(timeout=120) == 0, (tmp_path / "out.txt").read_text()
    assert any(event["event"] == "relaunch" for event in events(home))
    said = (tmp_path / "out.txt").read_text()
    assert "again, from its checkpoint (lost: " in said
    assert not [word for word in ("Traceback", "ERROR", "raylet", "ray.") if word in said], said
    EXPECTED.check(home)
    assert EXPECTED.values(home) == EXPECTED.values(undisturbed)


def test_a_raylet_killed_ends_the_drive_with_a_message_and_the_same_command_goes_on(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    with sweeping(file, home) as sweep:
        wait_for(lambda: any(event["event"] == "launch" for event in events(home)), sweep)
        family = psutil.Process(sweep.pid).children(recursive=True)
        (raylet,) = (process for process in family if process.name() == "raylet")
        raylet.kill()
        assert sweep.wait(timeout=60) == 1
    said = (tmp_path / "out.txt").read_text()
    assert "the local Ray has died (raylet)" in said, said
    assert "the same command goes on" in said
    assert "Traceback" not in said, said
    go_on(file, home, undisturbed)


@pytest.mark.soak
def test_a_sigterm_to_every_process_at_once_is_left_soon_and_the_same_command_goes_on(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """As a batch system or an init sends it; Ray itself would hold the driver for a minute."""
    home = tmp_path / "runs"
    with sweeping(file, home) as sweep:
        wait_for(lambda: has_reported(home), sweep)
        driver = psutil.Process(sweep.pid)
        for process in (driver, *driver.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        code = sweep.wait(timeout=50)
    said = (tmp_path / "out.txt").read_text()
    assert code in {130, 1}, "Ray was dead before the driver had heard of the signal, or after"
    assert "the same command goes on" in said
    assert "Traceback" not in said, said
    go_on(file, home, undisturbed)


def test_all_killed_at_once_in_the_confirm_stage_and_the_same_command_goes_on(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    with sweeping(file, home) as sweep:
        wait_for(lambda: has_reported(home, stage="confirm"), sweep)
        kill_tree(sweep.pid)
    go_on(file, home, undisturbed)


def test_a_driver_killed_alone_leaves_nothing_that_spoils_its_successor(
    file: Path, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    with sweeping(file, home) as sweep:
        wait_for(lambda: has_reported(home), sweep)
        family = psutil.Process(sweep.pid).children(recursive=True)
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.wait(timeout=10)
        mcl_bench("sweep", str(file), *OVERRIDES, home=home)
    for process in family:
        if process.is_running():
            process.kill()
    EXPECTED.check(home)
    assert EXPECTED.values(home) == EXPECTED.values(undisturbed)
