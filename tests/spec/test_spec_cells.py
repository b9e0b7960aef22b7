from pathlib import Path

import pytest
from spec_files import ADAPTER, BASE, read, refusal


def test_without_a_matrix_there_is_a_cell_per_arm(tmp_path: Path) -> None:
    cells = read(tmp_path, BASE).cells
    assert [cell.id for cell in cells] == ["parts-convnet-ce", "parts-convnet-mc"]
    assert [cell.group for cell in cells] == [("parts", "convnet")] * 2


def test_the_matrix_combines_data_models_and_arms_in_order(tmp_path: Path) -> None:
    text = BASE + "matrix: {data: [{}, {name: digits}], model: [{}, {label: Big One-2}]}\n"
    assert [cell.id for cell in read(tmp_path, text).cells] == [
        f"{data}-{model}-{arm}"
        for data in ("parts", "digits")
        for model in ("convnet", "big_one_2")
        for arm in ("ce", "mc")
    ]


def test_names_may_stand_in_entries_only(tmp_path: Path) -> None:
    text = BASE.replace("data: {name: parts}\n", "").replace("backbone: convnet", "head: linear")
    text += "matrix: {data: [{name: parts}, {name: elpv}], model: [{backbone: convnet}]}\n"
    cells = read(tmp_path, text).cells
    assert [cell.spec.data.name for cell in cells] == ["parts", "parts", "elpv", "elpv"]
    assert {cell.spec.model.head for cell in cells} == {"linear"}


def test_precedence_is_file_then_data_then_model_then_arm(tmp_path: Path) -> None:
    text = ADAPTER.replace("{name: mc}}", "{name: mc}, train: {batch_size: 5}}") + (
        "train: {epochs: 1, batch_size: 2, optimizer: {lr: 1, momentum: 0.1}}\n"
        "matrix:\n"
        "  data: [{train: {epochs: 2, batch_size: 3, optimizer: {lr: 2}}}]\n"
        "  model: [{train: {epochs: 3, batch_size: 4}, arms: {ce: {train: {epochs: 9}}}}]\n"
    )
    ce, mc = read(tmp_path, text).cells
    assert (ce.spec.train.epochs, mc.spec.train.epochs) == (9, 3)
    assert (ce.spec.train.batch_size, mc.spec.train.batch_size) == (4, 5)
    assert ce.spec.train.optimizer.lr == 2
    assert ce.spec.train.optimizer.momentum == 0.1


def test_an_entry_may_hold_resources_and_arms(tmp_path: Path) -> None:
    text = BASE + (
        "resources: {cpus: 2, max_concurrent: 3}\n"
        "matrix: {data: [{resources: {cpus: 4}, arms: {mc: {loss: {mu: 7}}}}, {name: elpv}]}\n"
    )
    cells = {cell.id: cell for cell in read(tmp_path, text).cells}
    assert cells["parts-convnet-ce"].resources.cpus == 4
    assert cells["parts-convnet-ce"].resources.max_concurrent == 3
    assert cells["elpv-convnet-ce"].resources.cpus == 2
    assert cells["parts-convnet-mc"].spec.loss.mu == 7
    assert cells["elpv-convnet-mc"].spec.loss.mu == 1.5


def test_an_arm_overrides_head_channels_and_xi(tmp_path: Path) -> None:
    text = BASE.replace(
        "{name: ce}}", "{name: ce}, model: {head: linear, channels: adapter, xi: 2}}"
    )
    ce, mc = read(tmp_path, text).cells
    assert (ce.spec.model.head, ce.spec.model.xi) == ("linear", 2)
    assert (mc.spec.model.head, mc.spec.model.xi) == ("mlp", "auto")


@pytest.mark.parametrize(
    ("old", "new", "place", "rule"),
    [
        ("{name: ce}}", "{name: ce}, model: {backbone: x}}", "x.yaml:6", "arms.ce.model.backbone"),
        ("{name: ce}}", "{name: ce}, model: {weights: none}}", "x.yaml:6", "an arm overrides only"),
        ("ce: {loss: {name: ce}}", "ce: {}", "x.yaml:6", "arms.ce.loss is missing"),
        ("{name: ce}", "{mu: 3}", "x.yaml:6", "arms.ce.loss.name is missing"),
        ("  ce: {", "  c.e: {", "x.yaml:6", "an arm's name is text without dots, got 'c.e'"),
        ("  ce: {", "  MC: {", "x.yaml:7", "two cells have the id parts-convnet-mc: the arms MC"),
        ("  mc: {loss: {name: mc}}", "  mc: {loss: {name: mc}, trian: {}}", "x.yaml:7", "train"),
    ],
)
def test_a_bad_arm_is_refused(tmp_path: Path, old: str, new: str, place: str, rule: str) -> None:
    error = refusal(tmp_path, BASE.replace(old, new))
    assert error.place == place
    assert rule in error.rule


