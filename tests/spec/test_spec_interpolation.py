import sys
from pathlib import Path

import pytest
from spec_files import BASE, read, refusal

from mcl_bench.spec import dump_yaml, load


def with_root(root: str) -> str:
    return BASE.replace("{name: parts}", f"{{name: parts, root: '{root}'}}")


def test_the_environment_and_its_default_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = with_root("${oc.env:MCL_DATA,data}/cub")
    monkeypatch.delenv("MCL_DATA", raising=False)
    assert read(tmp_path, text).cells[0].spec.data.root == "data/cub"
    monkeypatch.setenv("MCL_DATA", "/images")
    experiment = read(tmp_path, text)
    assert experiment.cells[0].spec.data.root == "/images/cub"
    assert experiment.resolved["data"]["root"] == "/images/cub"


def test_a_reference_gives_the_other_keys_value(tmp_path: Path) -> None:
    text = BASE + "train: {epochs: 7}\nconfirm: {seeds: '${train.epochs}'}\n"
    assert read(tmp_path, text).spec.confirm.seeds == 7
    assert read(tmp_path, text, ["train.epochs=3"]).spec.confirm.seeds == 3


def test_a_reference_beside_itself_works_in_an_entry(tmp_path: Path) -> None:
    text = BASE + "matrix: {data: [{name: parts, root: 'a/${.name}'}, {name: elpv}]}\n"
    assert read(tmp_path, text).cells[0].spec.data.root == "a/parts"


def test_a_dotted_space_key_has_no_twin_after_interpolation(tmp_path: Path) -> None:
    text = with_root("${name}") + "search: {space: {train.optimizer.lr: {log: [0.1, 1]}}}\n"
    experiment = read(tmp_path, text)
    assert list(experiment.resolved["search"]["space"]) == ["train.optimizer.lr"]
    assert list(experiment.cells[0].space) == ["train.optimizer.lr"]


@pytest.mark.parametrize(
    ("root", "rule"),
    [
        ("${oc.env:MCL_NOT_SET}", "data.root: the environment variable MCL_NOT_SET is not set"),
        ("${oc.decode:3}", "got the resolver oc.decode"),
        ("${no.such}", "Interpolation key 'no.such' not found"),
        ("${", "no viable alternative"),
    ],
)
def test_a_bad_interpolation_is_refused_at_its_line(tmp_path: Path, root: str, rule: str) -> None:
    error = refusal(tmp_path, with_root(root))
    assert error.place == "x.yaml:3"
    assert rule in error.rule


def test_a_reference_that_the_matrix_changes_is_refused(tmp_path: Path) -> None:
    text = with_root("imgs/${data.name}") + "matrix: {data: [{name: parts}, {name: elpv}]}\n"
    error = refusal(tmp_path, text)
    assert "data.root refers to data.name, which entries of the matrix change" in error.rule
    assert error.remedy == "write root in every entry of matrix.data"


def test_an_environment_value_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCL_N", "3")
    error = refusal(tmp_path, BASE + "train: {epochs: '${oc.env:MCL_N}'}\n")
    assert error.rule == "train.epochs must be an integer >= 1, got '3'"


def test_an_escaped_interpolation_survives_the_round_trip(tmp_path: Path) -> None:
    experiment = read(tmp_path, with_root(r"\${name}/x"))
    assert experiment.cells[0].spec.data.root == "${name}/x"
    (tmp_path / "y.yaml").write_text(dump_yaml(experiment.resolved))
    assert load(tmp_path / "y.yaml").cells == experiment.cells


def test_a_file_without_interpolation_does_not_load_omegaconf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    assert read(tmp_path, BASE).cells
