from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_files import ADAPTER, BASE, read, refusal

from mcl_bench.spec import Choice, FloatRange, IntRange, flatten
from mcl_bench.spec.settings import nest


def with_space(space: str, base: str = ADAPTER, search: str = "") -> str:
    return base + f"search:\n  {search}\n  space: {space}\n"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("train.optimizer.lr", "{log: [1e-4, 1e-1]}", FloatRange(low=1e-4, high=0.1, log=True)),
        ("train.optimizer.lr", "{float: [1, 2]}", FloatRange(low=1.0, high=2.0)),
        (
            "train.optimizer.momentum",
            "{float: [0.2, 0.8], step: 0.2}",
            FloatRange(low=0.2, high=0.8, step=0.2),
        ),
        ("model.xi", "{int: [2, 6]}", IntRange(low=2, high=6)),
        ("model.xi", "{int: [2, 6], step: 2}", IntRange(low=2, high=6, step=2)),
        ("train.batch_size", "{log: [8, 64]}", IntRange(low=8, high=64, log=True)),
        ("model.head", "{choice: [mlp, avgmax]}", Choice(values=("mlp", "avgmax"))),
        ("train.optimizer.lr", "{float: [3, 3]}", FloatRange(low=3.0, high=3.0)),
    ],
)
def test_every_form_of_a_range_is_read(tmp_path: Path, key: str, text: str, expected: Any) -> None:
    experiment = read(tmp_path, with_space(f"{{{key}: {text}}}"))
    assert [cell.space[key] for cell in experiment.cells] == [expected, expected]


@pytest.mark.parametrize(
    ("key", "text", "rule"),
    [
        ("train.optimizer.lr", "{log: [0, 1]}", "a log range begins above 0, got [0.0, 1.0]"),
        ("train.optimizer.lr", "{log: [-1, 1]}", "a log range begins above 0"),
        ("train.optimizer.lr", "{float: [2, 1]}", "a range goes from low to high, got [2.0, 1.0]"),
        ("train.optimizer.lr", "{float: [1]}", "float takes two numbers, [low, high], got [1]"),
        ("train.optimizer.lr", "{float: 3}", "float takes two numbers, [low, high], got 3"),
        ("train.optimizer.lr", "{float: [a, b]}", "float takes two numbers"),
        ("train.optimizer.lr", "{float: [true, 2]}", "float takes two numbers"),
        ("train.optimizer.lr", "{float: [1, 2], step: 0}", "a step is above 0, got 0.0"),
        ("train.optimizer.lr", "{float: [1, 2], step: x}", "a step is a number, got 'x'"),
        ("train.optimizer.lr", "{float: [0.2, 0.9], step: 0.2}", "the last value is 0.8"),
        ("train.optimizer.lr", "{log: [1, 2], step: 1}", "step does not go with log"),
        ("train.optimizer.lr", "{log: [1, 2], float: [1, 2]}", "float does not go with log"),
        ("train.optimizer.lr", "{log: [1, 2], stepp: 1}", "stepp does not go with log"),
        ("train.optimizer.lr", "{choice: []}", "a choice needs at least one value, got []"),
        ("train.optimizer.lr", "{choice: 3}", "a choice is a list of values, got 3"),
        ("train.optimizer.lr", "{choice: [1, 1.0]}", "a choice has every value once"),
        ("train.optimizer.lr", "{choice: [null]}", "a choice is made of text, numbers"),
        ("train.optimizer.lr", "{choice: [[1]]}", "a choice is made of text, numbers"),
        ("train.optimizer.lr", "{choice: [1, x]}", "reaches 'x', but train.optimizer.lr must be"),
        ("train.optimizer.lr", "{float: [0, 1]}", "reaches 0.0, but train.optimizer.lr must be a"),
        ("train.optimizer.lr", f"{{float: [1, 1{'0' * 400}]}}", "int too large to convert"),
        ("model.xi", "{int: [1, 100000000000000000000000000000], step: 2}", "the last value is"),
        ("train.optimizer.lr", "[1, 2]", "must be a range, got [1, 2]"),
        ("train.optimizer.lr", "3", "must be a range, got 3"),
        ("train.optimizer.lr", "{}", "must be a range, got {}"),
        ("train.optimizer.lr", "{log: [1, 2], points: 3}", "points is read by sampler: grid only"),
        ("model.xi", "{int: [0, 3]}", "reaches 0, but model.xi must be an integer >= 1"),
        ("model.xi", "{float: [1, 3]}", "the key takes integers, got a range of float"),
        ("model.xi", "{int: [1, 2.5]}", "the key takes integers, got 2.5"),
        ("model.head", "{choice: [mlp, mlq]}", "reaches 'mlq', but model.head must be one of mlp"),
        ("arms.mc.loss.mask_ratio", "{float: [0.2, 1.5]}", "reaches 1.5, but arms.mc.loss.mask_r"),
        ("arms.mc.loss.mask_ratio", "{float: [0.2, 1]}", "must be a number >= 0 and < 1, got 1.0"),
    ],
)
def test_an_impossible_range_is_refused_at_its_line(
    tmp_path: Path, key: str, text: str, rule: str
) -> None:
    error = refusal(
        tmp_path, with_space(f"\n    {{}}\n    {key}: {text}".replace("{}\n    ", "", 1))
    )
    assert error.place == "x.yaml:11"
    assert error.rule.startswith(f"search.space.{key}")
    assert rule in error.rule


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("train.optimizer.lrr", "the nearest known one is train.optimizer.lr"),
        ("arms.mc.loss.mv", "the nearest known one is arms.mc.loss.mu"),
        ("arms.mcc.loss.mu", "there is no arm mcc; the nearest known one is mc"),
        ("arms.mc.model.xi", "an arm's model is not searched"),
        ("arms.mc.loss.name", "no cell can search this key"),
        ("arms.mc", "unknown key"),
        ("loss.mu", "a loss belongs to an arm"),
        ("model.backbone", "no cell can search this key"),
        ("data.resize", "no cell can search this key"),
        ("train.seed", "no cell can search this key"),
        ("arms.ce.loss.mu", "is searched by no cell: ce has no mu"),
        ("train.schedule.gamma", "is searched by no cell: cosine has no gamma"),
        ("train.optimizer.head_lr_scale", "weights: none has no head apart from the rest"),
        ("confirm.seeds", "unknown key"),
    ],
)
def test_a_key_that_no_cell_can_search_is_refused(tmp_path: Path, key: str, rule: str) -> None:
    error = refusal(tmp_path, with_space(f"{{{key}: {{float: [0.5, 0.6]}}}}"))
    assert error.place == "x.yaml:10"
    assert f"search.space.{key}" in error.rule
    assert rule in error.rule


