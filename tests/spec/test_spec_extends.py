from pathlib import Path

import pytest
from spec_files import BASE, read, refusal, write

from mcl_bench.records import UserError
from mcl_bench.spec import load


def test_this_file_wins_over_what_it_extends_and_null_deletes(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        data: {name: digits, per_class: 9, root: there}
        train: {epochs: 7, optimizer: {lr: 0.5, momentum: 0.1}}
        """,
        "base/a.yaml",
    )
    text = BASE + (
        "extends: base/a.yaml\ntrain: {optimizer: {momentum: null}}\nconfirm: {seeds: 2}\n"
    )
    spec = read(tmp_path, text.replace("{name: parts}", "{name: parts, root: null}")).cells[0].spec
    assert (spec.data.name, spec.data.per_class, spec.data.root) == ("parts", 9, None)
    assert (spec.train.epochs, spec.train.optimizer.lr) == (7, 0.5)
    assert spec.train.optimizer.momentum == 0.9


def test_a_list_of_files_merges_in_order_and_lists_replace(tmp_path: Path) -> None:
    first = "train: {epochs: 1, schedule: {name: step, milestones: [1, 2, 3]}}\n"
    write(tmp_path, first, "a.yaml")
    write(tmp_path, "train: {epochs: 9, schedule: {milestones: [5]}}\n", "b.yaml")
    train = read(tmp_path, BASE + "extends: [a.yaml, b.yaml]\n").cells[0].spec.train
    assert train.epochs == 9
    assert train.schedule.milestones == (5,)


def test_files_are_found_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, "extends: deep/b.yaml\n", "base/a.yaml")
    write(tmp_path, "train: {epochs: 3}\n", "base/deep/b.yaml")
    experiment = read(tmp_path, BASE + "extends: base/a.yaml\n")
    assert experiment.cells[0].spec.train.epochs == 3
    place = Path(experiment.place("train.epochs").rsplit(":", 1)[0])
    assert place == tmp_path / "base/deep/b.yaml"


def test_a_file_may_be_reached_in_two_ways(tmp_path: Path) -> None:
    write(tmp_path, "train: {epochs: 3}\n", "c.yaml")
    write(tmp_path, "extends: c.yaml\n", "a.yaml")
    write(tmp_path, "extends: c.yaml\n", "b.yaml")
    text = BASE + "extends: [a.yaml, b.yaml]\n"
    assert read(tmp_path, text).cells[0].spec.train.epochs == 3


def test_a_cycle_is_refused_with_its_files(tmp_path: Path) -> None:
    write(tmp_path, "\nextends: x.yaml\n", "a.yaml")
    error = refusal(tmp_path, BASE + "extends: a.yaml\n")
    assert error.place == "a.yaml:2"
    assert "x.yaml" in error.rule
    assert "leads back to the same file" in error.rule


def test_a_missing_file_is_refused_where_it_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE + "extends: nowhere.yaml\n")
    assert error.place == "x.yaml:8"
    assert "nowhere.yaml, which cannot be read" in error.rule


@pytest.mark.parametrize("value", ["3", "{a: b}", "[[a]]", "'${oc.env:HOME}/a.yaml'", "''"])
def test_extends_takes_files_only(tmp_path: Path, value: str) -> None:
    error = refusal(tmp_path, BASE + f"extends: {value}\n")
    assert "extends is a file or a list of files" in error.rule


def test_a_fault_in_a_base_file_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, "\ntrain: {epoch: 3}\n", "base.yaml")
    error = refusal(tmp_path, BASE + "extends: base.yaml\n")
    assert error.place == "base.yaml:2"
    assert "the nearest known one is epochs" in error.rule


def test_a_later_version_in_a_base_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\n", "base.yaml")
    assert refusal(tmp_path, BASE + "extends: base.yaml\n").place == "base.yaml:1"


def test_a_change_of_kind_leaves_behind_what_the_new_kind_does_not_know(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        train: {schedule: {name: step, milestones: [3], warmup_epochs: 2}}
        arms: {ce: {loss: {name: mc, mu: 3}}}
        """,
        "base.yaml",
    )
    text = BASE + "extends: base.yaml\ntrain: {schedule: {name: cosine}}\n"
    spec = read(tmp_path, text).cells[0].spec
    assert spec.train.schedule.model_dump() == {"name": "cosine", "warmup_epochs": 2}
    assert spec.loss.model_dump() == {"name": "ce"}


def test_a_pruner_by_name_keeps_what_the_base_file_says_of_it(tmp_path: Path) -> None:
    write(tmp_path, "search: {pruner: {name: asha, grace: 3}}\n", "base.yaml")
    pruner = read(
        tmp_path, BASE + "extends: base.yaml\nsearch: {pruner: median}\n"
    ).spec.search.pruner
    assert (pruner.name, pruner.grace) == ("median", 3)


def test_space_keys_dotted_and_nested_are_the_same_key_over_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        "search: {space: {train: {optimizer: {lr: {log: [0.1, 1]}}, epochs: {int: [1, 2]}}}}\n",
        "base.yaml",
    )
    text = BASE + (
        "extends: base.yaml\n"
        "search: {space: {train.optimizer.lr: {float: [0.2, 0.3]}, train.epochs: null}}\n"
    )
    space = read(tmp_path, text).cells[0].space
    assert list(space) == ["train.optimizer.lr"]
    assert (space["train.optimizer.lr"].low, space["train.optimizer.lr"].log) == (0.2, False)


def test_a_null_above_several_space_keys_deletes_them_all(tmp_path: Path) -> None:
    base = "search: {space: {train.optimizer.lr: {log: [0.1, 1]}, train.epochs: {int: [1, 2]}}}\n"
    write(tmp_path, base, "base.yaml")
    text = BASE + "extends: base.yaml\nsearch: {space: {train: null}}\n"
    assert read(tmp_path, text).cells[0].space == {}


def test_a_directory_as_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load(write(tmp_path, BASE + "extends: .\n"))
