"""What the live screen counts, and that its frame fits any terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from mcl_bench.cli.frame import Frame, share_lines, shorten
from mcl_bench.cli.tally import CellCount, Count, Goal, Open, Tally
from mcl_bench.records import Stage, TrialRecord


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def goal(cell: str = "a", *, trials: int = 3, seeds: int = 2) -> Goal:
    return Goal(cell=cell, trials=trials, seeds=seeds, epochs=5)


def record(trial: int, *, stage: Stage = "search", **words: Any) -> TrialRecord:
    return TrialRecord(
        **{
            **dict.fromkeys(("sweep", "dataset", "backbone", "weights", "arm", "xi"), "x"),
            **{"cell": "a", "key": "k", "run_id": "r", "config": {}, "state": "complete"},
            **{"maps": 1, "parameters": 1, "seed": 1, "started": 0.0, "finished": 100.0},
            **{"stage": stage, "trial": trial, "value": 0.5, "device_seconds": 10.0},
            **words,
        }
    )


def launch(tally: Tally, trial: int, *, cell: str = "a", stage: Stage = "search") -> None:
    tally.hear({"event": "launch", "cell": cell, "stage": stage, "trial": trial})


def tell(
    tally: Tally,
    trial: int,
    value: float | None = 0.5,
    *,
    stage: Stage = "search",
    state: str = "complete",
) -> None:
    words = {"cell": "a", "stage": stage, "trial": trial}
    tally.hear({"event": "tell", **words, "state": state, "value": value, "cause": None})


def test_a_search_that_a_budget_has_closed_owes_what_has_been_asked_and_its_confirmation() -> None:
    tally = Tally("s", [goal(trials=40)], metric="val/top1", records=[record(0)])
    launch(tally, 1)
    tally.hear({"event": "close", "limits": {"hours": 1.0}})
    (cell,) = tally.count().cells
    assert (cell.done, cell.total) == (1, 4)
    tell(tally, 1)
    (cell,) = tally.count().cells
    assert (cell.done, cell.total) == (2, 4)


def test_a_resumed_sweep_starts_from_the_records_that_are_there() -> None:
    tally = Tally("s", [goal()], metric="val/top1", records=[record(0), record(1, value=0.7)])
    (cell,) = tally.count().cells
    assert (cell.done, cell.total) == (2, 5)
    assert (cell.best_trial, cell.best_value) == (1, 0.7)
    assert tally.count().seconds_left is not None


def test_an_end_that_is_told_twice_counts_once() -> None:
    tally = Tally("s", [goal()], metric="val/top1", records=[record(0)])
    tell(tally, 0)
    tell(tally, 0)
    assert (tally.count().done, tally.count().total) == (1, 5)


def test_the_best_is_the_lowest_loss_the_highest_accuracy_and_of_equals_the_first() -> None:
    for metric, best in (("val/loss", 2), ("val/top1", 0)):
        tally = Tally("s", [goal(trials=6)], metric=metric)
        for trial, value in enumerate((0.9, 0.9, 0.1, 0.1, float("nan"))):
            tell(tally, trial, value)
        tell(tally, 5, 0.0 if metric == "val/loss" else 1.0, state="pruned")
        tell(tally, 0, 0.0, stage="confirm")
        assert tally.count().cells[0].best_trial == best


def test_a_trial_that_lost_its_worker_is_no_longer_running_until_it_is_launched_again() -> None:
    tally = Tally("s", [goal()], metric="val/top1")
    name = {"cell": "a", "stage": "search", "trial": 0}
    launch(tally, 0)
    tally.hear({"event": "report", "epoch": 3, "value": 0.4, "pid": 1, **name})
    tally.hear({"event": "relaunch", "cause": "worker lost", **name})
    assert (tally.count().cells[0].running, tally.count().open[0].epoch) == (0, 3)
    launch(tally, 0)
    assert (tally.count().cells[0].running, len(tally.count().open)) == (1, 1)
    tally.hear({"event": "interrupt", "cause": "worker lost", **name})
    assert (tally.count().state, tally.count().cells[0].running) == ("stopping", 0)


def test_confirm_trials_of_another_best_are_done_and_the_new_best_owes_its_own() -> None:
    known = [record(0), *(record(k, stage="confirm", of=0) for k in range(2))]
    tally = Tally("s", [goal(trials=2)], metric="val/top1", records=known)
    assert (tally.count().done, tally.count().total) == (3, 4)
    tell(tally, 1, 0.9)
    assert (tally.count().done, tally.count().total) == (4, 6)
    name = {"cell": "a", "stage": "confirm", "trial": 2}
    tally.hear({"event": "ask", "of": 1, "seed": 7, **name})
    tell(tally, 2, stage="confirm")
    assert (tally.count().done, tally.count().total) == (5, 6)


def test_a_cell_without_a_complete_trial_has_nothing_to_confirm() -> None:
    tally = Tally("s", [goal(trials=1)], metric="val/top1")
    tell(tally, 0, None, state="failed")
    assert (tally.count().done, tally.count().total) == (1, 1)
    assert tally.count().states == {"failed": 1}


def test_the_time_left_is_the_mean_of_those_that_ended_times_those_left_by_slots() -> None:
    clock = Clock()
    tally = Tally("s", [goal(trials=5)], metric="val/top1", clock=clock)
    launch(tally, 0)
    launch(tally, 1)
    assert tally.count().seconds_left is None
    clock.now = 10.0
    tell(tally, 0)
    clock.now = 30.0
    tell(tally, 1)  # lengths 10 and 30, two at once; 3 search and 2 confirm are left
    assert tally.count().seconds_left == pytest.approx(20 * 5 / 2)
    launch(tally, 2)
    clock.now = 36.0
    assert tally.count().seconds_left == pytest.approx((20 * 5 - 6) / 2)
    clock.now = 300.0
    assert tally.count().seconds_left == pytest.approx((20 * 5 - 20) / 2)


def test_packing_is_over_when_all_images_are_packed() -> None:
    tally = Tally("s", [goal()], metric="val/top1")
    tally.pack("parts", 3, 9)
    packing = tally.count().packing
    assert packing is not None
    assert (packing.name, packing.done, packing.total) == ("parts", 3, 9)
    tally.pack("parts", 9, 9)
    assert tally.count().packing is None


def count(num_cells: int, num_open: int) -> Count:
    """A sweep whose last cells run, with names that are too wide."""
    ids = [f"cub200_2011-resnet50_adapter_of_{k:03d}-mc" for k in range(num_cells)]
    cells = tuple(
        CellCount(
            cell=cell,
            done=12,
            total=29,
            running=int(k >= num_cells - 2),
            states={"pruned": 3, "failed": 1, "diverged": 1},
            best_value=0.8125,
            best_trial=11,
        )
        for k, cell in enumerate(ids)
    )
    trials = tuple(
        Open(cell=ids[-1], stage="confirm", number=k, epochs=100, launched=0.0, epoch=7, value=0.5)
        for k in range(num_open)
    )
    return Count(
        state="running", cells=cells, open=trials, packing=None, seconds=4000.0, seconds_left=80.0
    )


def drawn(shown: Count, *, columns: int = 80, lines: int = 24) -> list[str]:
    console = Console(width=columns, height=lines, file=io.StringIO(), record=True)
    frame = Frame(shown, sweep="a_sweep", metric="val/macro_top1")
    console.print(frame, end="")
    return console.export_text().rstrip("\n").splitlines()


@pytest.mark.parametrize("num_open", [0, 2, 8, 64])
@pytest.mark.parametrize("num_cells", [1, 6, 40])
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (132, 50), (60, 14)])
def test_a_frame_fits_the_terminal(num_cells: int, num_open: int, columns: int, lines: int) -> None:
    frame = drawn(count(num_cells, num_open), columns=columns, lines=lines)
    assert len(frame) <= lines
    assert max(map(len, frame)) <= columns
    assert "1:06:40 so far, time left about 1:20" in frame[0]
    assert sum("12/29" in line for line in frame) >= 1
    assert "…" not in frame[3], "a column has its whole head or is left out"
    assert frame[-1].startswith("Ctrl-C")


def test_six_cells_and_what_runs_in_them_are_all_shown_on_80_by_24() -> None:
    frame = drawn(count(6, 8))
    assert sum("12/29" in line for line in frame) == 6
    assert sum("epoch 7/100" in line for line in frame) == 8
    assert not any("more" in line for line in frame)


def test_of_too_many_cells_those_that_run_are_shown_and_the_others_counted() -> None:
    frame = drawn(count(40, 2))
    shown = [line for line in frame if "12/29" in line]
    assert [line.split()[0][-6:] for line in shown[-2:]] == ["038-mc", "039-mc"]
    assert f"… and {40 - len(shown)} more cells" in frame


def test_lines_are_shared_between_cells_and_trials() -> None:
    assert share_lines(16, cells=6, trials=2) == (6, 2)
    assert share_lines(16, cells=40, trials=2) == (14, 2)
    assert share_lines(16, cells=6, trials=64) == (6, 10)
    assert share_lines(16, cells=40, trials=64) == (8, 8)


def test_a_name_is_shortened_in_its_middle() -> None:
    assert shorten("parts-convnet-ce", 16) == "parts-convnet-ce"
    assert shorten("parts-convnet-ce", 11) == "parts…et-ce"
    assert len(shorten("parts-convnet-ce", 10)) == 10
