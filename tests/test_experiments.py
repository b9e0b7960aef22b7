"""Every experiment file that comes with the package: it loads, it resolves, its networks exist."""

from pathlib import Path

import pytest

from mcl_bench import data, training
from mcl_bench.records import DataError
from mcl_bench.spec import Cell, Experiment, dump_yaml, load, settings_of
from mcl_bench.spec.loss import CUSTOM
from mcl_bench.spec.schema import KINDS

FOLDER = Path(__file__).parent.parent / "experiments"
BASES = sorted((FOLDER / "base").rglob("*.yaml"))
ARMS = sorted((FOLDER / "base" / "arms").glob("*.yaml"))
FILES = sorted(set(FOLDER.rglob("*.yaml")) - set(BASES))
SMALL_CUB = [
    "data.resize=72",
    "data.crop=64",
    "data.validation=0.2",
    "model.weights=none",
    "train.epochs=2",
    "train.batch_size=16",
    "search.trials=2",
    "confirm.seeds=2",
]

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data and no weights, whatever lies on this machine."""
    monkeypatch.setenv("MCL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def classes_of(experiment: Experiment) -> dict[str, int]:
    known = {facts.name: facts.classes for facts in data.names()}
    classes = {}
    for cell in experiment.cells:
        count = cell.spec.data.options.get("classes", known[cell.spec.data.name])
        assert isinstance(count, int), f"{cell.id} must say how many classes it has"
        classes[cell.data_label] = count
    return classes


def from_scratch(cell: Cell) -> Cell:
    """The cell without its weights: a network has its size whatever it starts from."""
    model = cell.spec.model.model_copy(update={"weights": "none"})
    object.__setattr__(cell, "spec", cell.spec.model_copy(update={"model": model}))
    return cell


@every_file
def test_the_file_begins_with_claim_hardware_and_time(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines[: lines.index("version: 1")])
    for word in ("# Claim: ", "Hardware: ", "Time: "):
        assert word in head


@every_file
def test_the_resolved_file_loads_as_the_same_experiment(path: Path, tmp_path: Path) -> None:
    experiment = load(path)
    assert experiment.name == path.stem
    written = tmp_path / "resolved.yaml"
    written.write_text(dump_yaml(experiment.resolved), encoding="utf-8")
    again = load(written)
    assert again.cells == experiment.cells
    assert again.resolved == experiment.resolved


@every_file
def test_every_cells_network_can_be_described(path: Path) -> None:
    experiment = load(path)
    classes = classes_of(experiment)
    for cell in map(from_scratch, experiment.cells):
        facts = training.describe(cell.spec, classes[cell.data_label])
        assert len(facts.groups) == classes[cell.data_label]
        assert sum(facts.groups) == facts.maps
        assert min(facts.map_size) >= 2


@every_file
def test_data_that_is_not_there_is_told_with_what_to_get(path: Path) -> None:
    experiment = load(path)
    needing = {facts.name for facts in data.names() if facts.needs_root}
    if needing.isdisjoint(cell.spec.data.name for cell in experiment.cells):
        data.check(experiment)
        return
    with pytest.raises(DataError) as caught:
        data.check(experiment)
    assert caught.value.key == "data.root"
    assert caught.value.remedy
    assert experiment.place("data.root")


@every_file
def test_weights_that_are_not_there_are_told_with_what_to_get(path: Path) -> None:
    experiment = load(path)
    models = [cell.spec.model for cell in experiment.cells]
    # The weights of efficientnet_lite0 come with a package.
    if all(one.weights == "none" or one.backbone == "efficientnet_lite0" for one in models):
        training.check(experiment, classes_of(experiment))
        return
    with pytest.raises(DataError) as caught:
        training.check(experiment, classes_of(experiment))
    assert caught.value.key == "model.weights"
    assert "https://" in (caught.value.remedy or "")
    assert experiment.place("model.weights")


@every_file
def test_all_else_of_the_file_can_be_trained(path: Path) -> None:
    experiment = load(path, ["model.weights=none"])
    assert {cell.spec.model.weights for cell in experiment.cells} == {"none"}
    training.check(experiment, classes_of(experiment))


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_a_base_is_extended_by_a_file(path: Path) -> None:
    name = path.relative_to(FOLDER).as_posix()
    assert any(name in file.read_text(encoding="utf-8") for file in FILES)


LAPTOP = """\
version: 1
name: laptop
extends: {arm}
data: {{name: parts, options: {{classes: 4}}, resize: 24, crop: 20}}
model: {{backbone: convnet}}
arms: {{ce: {{loss: {{name: ce}}}}}}
search: {{space: {{train.optimizer.lr: {{log: [1.0e-3, 0.1]}}}}}}
"""


@pytest.mark.parametrize("path", ARMS, ids=lambda path: path.stem)
def test_an_arm_can_be_added_to_any_experiment(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "laptop.yaml"
    file.write_text(LAPTOP.format(arm=path), encoding="utf-8")
    experiment = load(file)
    ce, arm = sorted(experiment.cells, key=lambda cell: cell.arm != "ce")
    assert arm.arm == path.stem
    assert set(ce.space) < set(arm.space)
    written = settings_of(arm.spec)
    for key, values in arm.space.items():
        if key.startswith("loss."):
            assert written[key] in values, f"{key}: the search leaves out the arm's own setting"
    training.check(experiment, {"parts": 4})


def test_there_is_an_arm_for_every_loss() -> None:
    names = {path.stem for path in ARMS}
    assert set(KINDS["loss"]) - {"ce", "mc", CUSTOM} <= names


def test_cub_losses_gives_every_arm_the_same_budget() -> None:
    experiment = load(FOLDER / "cub_losses.yaml")
    assert {cell.arm for cell in experiment.cells} == {"ce", "mc", *(path.stem for path in ARMS)}
    assert all(cell.equal_budget for cell in experiment.cells)
    assert experiment.baseline == "ce"


def test_cub_resnet_compares_two_arms_on_two_networks_with_equal_budgets() -> None:
    experiment = load(FOLDER / "cub_resnet.yaml")
    shared = {"train.optimizer.lr"}
    own = {"loss.mu", "loss.lambda", "loss.mask_ratio"}
    assert {cell.id: set(cell.space) for cell in experiment.cells} == {
        "cub200-resnet50-ce": shared,
        "cub200-resnet50-mc": shared | own,
        "cub200-resnet50_adapter-ce": shared | {"model.xi"},
        "cub200-resnet50_adapter-mc": shared | own | {"model.xi"},
    }
    assert all(cell.equal_budget for cell in experiment.cells)
    assert experiment.spec.confirm.seeds == 5
    for cell in experiment.cells:
        assert (cell.spec.data.resize, cell.spec.data.crop) == (600, 448)
        assert (cell.spec.model.weights, cell.spec.train.optimizer.head_lr_scale) == (
            "imagenet",
            10.0,
        )


def test_cub_resnet_shrinks_to_a_laptop_by_overrides_alone(tmp_path: Path) -> None:
    experiment = load(FOLDER / "cub_resnet.yaml", [f"data.root={tmp_path}", *SMALL_CUB])
    for cell in experiment.cells:
        assert (cell.spec.data.crop, cell.spec.train.epochs) == (64, 2)
        assert (cell.spec.model.weights, cell.spec.train.optimizer.head_lr_scale) == ("none", 1.0)
    training.check(experiment, {"cub200": 12})
