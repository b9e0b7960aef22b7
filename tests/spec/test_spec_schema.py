import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from spec_files import BASE, FULL, ROOT

from mcl_bench.spec import json_schema


def validate(text: str) -> None:
    plain = YAML(typ="safe", pure=True).load(text)
    jsonschema.Draft202012Validator(json_schema()).validate(plain)


BASES = sorted(ROOT.glob("experiments/base/**/*.yaml"))
FILES = sorted(set(ROOT.glob("experiments/**/*.yaml")) - set(BASES))


@pytest.mark.parametrize("text", [BASE, FULL, *(path.read_text() for path in FILES)])
def test_good_files_are_valid_for_editors(text: str) -> None:
    validate(text)


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_a_base_is_valid_but_for_what_only_a_whole_file_needs(path: Path) -> None:
    validate(path.read_text() + "\nextends: another.yaml\n")


@pytest.mark.parametrize(
    "line",
    [
        "trian: {}",
        "train: {epoch: 3}",
        "train: {epochs: 0}",
        "search: {pruner: ashha}",
        "search: {pruner: {name: none, grace: 7}}",
        "search: {pruner: {name: median, reduction: 4}}",
        "train: {optimizer: {name: adamw, momentum: 0.9}}",
        "train: {schedule: {name: step, milestones: []}}",
        "search: {space: {train.epochs: 3}}",
        "matrix: {data: [{resise: 3}]}",
        "matrix: {model: [{train: {epoch: 3}}]}",
        "extends: 3",
    ],
)
def test_bad_lines_are_marked_in_editors(line: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(BASE + line + "\n")


@pytest.mark.parametrize(
    "line",
    [
        "search: {pruner: none}",
        "search: {pruner: {grace: 7}}",
        "search: {pruner: {name: median, grace: 7}}",
        "train: {optimizer: {name: adamw, lr: 0.1}, schedule: {warmup_epochs: 1}}",
        "train: {optimizer: {lr: 0.1}}",
    ],
)
def test_kinds_are_known_to_editors(line: str) -> None:
    validate(BASE + line + "\n")


def test_a_file_that_extends_another_needs_no_more() -> None:
    validate("extends: base.yaml\n")
    with pytest.raises(jsonschema.ValidationError):
        validate("version: 1\n")


def test_the_schema_is_json_and_says_which() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema()))["$schema"].endswith("2020-12/schema")


def test_loading_a_file_is_quick_and_loads_no_heavy_room(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(BASE)
    script = f"""
import sys, time
begun = time.process_time()
import mcl_bench.spec, mcl_bench.records, mcl_bench.files
mcl_bench.spec.load({str(tmp_path / "x.yaml")!r})
print(time.process_time() - begun)
heavy = ("torch", "ray", "optuna", "mlflow", "pyarrow", "pandas", "numpy", "omegaconf")
print(*[name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, heavy = done.stdout.splitlines()
    assert float(seconds) < 0.5
    assert heavy == ""
