import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from spec_files import ADAPTER, BASE, FULL, ROOT, write

from mcl_bench.records import UserError
from mcl_bench.spec import Experiment, dump_yaml, load, settings_of, trial_spec


def again(experiment: Experiment, folder: Path) -> Experiment:
    path = folder / "resolved.yaml"
    path.write_text(dump_yaml(experiment.resolved), encoding="utf-8")
    return load(path)


@pytest.mark.parametrize("source", [BASE, ADAPTER, FULL, *sorted(ROOT.glob("experiments/*.yaml"))])
def test_the_resolved_file_loads_as_exactly_the_same_experiment(
    tmp_path: Path, source: str | Path
) -> None:
    experiment = load(write(tmp_path, source) if isinstance(source, str) else source)
    second = again(experiment, tmp_path)
    assert second.cells == experiment.cells
    assert second.resolved == experiment.resolved
    assert (second.baseline, second.name) == (experiment.baseline, experiment.name)


def test_the_resolved_file_names_every_default(tmp_path: Path) -> None:
    resolved = load(write(tmp_path, BASE)).resolved
    assert resolved["data"]["resize"] == 64
    assert resolved["data"]["validation"] == 0.1
    assert resolved["model"]["weights"] == "none"
    assert resolved["model"]["xi"] == "auto"
    assert resolved["train"]["optimizer"]["head_lr_scale"] == 1.0
    assert resolved["baseline"] == "ce"
    assert resolved["arms"]["mc"]["loss"]["lambda"] == 10.0
    assert "extends" not in resolved


def test_a_default_that_differs_between_cells_stays_open(tmp_path: Path) -> None:
    text = BASE + "matrix: {data: [{name: parts}, {name: digits}]}\n"
    resolved = load(write(tmp_path, text)).resolved
    assert resolved["data"]["resize"] is None
    assert resolved["matrix"]["data"] == [{"name": "parts"}, {"name": "digits"}]
    assert resolved["data"]["validation"] == 0.1
    text = BASE + "matrix: {data: [{name: cub200}, {name: aircraft}]}\n"
    assert load(write(tmp_path, text)).resolved["data"]["validation"] is None


def test_settings_and_specs_are_inverse(tmp_path: Path) -> None:
    for cell in load(write(tmp_path, FULL)).cells:
        flat = cell.settings()
        assert trial_spec(flat) == cell.spec
        assert settings_of(trial_spec(flat)) == flat
    first = load(write(tmp_path, FULL)).cells[0].settings()
    assert first["train.schedule.milestones"] == [3, 5]
    assert first["data.options.classes"] == 3


TREE = YAML(typ="safe", pure=True).load(FULL)
VALUES = st.sampled_from(
    [
        *(None, 0, -1, 3, 1.5, 10**30, True, "x", "", "a.b", [], [1], [None], [[1]], {}),
        *({"name": "ce"}, {"a": 1}, {"space": 3}, {"name": 3}, {"log": [0, 1]}, [{"name": "q"}]),
        *("${data.name}", "${x.y}", "${oc.env:MCL_NOT_SET}", "${"),
        {"train.epochs": {"int": [1, 2]}},
    ]
)
OVERRIDES = st.sampled_from(
    [
        *("train.epochs=3", "train=3", "data.resize={short: 5}", "matrix.model.on.freeze=3"),
        *("search.space.model.xi=null", "arms.mc.train.epochs=4", "search.space=null", "arms=null"),
        *("model.backbone=z", "data.name=", "matrix.data.Di-gits.crop=3", "matrix=null", "search="),
    ]
)


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path] * bool(path) + [one for key, child in below for one in paths(child, (*path, key))]


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_file_loads_and_round_trips_or_is_refused_with_a_place(
    tmp_path: Path, data: Any
) -> None:
    tree = copy.deepcopy(TREE)
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from(paths(tree)))
        place = tree
        for key in parents:
            place = place[key]
        action = data.draw(st.sampled_from(["set", "delete", "add"]))
        if action == "set":
            place[last] = copy.deepcopy(data.draw(VALUES))
        elif action == "delete":
            del place[last]
        elif isinstance(place, dict):
            key = data.draw(st.sampled_from(["x", "train", "space", "", "a.b"]))
            place[key] = copy.deepcopy(data.draw(VALUES))
    path = write(tmp_path, dump_yaml(tree))
    try:
        experiment = load(path, data.draw(st.lists(OVERRIDES, max_size=2)))
    except UserError as error:
        assert error.place is not None
        assert error.place.startswith((f"{path}:", "override "))
        return
    second = again(experiment, tmp_path)
    assert second.cells == experiment.cells
    assert second.resolved == experiment.resolved
