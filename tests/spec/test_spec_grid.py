"""Grids, and what else a sampler asks of a space: how many trials a cell has, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from spec_files import ADAPTER, read, refusal

from mcl_bench.spec import (
    Choice,
    FloatRange,
    IntRange,
    dump_yaml,
    grid_point,
    notes,
    num_grid_points,
)


def grid(*space: str, rest: str = "", sampler: str = "grid") -> str:
    keys = "\n".join(f"    {line}" for line in space)
    return f"{ADAPTER}search:\n  sampler: {sampler}\n  space:\n{keys}\n{rest}"


LR = "train.optimizer.lr: {log: [1e-4, 1e-1], points: 4}"
XI = "model.xi: {int: [2, 4]}"
MU = "arms.mc.loss.mu: {choice: [0.1, 1]}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (FloatRange(low=1e-4, high=0.1, log=True, points=4), (1e-4, 1e-3, 1e-2, 0.1)),
        (FloatRange(low=0.0, high=1.0, points=3), (0.0, 0.5, 1.0)),
        (FloatRange(low=0.0, high=1.0, points=1), (0.5,)),
        (FloatRange(low=1e-4, high=1e-2, log=True, points=1), (1e-3,)),
        (FloatRange(low=3.0, high=3.0, points=5), (3.0,)),
        (FloatRange(low=0.1, high=0.7, step=0.2), (0.1, 0.3, 0.5, 0.7)),
        (IntRange(low=2, high=5), (2, 3, 4, 5)),
        (IntRange(low=2, high=8, step=3), (2, 5, 8)),
        (IntRange(low=2, high=10, points=3), (2, 6, 10)),
        (IntRange(low=2, high=4, points=9), (2, 3, 4)),
        (IntRange(low=8, high=128, log=True, points=3), (8, 32, 128)),
        (Choice(values=("a", True, 3)), ("a", True, 3)),
    ],
)
def test_a_grid_takes_points_steps_and_choices(values: Any, expected: tuple[Any, ...]) -> None:
    numbers = [pytest.approx(one) if isinstance(one, float) else one for one in expected]
    assert list(values.grid) == numbers
    assert all(value in values for value in values.grid)
    assert values.grid[0] == expected[0] or len(expected) == 1, "the ends are met exactly"


def test_a_cell_has_as_many_trials_as_points_and_what_is_enqueued(tmp_path: Path) -> None:
    ce, mc = read(tmp_path, grid(LR, XI, MU)).cells
    assert (ce.trials, mc.trials) == (12, 24)
    queue = "  enqueue: [{arms.mc.loss.mu: 1}, {model.xi: 2}]\n"
    ce, mc = read(tmp_path, grid(LR, XI, MU, rest=queue)).cells
    assert (ce.trials, mc.trials) == (13, 26)


def test_other_samplers_have_the_trials_that_are_asked_for(tmp_path: Path) -> None:
    text = grid(XI, sampler="qmc", rest="  trials: 7\n")
    assert [cell.trials for cell in read(tmp_path, text).cells] == [7, 7]


def test_points_are_numbered_by_the_keys_names_not_by_their_order_in_the_file(
    tmp_path: Path,
) -> None:
    one, other = (read(tmp_path, grid(*lines)).cells[1].space for lines in ((LR, XI), (XI, LR)))
    points = [grid_point(one, index) for index in range(num_grid_points(one))]
    assert points == [grid_point(other, index) for index in range(12)]
    assert points[0] == {"model.xi": 2, "train.optimizer.lr": 1e-4}
    assert points[1]["model.xi"] == 2
    assert len({tuple(sorted(point.items())) for point in points}) == 12


def test_a_written_number_of_trials_is_told_to_have_no_part_in_a_grid(tmp_path: Path) -> None:
    experiment = read(tmp_path, grid(XI, rest="  trials: 7\n"))
    assert [note for note in notes(experiment) if "search.trials" in note] == [
        "search.trials (7) is not read with sampler: grid: a cell has as many search trials as its "
        "grid has points, and those of search.enqueue"
    ]
    silent = read(tmp_path, grid(XI))
    assert not [note for note in notes(silent) if "search.trials" in note]
    again = read(tmp_path, dump_yaml(experiment.resolved))
    assert again.cells == experiment.cells
    assert not [note for note in notes(again) if "search.trials" in note]


def test_nothing_is_said_of_duplicates_where_a_grid_has_one_point(tmp_path: Path) -> None:
    text = ADAPTER + "search: {sampler: grid}\n"
    experiment = read(tmp_path, text)
    assert {cell.trials for cell in experiment.cells} == {1}
    assert not [note for note in notes(experiment) if "duplicates" in note]


@pytest.mark.parametrize(
    ("line", "sampler", "rule", "remedy"),
    [
        (
            "train.optimizer.lr: {log: [1e-4, 1e-1]}",
            "grid",
            "sampler: grid needs to know how many points of a log range to take",
            "write {log: [0.0001, 0.1], points: 5}, or a choice",
        ),
        (
            "train.batch_size: {log: [8, 64]}",
            "grid",
            "sampler: grid needs to know how many points of a log range to take",
            "write {log: [8, 64], points: 5}, or a choice",
        ),
        (
            "train.optimizer.momentum: {float: [0.1, 0.9], step: 0.2, points: 3}",
            "grid",
            "a grid takes every value of a range with a step, so points has no place",
            "remove one of them",
        ),
        (
            "train.batch_size: {choice: [8, 16]}",
            "cmaes",
            "sampler: cmaes searches numbers, not a choice, got [8, 16]",
            "write a range of numbers, or take sampler: tpe",
        ),
    ],
)
def test_what_a_sampler_cannot_search_is_refused_at_its_line(
    tmp_path: Path, line: str, sampler: str, rule: str, remedy: str
) -> None:
    error = refusal(tmp_path, grid(line, sampler=sampler))
    assert error.place == "x.yaml:11"
    assert error.rule == f"search.space.{line.partition(':')[0]}: {rule}"
    assert error.remedy == remedy


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_samplers_with_a_model_of_all_trials_take_500_at_most(tmp_path: Path, sampler: str) -> None:
    read(tmp_path, grid(XI, sampler=sampler, rest="  trials: 500\n"))
    error = refusal(tmp_path, grid(XI, sampler=sampler, rest="  trials: 501\n"))
    assert error.place == "x.yaml:12"
    assert error.rule == f"search.trials: sampler: {sampler} takes 500 trials at most, got 501"
    assert error.remedy == "ask for fewer, or take sampler: tpe"
