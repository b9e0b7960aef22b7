"""What this version takes of a key that it once refused in part."""

from pathlib import Path

import pytest
from spec_files import BASE, read


@pytest.mark.parametrize("balance", ["none", "weights", "sqrt_weights", "sampling"])
def test_every_way_to_balance_classes_is_accepted(tmp_path: Path, balance: str) -> None:
    text = BASE.replace("{name: parts}", f"{{name: parts, balance: {balance}}}")
    assert {cell.spec.data.balance for cell in read(tmp_path, text).cells} == {balance}


def test_balanced_sampling_can_be_searched_beside_weights(tmp_path: Path) -> None:
    space = "search: {space: {data.balance: {choice: [none, sqrt_weights, sampling]}}}\n"
    for cell in read(tmp_path, BASE + space).cells:
        assert set(cell.space["data.balance"].ends) == {"none", "sqrt_weights", "sampling"}


@pytest.mark.parametrize(
    "line",
    [
        "search: {reuse: true}",
        "budget: {hours: 3}",
        "budget: {device_hours: 0.5}",
        "budget: {checkpoint_gb: 3}",
        "tracking: {log: top}",
        "tracking: {log: confirmed}",
    ],
)
def test_known_values_budgets_and_fewer_runs_can_be_asked_for(tmp_path: Path, line: str) -> None:
    section, _, values = line.partition(": ")
    key, _, value = values.strip("{}").partition(": ")
    spec = read(tmp_path, BASE + line + "\n").spec
    assert str(getattr(getattr(spec, section), key)).lower().removesuffix(".0") == value