def test_xi_under_native_is_searched_by_no_cell(tmp_path: Path) -> None:
    error = refusal(tmp_path, with_space("{model.xi: {int: [1, 2]}}", BASE))
    assert "channels: native takes the ξ that the backbone's maps give" in error.rule


def test_momentum_is_not_searched_under_adamw(tmp_path: Path) -> None:
    momentum = "train.optimizer.momentum: {float: [0.1, 0.9]}"
    text = with_space(f"{{{momentum}}}") + "train: {optimizer: {name: adamw}}\n"
    assert "adamw has no momentum" in refusal(tmp_path, text).rule


def test_a_searched_optimizer_takes_only_the_settings_that_it_knows(tmp_path: Path) -> None:
    space = "{momentum: {float: [0.1, 0.9]}, name: {choice: [sgd, adamw]}}"
    cell = read(tmp_path, with_space(f"{{train: {{optimizer: {space}}}}}")).cells[0]
    params = {"train.optimizer.momentum": 0.2, "train.optimizer.name": "sgd"}
    assert cell.settings(params)["train.optimizer.momentum"] == 0.2
    settings = cell.settings({**params, "train.optimizer.name": "adamw"})
    assert settings["train.optimizer.name"] == "adamw"
    assert "train.optimizer.momentum" not in settings


def test_the_same_key_dotted_and_nested_is_a_key_twice(tmp_path: Path) -> None:
    space = "{train.epochs: {int: [1, 2]}, train: {epochs: {int: [1, 2]}}}"
    error = refusal(tmp_path, with_space(space))
    assert error.rule == "the key train.epochs stands here twice, dotted and nested"


def test_loss_keys_are_searched_by_their_arm_and_shared_keys_by_all(tmp_path: Path) -> None:
    space = """
    arms: {mc: {loss: {mu: {log: [0.1, 1]}, lambda: {int: [1, 9]}}}}
    train.optimizer.lr: {log: [0.1, 1]}
    model: {xi: {int: [1, 4]}}
    arms.mc.train.batch_size: {int: [2, 4]}
"""
    ce, mc = read(tmp_path, with_space(space)).cells
    assert list(ce.space) == ["train.optimizer.lr", "model.xi"]
    assert list(mc.space) == [
        "loss.mu",
        "loss.lambda",
        "train.optimizer.lr",
        "model.xi",
        "train.batch_size",
    ]
    assert not ce.equal_budget
    assert mc.equal_budget


def test_an_arms_own_range_beats_the_shared_one(tmp_path: Path) -> None:
    space = "{train.epochs: {int: [1, 2]}, arms.mc.train.epochs: {int: [3, 4]}}"
    ce, mc = read(tmp_path, with_space(space)).cells
    assert (ce.space["train.epochs"].low, mc.space["train.epochs"].low) == (1, 3)
    assert ce.equal_budget
    assert mc.unsearched == {}


def test_a_shared_key_that_an_arm_sets_is_not_searched_there(tmp_path: Path) -> None:
    base = ADAPTER.replace("{name: ce}}", "{name: ce}, train: {epochs: 3}}")
    space = "{train.epochs: {int: [1, 2]}, train.optimizer.lr: {log: [0.1, 1]}}"
    ce, mc = read(tmp_path, with_space(space, base)).cells
    assert ce.unsearched == {"train.epochs": "arms.ce sets it"}
    assert (list(ce.space), ce.spec.train.epochs) == (["train.optimizer.lr"], 3)
    assert (ce.equal_budget, mc.equal_budget) == (False, True)


