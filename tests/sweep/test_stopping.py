"""Ending a sweep from outside: the request, its look at the disk, and the wait for the driver."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import mcl_bench

from mcl_bench.records import RunError, UserError
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.stopping import LOOK_SECONDS, StopRequest, stop_sweep

EXPERIMENT: Any = SimpleNamespace(name="s")


def quiet(_waited: float) -> None:
    """Tell nobody how long the wait is."""


def opened(path: Path) -> SweepFolder:
    folder = SweepFolder(path)
    folder.open(EXPERIMENT)
    return folder


def leave_when_asked(folder: SweepFolder, state: str) -> Callable[[float], None]:
    """A driver's part, played whenever the one who asks is told how long it has waited."""
    request = StopRequest(folder.stop_request)

    def look(_waited: float) -> None:
        if request.asked():
            folder.event("end", state=state)
            folder.close()

    return look


def test_a_driver_that_is_asked_ends_and_the_request_is_gone(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    look = leave_when_asked(folder, "stopped")
    assert stop_sweep(folder.path, progress=look) == "stopped"
    assert not folder.stop_request.exists()


def test_the_state_is_the_one_that_the_driver_came_to(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    assert stop_sweep(folder.path, progress=leave_when_asked(folder, "complete")) == "complete"


def test_a_sweep_that_nobody_runs_is_not_asked(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    folder.close()
    assert stop_sweep(folder.path, progress=quiet) is None
    assert not folder.stop_request.exists()


def test_a_driver_that_does_not_leave_is_told_and_the_request_stands(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    waits: list[float] = []
    with pytest.raises(RunError, match=r"still runs after 0\.3 s"):
        stop_sweep(folder.path, progress=waits.append, seconds=0.3)
    assert waits == sorted(waits)
    assert folder.stop_request.exists()
    folder.close()


def test_a_request_for_an_earlier_driver_stops_no_later_one(tmp_path: Path) -> None:
    (tmp_path / "stop-request").write_text("1\n")
    assert not StopRequest(tmp_path / "stop-request").asked()


def test_the_disk_is_looked_at_twice_a_second_at_most(tmp_path: Path) -> None:
    now = [0.0]
    request = StopRequest(tmp_path / "stop-request", clock=lambda: now[0])
    assert not request.asked()
    (tmp_path / "stop-request").write_text("1\n")
    now[0] = LOOK_SECONDS - 0.01
    assert not request.asked()
    now[0] = LOOK_SECONDS
    assert request.asked()
    (tmp_path / "stop-request").unlink()
    assert request.asked(), "what has been asked for stays asked for"


def test_a_name_that_no_sweep_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no sweep nobody"):
        stop_sweep(tmp_path / "nobody", progress=quiet)


def test_the_verb_says_what_became_of_the_sweep(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    begun, done = threading.Event(), threading.Event()

    def play() -> None:
        driver = leave_when_asked(opened(home / "sweeps/s"), "stopped")
        begun.set()
        while not done.wait(0.05):
            driver(0.0)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        assert begun.wait(10)
        said = mcl_bench("stop", "s", home=home)
    finally:
        done.set()
        thread.join()
    assert said.stdout == "s: stopped; its sweep command goes on with it\n"
    assert "waiting for the driver of s" in said.stderr
    assert mcl_bench("stop", "s", home=home).stdout == "no driver runs s\n"
    assert "there is no sweep t" in mcl_bench("stop", "t", home=home, code=2).stderr
