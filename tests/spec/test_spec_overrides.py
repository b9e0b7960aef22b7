from pathlib import Path

import pytest
from spec_files import ADAPTER, BASE, read, refusal

from mcl_bench.spec import Experiment, dump_yaml, load

MATRIX = (
    ADAPTER.replace("{loss: {name: mc}}", "{loss: {name: mc}, train: {epochs: 4}}")
    + """\
search:
  space:
    train.optimizer.lr: {log: [0.001, 0.1]}
    arms.mc.loss.mu: {log: [0.1, 1]}
  enqueue: [{train.optimizer.lr: 0.01, arms.mc.loss.mu: 0.5}, {train.optimizer.lr: 0.02}]
matrix:
  data: [{name: parts, resize: 48}, {name: digits, label: tiny, train: {epochs: 5}}]
  model:
    - {backbone: convnet}
    - backbone: convnet
      label: b.2
      xi: 2
      train: {epochs: 6}
      space: {train.batch_size: {int: [2, 8]}}
"""
)


def epochs(experiment: Experiment) -> set[int]:
    return {cell.spec.train.epochs for cell in experiment.cells}


def test_values_are_yaml_12(tmp_path: Path) -> None:
    overrides = ["train.optimizer.lr=1e-4", "name=on", "data.resize={short: 70}", "data.root=a: b"]
    error = refusal(tmp_path, BASE, overrides)
    assert error.place == "override data.root=a: b"
    experiment = read(tmp_path, BASE, overrides[:3])
    spec = experiment.cells[0].spec
    assert (spec.train.optimizer.lr, experiment.name) == (0.0001, "on")
    assert spec.data.resize.short == 70


def test_an_override_has_the_last_word_over_entries_and_arms(tmp_path: Path) -> None:
    assert epochs(read(tmp_path, MATRIX)) == {4, 5, 6, 100}
    assert epochs(read(tmp_path, MATRIX, ["train.epochs=2"])) == {2}
    assert epochs(read(tmp_path, MATRIX, ["train={epochs: 2}"])) == {2}
    assert epochs(read(tmp_path, MATRIX, ["train.epochs=null"])) == {100}
    xis = {cell.spec.model.xi for cell in read(tmp_path, MATRIX, ["model.xi=4"]).cells}
    assert xis == {4}
    sizes = {cell.spec.data.resize for cell in read(tmp_path, MATRIX, ["data.resize=40"]).cells}
    assert sizes == {40}


def test_an_override_of_an_arm_leaves_the_other_arms_alone(tmp_path: Path) -> None:
    cells = read(tmp_path, MATRIX, ["arms.mc.train.epochs=9"]).cells
    assert {cell.spec.train.epochs for cell in cells if cell.arm == "mc"} == {9}
    assert {cell.spec.train.epochs for cell in cells if cell.arm == "ce"} == {5, 6, 100}


def test_a_matrix_entry_is_addressed_by_label_even_with_a_dot(tmp_path: Path) -> None:
    overrides = ["matrix.data.tiny.root=there", "matrix.model.b.2.xi=7", "matrix.data.parts.crop=8"]
    cells = read(tmp_path, MATRIX, overrides).cells
    assert {cell.spec.data.root for cell in cells if cell.data_label == "tiny"} == {"there"}
    assert {cell.spec.data.root for cell in cells if cell.data_label == "parts"} == {None}
    assert {cell.spec.model.xi for cell in cells if cell.model_label == "b.2"} == {7}
    assert {cell.spec.data.crop for cell in cells if cell.data_label == "parts"} == {8}


@pytest.mark.parametrize("key", ["data.name", "data.root"])
def test_name_and_root_are_refused_where_the_matrix_has_several_data(
    tmp_path: Path, key: str
) -> None:
    error = refusal(tmp_path, MATRIX, [f"{key}=x"])
    assert error.place == f"override {key}=x"
    assert f"{key} cannot be set where the matrix has several data" in error.rule
    assert f"matrix.data.LABEL.{key[5:]}=…" in error.remedy
    assert "parts, tiny" in error.remedy


