from pathlib import Path

import pytest
from spec_files import BASE, read, refusal


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("trian: {epochs: 3}", "unknown key trian; the nearest known one is train"),
        ("epochs: 3", "unknown key epochs; the nearest known one is train.epochs"),
        ("train: {epoch: 3}", "unknown key train.epoch; the nearest known one is epochs"),
        ("train: {schedule: {name: cosine, gama: 1}}", "unknown key train.schedule.gama"),
        ("train: {optimizer: {lr_scale: 1}}", "the nearest known one is head_lr_scale"),
        (
            "search: {sampling: tpe}",
            "unknown key search.sampling; the nearest known one is sampler",
        ),
        ("train.epochs: 3", "unknown key train.epochs; the nearest known one is"),
        ("train: {epochs: 0}", "train.epochs must be an integer >= 1, got 0"),
        ("train: {epochs: 1.5}", "train.epochs must be an integer >= 1, got 1.5"),
        ("train: {epochs: '3'}", "train.epochs must be an integer >= 1, got '3'"),
        ("train: {epochs: true}", "train.epochs must be an integer >= 1, got true"),
        ("train: 3", "train must be a mapping of epochs, batch_size"),
        ("train: {optimizer: {lr: 0}}", "train.optimizer.lr must be a number > 0, got 0"),
        ("train: {optimizer: {name: lion}}", "must be one of sgd, adamw, got 'lion'"),
        ("train: {schedule: {name: exp}}", "train.schedule.name must be one of cosine, step"),
        ("train: {schedule: {name: step}}", "train.schedule.milestones is missing"),
        ("train: {schedule: {name: step, milestones: [a]}}", "train.schedule.milestones.0 must be"),
        (
            "train: {schedule: {name: step, milestones: []}}",
            "train.schedule.milestones must be a list of at least 1, got []",
        ),
        (
            "train: {schedule: {name: step, milestones: [3, 2]}}",
            "train.schedule.milestones must rise, got [3, 2]",
        ),
        (
            "train: {schedule: {name: step, milestones: [2, 2]}}",
            "train.schedule.milestones must rise, got [2, 2]",
        ),
        (
            "train: {epochs: 5, schedule: {name: step, milestones: [3, 5]}}",
            "train.schedule.milestones must be less than train.epochs (5), got [3, 5]",
        ),
        (
            "train: {schedule: {milestones: [3]}}",
            "train.schedule.milestones is not known: cosine has no milestones",
        ),
        (
            "train: {optimizer: {name: adamw, momentum: 0.9}}",
            "train.optimizer.momentum is not known: adamw has no momentum",
        ),
        (
            "train: {optimizer: {name: adamw, momentun: 0.9}}",
            "unknown key train.optimizer.momentun; the nearest known one is",
        ),
        (
            "search: {pruner: {name: median, reduction: 4}}",
            "search.pruner.reduction is not known: median has no reduction",
        ),
        (
            "search: {pruner: {name: none, grace: 7}}",
            "search.pruner.grace is not known: none has no grace",
        ),
        ("search: {pruner: {grase: 7}}", "search.pruner.grase; the nearest known one is grace"),
        ("confirm: {seeds: 0}", "confirm.seeds must be an integer >= 1, got 0"),
        ("confirm: {refit: yes}", "confirm.refit must be true or false, got 'yes'"),
        ("search: {metric: test/top1}", "search.metric must be one of val/top1, val/macro_top1"),
        ("search: {pruner: 3}", "search.pruner must be a mapping of name, grace, reduction, got 3"),
        ("search: {pruner: ashha}", "search.pruner.name must be one of asha, hyperband, median"),
        ("resources: {cpus: 0}", "resources.cpus must be a number > 0 or auto, got 0"),
        ("resources: {gpus: -1}", "resources.gpus must be a number >= 0 or auto, got -1"),
        ("tracking: {experiment: a/b}", "tracking.experiment is made of A-Z a-z 0-9"),
    ],
)
def test_a_bad_line_is_refused_with_place_rule_and_value(
    tmp_path: Path, line: str, rule: str
) -> None:
    error = refusal(tmp_path, BASE + line + "\n")
    assert error.place == "x.yaml:8"
    assert rule in error.rule


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("model: {backbone: convnet, weights: imagnet}", "model.weights: imagnet"),
        ("model: {backbone: convnet, weights: a.pt}", "model.weights: a.pt"),
        ("train: {precision: fp16}", "train.precision: fp16"),
        ("resources: {gpus: 2}", "resources.gpus: 2.0"),
        ("files: 's3://bucket/x'", "files: s3://bucket/x"),
    ],
)
def test_what_this_version_cannot_do_is_refused_by_name(
    tmp_path: Path, line: str, rule: str
) -> None:
    section = line.split(":", 1)[0]
    rows = [row for row in BASE.splitlines() if not row.startswith(f"{section}:")]
    if section == "arms":
        rows = [row for row in rows if not row.startswith(" ")]
    error = refusal(tmp_path, "\n".join([*rows, line]) + "\n")
    assert error.place == f"x.yaml:{len(rows) + 1}"
    assert error.rule.startswith(f"{rule} is not supported by ")
    assert "mcl_bench" in error.rule


