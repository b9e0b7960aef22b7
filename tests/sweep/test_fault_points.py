"""An end at every named point, before and after each write, in one process: nothing is lost."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import Killed, Sweep
from whole import Expected

from mcl_bench.sweep import faults
from mcl_bench.training import Training

OVERRIDES = ("search.pruner=none", "search.trials=4", "train.epochs=2")
EXPECTED = Expected(
    name="tiny", cells=("parts-convnet-ce", "parts-convnet-mc"), trials=4, seeds=2, epochs=2
)
CHECKPOINT_POINTS = ("before-checkpoint", "after-checkpoint")
POINTS = (*faults.POINTS, *CHECKPOINT_POINTS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    path = tmp_path_factory.mktemp("points") / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path) -> Path:
    home = file.parent / "undisturbed"
    Sweep(file=file, home=home, overrides=OVERRIDES).drive()
    EXPECTED.check(home)
    return home


@pytest.fixture(autouse=True)
def often_saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A checkpoint after every epoch, with a point before and after it."""
    monkeypatch.setattr("mcl_bench.sweep.worker.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("mcl_bench.sweep.book.TABLE_SECONDS", 0.0)
    write = Training.write_checkpoint

    def write_between(training: Training) -> None:
        faults.reach("before-checkpoint")
        write(training)
        faults.reach("after-checkpoint")

    monkeypatch.setattr(Training, "write_checkpoint", write_between)
    yield


def test_there_are_twenty_points_and_more_and_none_stands_twice() -> None:
    assert len(set(POINTS)) == len(POINTS) >= 20


def test_a_sweep_ended_at_every_point_in_turn_ends_as_the_undisturbed_one(
    file: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(file=file, home=tmp_path / "runs", overrides=OVERRIDES)
    for wanted in POINTS:

        def end_there(point: str, wanted: str = wanted) -> None:
            if point == wanted:
                raise Killed(point)

        monkeypatch.setattr(faults, "at_point", end_there)
        with pytest.raises(Killed, match=wanted):
            sweep.drive()
    monkeypatch.setattr(faults, "at_point", faults.hold)
    sweep.drive()
    EXPECTED.check(sweep.home)
    assert EXPECTED.values(sweep.home) == EXPECTED.values(undisturbed)


@pytest.mark.parametrize("seed", range(4))
def test_ends_losses_echoes_and_clock_jumps_at_random_leave_no_trace_in_the_result(
    file: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    true_time = time.time

    def perhaps_end(point: str) -> None:
        if chance.random() < 0.02:
            raise Killed(point)

    def jumping_time() -> float:
        return true_time() + chance.choice([-1e6, 0.0, 1e6])

    monkeypatch.setattr(faults, "at_point", perhaps_end)
    monkeypatch.setattr(time, "time", jumping_time)
    sweep = Sweep(
        file=file,
        home=tmp_path / "runs",
        overrides=OVERRIDES,
        slots=3,
        disturb=lambda: chance.random() < 0.05,
        echo=lambda: chance.random() < 0.3,
    )
    drives = 1
    while True:
        try:
            sweep.drive(chance)
        except Killed:
            drives += 1
            continue
        break
    assert drives > 1, "no end was drawn: this seed shows nothing"
    EXPECTED.check(sweep.home)
    assert EXPECTED.values(sweep.home) == EXPECTED.values(undisturbed)
