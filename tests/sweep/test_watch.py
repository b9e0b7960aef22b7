"""The watch over a local Ray: who is told of its death, and when the process is given up."""

import signal
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from mcl_bench.records import RunError
from mcl_bench.sweep import watch
from mcl_bench.sweep.watch import RayWatch, local_ray_died


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> RunError:
    """Ray has died, and is looked at often."""
    death = local_ray_died("raylet")
    monkeypatch.setattr(watch, "_death_of_ray", lambda: death)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    return death


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """The SIGTERMs that reach this process."""
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, hear)
    yield heard
    signal.signal(signal.SIGTERM, before)


def test_a_block_that_is_held_is_told_of_the_death_and_then_the_process_abandoned(
    death: RunError, signals: list[int]
) -> None:
    abandoned: list[RunError] = []
    told: list[RunError] = []
    with RayWatch(abandoned.append).over(told.append, seconds=0.1):
        time.sleep(0.5)
    assert told == [death]
    assert signals == [signal.SIGTERM]
    assert abandoned == [death]


def test_a_block_that_ends_in_time_is_not_abandoned(death: RunError, signals: list[int]) -> None:
    abandoned: list[RunError] = []
    ray = RayWatch(abandoned.append)
    with ray.over(lambda _death: None, seconds=5):
        time.sleep(0.2)
    assert signals == [signal.SIGTERM]
    assert ray.look() == death
    time.sleep(0.1)  # what follows the block may take as long as it likes
    assert abandoned == []


def test_while_ray_lives_nobody_is_told(
    monkeypatch: pytest.MonkeyPatch, signals: list[int]
) -> None:
    monkeypatch.setattr(watch, "_death_of_ray", lambda: None)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    told: list[RunError] = []
    with RayWatch(told.append).over(told.append, seconds=0.05):
        time.sleep(0.3)
    assert told == []
    assert signals == []
