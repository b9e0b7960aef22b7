from pathlib import Path

import pytest
from spec_files import BASE, read, refusal, write

from mcl_bench.records import UserError
from mcl_bench.spec import load


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        (BASE + "train: {epochs: !!int 3}\n", "x.yaml:8:17", "tags are not read"),
        (BASE + "train: !mine {epochs: 3}\n", "x.yaml:8:8", "tags are not read"),
        (BASE + "train: {epochs: 3, epochs: 4}\n", "x.yaml:8:20", "the key epochs stands here tw"),
        ("%YAML 1.1\n---\n" + BASE, "x.yaml:1:1", "read as YAML 1.2, got the directive %YAML 1.1"),
        (BASE.replace("small", "2026-11-23"), "x.yaml:2:7", "2026-11-23 is a date"),
        (BASE + "train: {epochs: .nan}\n", "x.yaml:8:17", "numbers are finite, got .nan"),
        (BASE + "train: {optimizer: {lr: -.inf}}\n", "x.yaml:8:25", "numbers are finite"),
        (BASE + "train: {optimizer: {lr: 1e999}}\n", "x.yaml:8:25", "numbers are finite"),
        (BASE + "1: 2\n", "x.yaml:8:1", "keys are text, got 1"),
        (BASE + "<<: {files: a}\n", "x.yaml:8:1", "the merge key << is not YAML 1.2"),
        (BASE + "train: [\n", "x.yaml:9:1", "the text is not YAML"),
        (BASE + "---\na: 1\n", "x.yaml:8:1", "the text is not YAML"),
        (BASE + "files: \x07\n", "x.yaml:8:8", "may not stand in YAML"),
        (BASE + "files: &a [*a]\n", "x.yaml:8:", "an alias may not contain itself"),
        (BASE + "files: " + "[" * 3000, "x.yaml:1", "nested too deeply"),
        (BASE + "train: {seed: " + "9" * 5000 + "}", "x.yaml:8:15", "cannot be read"),
        ("", "x.yaml:1", "the file is empty"),
        ("# only words\n", "x.yaml:1", "the file is empty"),
        ("- 1\n", "x.yaml:1", "an experiment file is a mapping"),
    ],
)
def test_bad_yaml_is_refused_with_line_and_column(
    tmp_path: Path, text: str, place: str, rule: str
) -> None:
    error = refusal(tmp_path, text)
    assert error.place.startswith(place)
    assert rule in error.rule


def test_aliases_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    error = refusal(tmp_path, "a0: &a0 [1, 1]\n" + "\n".join(rows))
    assert "grow without bound" in error.rule


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load(path)


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path / name)


def test_numbers_and_words_are_those_of_yaml_12(tmp_path: Path) -> None:
    text = BASE + "train: {optimizer: {lr: 1e-3}}\nmatrix: {data: [{label: on}, {label: no}]}\n"
    experiment = read(tmp_path, text)
    assert experiment.cells[0].spec.train.optimizer.lr == 0.001
    assert [cell.data_label for cell in experiment.cells] == ["on", "on", "no", "no"]


def test_plain_anchors_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + BASE + "train: &t {epochs: 3}\n")
    assert load(path).cells[0].spec.train.epochs == 3


@pytest.mark.parametrize("version", ["2", "7"])
def test_a_later_version_is_refused_before_its_unknown_keys(tmp_path: Path, version: str) -> None:
    error = refusal(tmp_path, f"version: {version}\nnew_thing: 3\n")
    assert error.rule == f"version {version} is of a later mcl_bench; this one reads version 1"
    assert error.place == "x.yaml:1"
    assert "update mcl_bench" in error.remedy
