"""Mappings whose `name` decides their keys: the default kind, and what a change of name keeps."""

from pathlib import Path

import pytest
from spec_files import ADAPTER, BASE, ROOT, read, refusal, write

from mcl_bench.spec import (
    AdamWSpec,
    AshaSpec,
    CosineSpec,
    MedianSpec,
    NoPrunerSpec,
    SgdSpec,
    load,
)
from mcl_bench.spec.schema import DEFAULT_KINDS, KINDS, SearchSpec, TrainSpec


def test_a_kind_need_not_be_named_where_it_is_the_default(tmp_path: Path) -> None:
    lines = """
train: {schedule: {warmup_epochs: 1}, optimizer: {lr: 0.1}}
search: {pruner: {grace: 4}}
"""
    experiment = read(tmp_path, BASE + lines)
    train = experiment.cells[0].spec.train
    assert train.schedule == CosineSpec(warmup_epochs=1)
    assert train.optimizer == SgdSpec(lr=0.1, head_lr_scale=1)
    assert experiment.spec.search.pruner == AshaSpec(grace=4)


def test_the_default_kinds_are_those_of_a_file_that_says_nothing() -> None:
    train, search = TrainSpec(), SearchSpec()
    found = {
        "optimizer": train.optimizer.name,
        "schedule": train.schedule.name,
        "pruner": search.pruner.name,
    }
    assert found == DEFAULT_KINDS
    assert set(KINDS) - set(DEFAULT_KINDS) == {"loss"}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("experiments/*.yaml")), ids=lambda path: path.stem
)
def test_one_key_of_the_schedule_can_be_overridden_in_every_file(path: Path) -> None:
    cells = load(path, ["train.schedule.warmup_epochs=3"]).cells
    assert {cell.spec.train.schedule.warmup_epochs for cell in cells} == {3}


def test_adamw_has_no_momentum_and_needs_none(tmp_path: Path) -> None:
    spec = read(tmp_path, BASE + "train: {optimizer: {name: adamw, lr: 0.01}}\n").cells[0].spec
    assert spec.train.optimizer == AdamWSpec(name="adamw", lr=0.01, head_lr_scale=1)


def test_an_override_of_the_optimizer_leaves_momentum_behind_everywhere(tmp_path: Path) -> None:
    text = (
        BASE.replace("{name: mc}}", "{name: mc}, train: {optimizer: {momentum: 0.3}}}")
        + "train: {optimizer: {name: sgd, lr: 0.2, momentum: 0.5}}\n"
        + "matrix: {model: [{backbone: convnet, train: {optimizer: {momentum: 0.4}}}]}\n"
    )
    for cell in read(tmp_path, text, ["train.optimizer.name=adamw"]).cells:
        assert cell.spec.train.optimizer == AdamWSpec(name="adamw", lr=0.2, head_lr_scale=1)
    text += "search: {pruner: {reduction: 2, grace: 5}}\n"
    pruner = read(tmp_path, text, ["search.pruner=median"]).spec.search.pruner
    assert pruner == MedianSpec(name="median", grace=5)


def test_momentum_said_after_the_change_to_adamw_is_refused(tmp_path: Path) -> None:
    overrides = ["train.optimizer.name=adamw", "train.optimizer.momentum=0.5"]
    error = refusal(tmp_path, BASE, overrides)
    assert error.place == "override train.optimizer.momentum=0.5"
    assert "adamw has no momentum" in error.rule


def test_an_arm_may_have_an_optimizer_of_its_own(tmp_path: Path) -> None:
    text = BASE.replace("{name: mc}}", "{name: mc}, train: {optimizer: {name: adamw}}}")
    ce, mc = read(tmp_path, text + "train: {optimizer: {lr: 0.2, momentum: 0.5}}\n").cells
    assert ce.spec.train.optimizer == SgdSpec(lr=0.2, momentum=0.5, head_lr_scale=1)
    assert mc.spec.train.optimizer == AdamWSpec(name="adamw", lr=0.2, head_lr_scale=1)


@pytest.mark.parametrize("base", ["{reduction: 4, grace: 2}", "{name: asha, reduction: 4}"])
def test_a_file_with_another_pruner_leaves_its_keys_behind(tmp_path: Path, base: str) -> None:
    write(tmp_path, f"search: {{pruner: {base}}}\n", "base.yaml")
    text = BASE + "extends: base.yaml\nsearch: {pruner: none}\n"
    assert read(tmp_path, text).spec.search.pruner == NoPrunerSpec(name="none")


def test_a_null_name_is_the_default_kind_again(tmp_path: Path) -> None:
    write(tmp_path, "train: {schedule: {name: step, milestones: [3]}}\n", "base.yaml")
    text = BASE + "extends: base.yaml\ntrain: {schedule: {name: null}}\n"
    assert read(tmp_path, text).cells[0].spec.train.schedule == CosineSpec()


def test_milestones_are_told_where_they_stand_though_an_arm_ends_before_them(
    tmp_path: Path,
) -> None:
    text = (
        BASE.replace("{name: mc}}", "{name: mc}, train: {epochs: 3}}")
        + "train:\n  epochs: 9\n  schedule: {name: step, milestones: [5]}\n"
    )
    error = refusal(tmp_path, text)
    assert error.place == "x.yaml:10"
    assert "less than train.epochs (3), got [5]" in error.rule


def test_milestones_stay_below_every_number_of_epochs_that_is_searched(tmp_path: Path) -> None:
    lines = """
train: {schedule: {name: step, milestones: [5]}}
search: {space: {train.epochs: {int: [5, 9]}}}
"""
    error = refusal(tmp_path, ADAPTER + lines)
    assert error.place == "x.yaml:10"
    assert "less than train.epochs (5), got [5]" in error.rule