ENTRIES = """\
matrix:
  model:
    - {label: a, train: {epochs: 3}}
    - {label: b, space: {train.epochs: {int: [5, 6]}}}
    - {label: c, space: {train: {epochs: null}}}
    - {label: d, xi: 2, arms: {mc: {loss: {mu: 1}}}}
"""


def test_an_entry_sets_or_searches_over_the_files_space(tmp_path: Path) -> None:
    space = """
    train.epochs: {int: [1, 2]}
    model.xi: {int: [1, 2]}
    arms.mc.loss.mu: {log: [0.1, 1]}
"""
    cells = {cell.id: cell for cell in read(tmp_path, with_space(space) + ENTRIES).cells}
    assert cells["parts-a-ce"].unsearched == {"train.epochs": "matrix.model.a sets it"}
    assert cells["parts-a-ce"].equal_budget
    assert cells["parts-b-ce"].space["train.epochs"].low == 5
    assert "train.epochs" not in cells["parts-c-ce"].space
    assert cells["parts-d-mc"].unsearched == {
        "model.xi": "matrix.model.d sets it",
        "arms.mc.loss.mu": "matrix.model.d sets it",
    }
    assert cells["parts-d-mc"].spec.model.xi == 2


def test_an_entrys_own_space_is_used_or_refused(tmp_path: Path) -> None:
    text = ADAPTER + (
        "matrix: {data: [{space: {train.epochs: {int: [1, 2]}}}], model: [{train: {epochs: 3}}]}\n"
    )
    error = refusal(tmp_path, text)
    assert "matrix.data.parts.space.train.epochs is searched by no cell" in error.rule
    assert error.place == "x.yaml:8"


QUEUE = """
    train.optimizer.lr: {log: [0.001, 0.1]}
    arms.mc.loss.mu: {log: [0.1, 10]}
"""


def test_a_queue_keeps_what_its_cell_searches(tmp_path: Path) -> None:
    queue = "[{arms.mc.loss.mu: 1, train: {optimizer: {lr: 0.01}}}, {arms.mc.loss.mu: 2}]"
    ce, mc = read(tmp_path, with_space(QUEUE, search=f"enqueue: {queue}")).cells
    assert ce.enqueue == ({"train.optimizer.lr": 0.01},)
    assert mc.enqueue == ({"loss.mu": 1.0, "train.optimizer.lr": 0.01}, {"loss.mu": 2.0})
    assert isinstance(mc.enqueue[1]["loss.mu"], float)


@pytest.mark.parametrize(
    ("queue", "rule"),
    [
        ("[{train.optimizer.lr: 1}]", "1 is not in the range of parts-convnet-ce, [0.001, 0.1]"),
        ("[{train.optimizer.lr: x}]", "'x' is not in the range"),
        ("[{train.optimizer.lr: true}]", "true is not in the range"),
        ("[{train.epochs: 3}]", "no cell searches train.epochs"),
        ("[{arms.ce.loss.mu: 3}]", "no cell searches arms.ce.loss.mu"),
        ("[{train.optimizer.lrr: 0.01}]", "the nearest known one is train.optimizer.lr"),
        ("[3]", "search.enqueue.0 must be a mapping, got 3"),
        ("{a: 3}", "search.enqueue must be a list, got {'a': 3}"),
    ],
)
def test_a_bad_queue_is_refused_at_its_line(tmp_path: Path, queue: str, rule: str) -> None:
    error = refusal(tmp_path, with_space(QUEUE, search=f"enqueue: {queue}"))
    assert error.place == "x.yaml:9"
    assert rule in error.rule


@given(
    st.dictionaries(
        st.sampled_from(["a.b.c", "a.b.d", "a.c.d", "b.c.d", "e"]),
        st.sampled_from([1, None, "x", [1, 2]]),
    )
)
def test_nesting_and_flattening_are_inverse(flat: dict[str, Any]) -> None:
    assert flatten(nest(flat)) == flat


@given(st.integers(1, 50), st.integers(1, 9), st.integers(0, 20), st.integers(-5, 60))
def test_an_integer_range_holds_exactly_its_steps(
    low: int, step: int, count: int, value: int
) -> None:
    values = IntRange(low=low, high=low + step * count, step=step)
    assert (value in values) == (value in range(low, low + step * count + 1, step))


@given(st.integers(0, 100), st.integers(1, 100))
def test_a_decimal_grid_holds_its_points_exactly(count: int, tenths: int) -> None:
    step = tenths / 10
    values = FloatRange(low=0.1, high=round(0.1 + step * 100, 1), step=step)
    assert round(0.1 + step * count, 1) in values
    assert round(0.1 + step * count, 1) + step / 3 not in values