def test_name_and_root_are_free_where_the_matrix_has_one_set(tmp_path: Path) -> None:
    text = BASE + "matrix: {data: [{name: parts, root: a}]}\n"
    spec = read(tmp_path, text, ["data.name=digits", "data.root=b"]).cells[0].spec
    assert (spec.data.name, spec.data.root) == ("digits", "b")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("train.optimizer.lr=0.1", "train.optimizer.lr"),
        ("train={optimizer: {lr: 0.1}}", "train.optimizer.lr"),
        ("train.optimizer=null", "train.optimizer.lr"),
        ("arms.mc.loss.mu=1", "arms.mc.loss.mu"),
        ("train.batch_size=4", "train.batch_size"),
    ],
)
def test_a_searched_key_is_refused_until_it_leaves_the_space(
    tmp_path: Path, override: str, key: str
) -> None:
    error = refusal(tmp_path, MATRIX, [override])
    assert error.place == f"override {override}"
    assert "is searched and cannot be set" in error.rule
    assert f"search.space.{key}=null" in error.remedy
    experiment = read(tmp_path, MATRIX, [f"search.space.{key}=null", override])
    assert all(
        key.rsplit("arms.mc.", maxsplit=1)[-1] not in cell.space for cell in experiment.cells
    )


def test_a_key_that_leaves_the_space_leaves_the_queue_too(tmp_path: Path) -> None:
    experiment = read(tmp_path, MATRIX, ["search.space.train.optimizer.lr=null"])
    queues = {cell.arm: cell.enqueue for cell in experiment.cells}
    assert queues == {"ce": (), "mc": ({"loss.mu": 0.5},)}


def test_a_space_key_can_be_set_dotted_or_nested(tmp_path: Path) -> None:
    dotted = ["search.space.train.optimizer.lr={float: [0.001, 0.3]}"]
    nested = ["search.space={train: {optimizer: {lr: {float: [0.001, 0.3]}}}}"]
    one, other = read(tmp_path, MATRIX, dotted), read(tmp_path, MATRIX, nested)
    assert one.cells == other.cells
    assert one.cells[0].space["train.optimizer.lr"].high == 0.3


def test_a_space_override_beats_the_space_of_an_entry(tmp_path: Path) -> None:
    experiment = read(tmp_path, MATRIX, ["search.space.train.batch_size={int: [3, 4]}"])
    assert {cell.space["train.batch_size"].low for cell in experiment.cells} == {3}


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("train.epochs", "an override is key.sub=value"),
        ("=3", "an override is key.sub=value"),
        ("train..epochs=3", "an override is key.sub=value"),
        ("extends=a.yaml", "extends is read before the command line"),
        ("train.epoch=3", "unknown key train.epoch; the nearest known one is epochs"),
        ("epochs=3", "unknown key epochs; the nearest known one is train.epochs"),
        ("train.epochs=0", "train.epochs must be an integer >= 1, got 0"),
        ("matrix.data.tinny.root=a", "matrix.data has no entry tinny; the nearest"),
        ("search.space.train.epochs=null", "train.epochs is not searched"),
        ("arms.mcc.loss.mu=3", "arms.mcc.loss.name is missing"),
        ("matrix.data.tiny.train.epochs=3", "would not reach every cell: matrix.model.b.2 sets"),
        ("matrix.model.b.2.train.epochs=3", "would not reach every cell: arms.mc sets"),
    ],
)
def test_a_bad_override_is_refused_by_its_own_text(
    tmp_path: Path, override: str, rule: str
) -> None:
    error = refusal(tmp_path, MATRIX, [override])
    assert error.place == f"override {override}"
    assert rule in error.rule


def test_a_null_that_would_delete_an_override_is_refused(tmp_path: Path) -> None:
    text = BASE + "matrix: {data: [{train: {optimizer: null}}]}\n"
    error = refusal(tmp_path, text, ["train.optimizer.momentum=0.1"])
    assert "cannot overrule the null at" in error.rule


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.epochs=2", "model.xi=5", "data.resize=40"],
        ["search.space.train.optimizer.lr=null", "train.optimizer.lr=0.3"],
        ["matrix.data.tiny.root=there", "arms.mc.train.epochs=9"],
        ["search.space=null"],
    ],
)
def test_the_resolved_file_holds_the_overrides(tmp_path: Path, overrides: list[str]) -> None:
    experiment = read(tmp_path, MATRIX, overrides)
    again = tmp_path / "again.yaml"
    again.write_text(dump_yaml(experiment.resolved))
    assert load(again).cells == experiment.cells