@pytest.mark.parametrize(
    ("matrix", "rule"),
    [
        (
            "data: [{}, {}]",
            "two cells have the id parts-convnet-ce: matrix.data.parts stands twice",
        ),
        ("data: [{label: A}, {label: a}]", "two cells have the id a-convnet-ce"),
        ("model: [{label: ''}]", "a label is text, got ''"),
        ("model: [{label: 3}]", "a label is text, got 3"),
        ("data: [{arms: {mcc: {}}}]", "there is no arm mcc; the nearest known one is mc"),
        ("data: [{arms: {mc: null}}]", "an entry cannot take an arm away"),
        ("data: [{train: 3}]", "train must be a mapping, got 3"),
        ("data: [{train: {epoch: 3}}]", "unknown key train.epoch; the nearest known one is epochs"),
        ("data: [{resise: 3}]", "unknown key data.resise; the nearest known one is resize"),
        (
            "model: [{resources: {gpu: 1}}]",
            "unknown key resources.gpu; the nearest known one is gp",
        ),
        ("model: [{resources: {gpus: 2}}]", "resources.gpus: 2.0 is not supported"),
        ("data: [3]", "matrix.data.0 must be a mapping, got 3"),
        ("data: {name: a}", "matrix.data must be a list, got {'name': 'a'}"),
        ("date: []", "unknown key matrix.date; the nearest known one is data"),
    ],
)
def test_a_bad_matrix_is_refused_at_its_line(tmp_path: Path, matrix: str, rule: str) -> None:
    error = refusal(tmp_path, BASE + f"matrix:\n  {matrix}\n")
    assert error.place == "x.yaml:9"
    assert rule in error.rule


def test_two_cells_with_one_id_are_told_to_take_labels(tmp_path: Path) -> None:
    error = refusal(tmp_path, BASE + "matrix: {data: [{}, {}]}\n")
    assert error.remedy == "give each entry a label of its own"


def test_the_baseline_is_ce_or_the_first_arm_or_as_written(tmp_path: Path) -> None:
    assert read(tmp_path, BASE).baseline == "ce"
    others = BASE.replace("  ce:", "  plain:")
    assert read(tmp_path, others).baseline == "plain"
    assert read(tmp_path, BASE + "baseline: mc\n").baseline == "mc"
    error = refusal(tmp_path, BASE + "baseline: mcc\n")
    assert error.rule == "baseline: there is no arm mcc; the nearest known one is mc"
    assert error.place == "x.yaml:8"


def test_settings_are_the_flat_trial_with_params_merged(tmp_path: Path) -> None:
    cell = read(tmp_path, BASE + "confirm: {refit: false}\n").cells[1]
    settings = cell.settings({"loss.lambda": 3, "train.optimizer.lr": 0.5})
    assert settings["loss.lambda"] == 3.0
    assert isinstance(settings["loss.lambda"], float)
    assert settings["train.optimizer.lr"] == 0.5
    assert settings["confirm.refit"] is False
    assert {**settings, "loss.lambda": 10.0, "train.optimizer.lr": 0.01} == cell.settings()


def test_a_place_is_found_for_every_key(tmp_path: Path) -> None:
    text = ADAPTER + (
        "search:\n"
        "  space:\n"
        "    model: {xi: {int: [1, 2]}}\n"
        "    arms.mc.loss.mu: {log: [1, 2]}\n"
        "matrix:\n"
        "  data:\n"
        "    - {root: here}\n"
        "    - label: other\n"
        "      root: there\n"
    )
    experiment = read(tmp_path, text, ["confirm.seeds=2"])
    lines = {
        "data.name": "3",
        "data.root": "14",
        "model": "4",
        "model.head": "4",
        "arms.mc.loss.mu": "7",
        "loss.name": "6",
        "search.space.model.xi": "10",
        "search.space.arms.mc.loss.mu": "11",
        "matrix.data.other.root": "16",
        "matrix.data.1.root": "16",
        "train.epochs": "1",
    }
    for key, line in lines.items():
        assert experiment.place(key) == f"{tmp_path}/x.yaml:{line}", key
    assert experiment.place("confirm.seeds") == "override confirm.seeds=2"
    assert experiment.place("data.root", "other-convnet-mc") == f"{tmp_path}/x.yaml:16"
    assert experiment.place("loss.name", "other-convnet-mc") == f"{tmp_path}/x.yaml:7"
    assert experiment.place("") is None