def test_a_refusal_names_version_and_what_is_supported(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE + "train: {precision: fp16}\n")
    assert error.rule == (
        "train.precision: fp16 is not supported by mcl_bench 0.1 (supported: fp32, bf16)"
    )


def test_a_refusal_of_weights_says_what_may_stand_there(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE.replace("convnet", "resnet50, weights: IMAGENET1K_V1"))
    assert error.place == "x.yaml:4"
    assert error.rule.endswith("(supported: none, imagenet, imagenet_v2, *.safetensors, *.pth)")


def test_an_unsupported_choice_is_refused(tmp_path: Path) -> None:
    text = BASE + "search: {space: {train.precision: {choice: [fp32, fp16]}}}\n"
    assert "train.precision: fp16 is not supported" in refusal(tmp_path, text).rule


@pytest.mark.parametrize(
    "name", ["a/b", "../a", ".hidden", "a b", "a@b", "", "é", "${oc.env:MCL_X,a/b}", "a\\b"]
)
def test_a_name_that_is_no_folders_name_is_refused(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path, BASE.replace("small", f"'{name}'"))
    assert error.place == "x.yaml:2"
    assert "name is made of A-Z a-z 0-9 . _ -" in error.rule


def test_the_reserved_name_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE.replace("small", "leaderboard"))
    assert error.rule == "name: leaderboard is reserved"
    text = BASE + "tracking: {experiment: leaderboard}\n"
    assert "reserved" in refusal(tmp_path, text).rule


@pytest.mark.parametrize("missing", ["version", "name", "data", "model"])
def test_what_is_required_is_named(tmp_path: Path, missing: str) -> None:
    rows = [row for row in BASE.splitlines() if not row.startswith(f"{missing}:")]
    error = refusal(tmp_path, "\n".join(rows) + "\n")
    assert error.rule.startswith(missing)
    assert error.rule.endswith("is missing")


@pytest.mark.parametrize("arms", ["arms: {}", "arms: {ce: null}"])
def test_an_experiment_without_arms_is_refused(tmp_path: Path, arms: str) -> None:
    rows = [row for row in BASE.splitlines() if not row.startswith(("arms", " "))]
    error = refusal(tmp_path, "\n".join([*rows, arms]) + "\n")
    assert error.rule == "arms must name at least one arm, with its loss"


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("{backbone: convnet, xi: 3}", "model.xi must be auto with channels: native, got 3"),
        (
            "{backbone: convnet, channels: adapter, xi: auto}",
            "model.xi must be an integer with channels: adapter, got auto",
        ),
        ("{backbone: convnet, xi: 0}", "model.xi must be an integer >= 1 or auto, got 0"),
    ],
)
def test_xi_must_suit_the_channels(tmp_path: Path, model: str, rule: str) -> None:
    error = refusal(tmp_path, BASE.replace("{backbone: convnet}", model))
    assert (error.place, error.rule) == ("x.yaml:4", rule)


def test_a_head_lr_scale_that_nothing_can_use_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE + "train: {optimizer: {head_lr_scale: 10}}\n")
    assert error.place == "x.yaml:8"
    assert error.rule == "train.optimizer.head_lr_scale has no effect with weights: none"
    assert read(tmp_path, BASE + "train: {optimizer: {head_lr_scale: 1}}\n").cells


def test_null_stands_for_what_was_not_written(tmp_path: Path) -> None:
    text = BASE + "train:\nsearch: {pruner: null, trials: null}\nbaseline: ~\nfiles: null\n"
    assert read(tmp_path, text).cells == read(tmp_path, BASE).cells
