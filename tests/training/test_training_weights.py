import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mcl_bench.losses import build_objective
from mcl_bench.records import DataError, UserError
from mcl_bench.spec import ModelSpec, TrialSpec
from mcl_bench.spec.defaults import WITH_IMAGENET
from mcl_bench.training import Training, check, describe, weights
from mcl_bench.training.backbones import BACKBONES, OF_IMAGENET, OF_SCRIPTS
from mcl_bench.training.inputs import open_inputs
from mcl_bench.training.models import build_network
from mcl_bench.training.optimisation import build_optimizer

MakeSpec = Callable[..., TrialSpec]
State = dict[str, Tensor]


def model(file: str | Path, backbone: str = "convnet", **changes: object) -> ModelSpec:
    plain = {"backbone": backbone, "weights": str(file), "channels": "adapter", "xi": 2}
    return ModelSpec.model_validate({**plain, "head": "mlp", **changes})


def state_of(backbone: str = "convnet", seed: int = 9) -> State:
    torch.manual_seed(seed)
    built = BACKBONES[backbone].build()
    for name, value in built.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return dict(built.state_dict())


def save(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization="old" not in path.name)
    return path


def refused(asked: ModelSpec) -> UserError:
    """What is said of the weights before anything starts, and again when they are loaded."""
    with pytest.raises(UserError) as first:
        weights.check_weights(asked)
    with pytest.raises(UserError) as second:
        build_network(asked, 5, seed=1)
    assert str(first.value) == str(second.value)
    assert first.value.key == "model.weights"
    return first.value


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torchvision keeps its files, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["a.pth", "old.pth", "a.safetensors"])
def test_the_backbone_begins_with_the_files_tensors(tmp_path: Path, name: str) -> None:
    state = state_of()
    network = build_network(model(save(state, tmp_path / name)), 5, seed=1)
    found = network.backbone.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert network.backbone[1][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_head_and_adapter_start_the_same_with_and_without_weights(tmp_path: Path) -> None:
    file = save(state_of(), tmp_path / "a.pth")
    loaded, scratch = (build_network(model(one), 5, seed=1) for one in (file, "none"))
    for name, value in scratch.state_dict().items():
        same = torch.equal(loaded.state_dict()[name], value)
        assert same or name.startswith("backbone."), name
    first = next(iter(scratch.backbone.parameters()))
    assert not torch.equal(next(iter(loaded.backbone.parameters())), first)


@pytest.mark.parametrize("backbone", ["resnet18", "vgg11_bn"])
def test_a_whole_networks_classifier_is_left_out(tmp_path: Path, backbone: str) -> None:
    state = state_of(backbone)
    classifier = {"resnet18": "fc.weight", "vgg11_bn": "classifier.0.weight"}[backbone]
    file = save({**state, classifier: torch.ones(3, 4)}, tmp_path / "a.pth")
    asked = model(file, backbone)
    weights.check_weights(asked)
    found = build_network(asked, 5, seed=1).backbone.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_counts_of_batches_may_be_absent_as_in_old_files(tmp_path: Path) -> None:
    state = {k: v for k, v in state_of().items() if not k.endswith("num_batches_tracked")}
    found = build_network(model(save(state, tmp_path / "a.pth")), 5, seed=1).backbone.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_only_the_backbone_learns_slowly(tmp_path: Path, spec: MakeSpec) -> None:
    file = save(state_of(), tmp_path / "a.pth")
    asked = spec(
        model={"weights": str(file), "head": "mlp"},
        train={"optimizer": {"lr": 0.01, "head_lr_scale": 10.0}},
    )
    network = build_network(asked.model, 5, seed=1)
    objective = build_objective(asked.loss, groups=network.groups, embedding_size=512)
    made = build_optimizer(asked.train.optimizer, network=network, objective=objective)
    rates = {id(value): group["lr"] for group in made.param_groups for value in group["params"]}
    for name, value in network.named_parameters():
        wanted = 0.01 if name.startswith("backbone.") else 0.1
        assert rates.pop(id(value)) == pytest.approx(wanted), name
    assert not rates


def without(state: State, name: str) -> State:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: without(state, "1.0.weight"), "does not fit convnet: it lacks 1.0.weight"),
        (lambda state: {**state, "fc.weight": torch.ones(2)}, "it has the unknown fc.weight"),
        (
            lambda state: {**state, "0.0.weight": torch.ones(12, 3, 5, 5)},
            "it has the wrong shape of 0.0.weight (12×3×5×5, not 12×3×3×3)",
        ),
        (
            lambda state: {f"module.{key}": value for key, value in state.items()},
            "it lacks 0.0.weight, 0.1.weight, 0.1.bias and 17 more; it has the unknown",
        ),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, name: str, change: Callable[[State], State], told: str
) -> None:
    error = refused(model(save(change(state_of()), tmp_path / name)))
    assert told in error.rule
    assert error.exit_code == 2


class Code:
    def __reduce__(self) -> Any:
        return (print, ("code was run",))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 3, "state": state_of()}, "its entry 'epoch' is a int"),
        ({"state_dict": state_of()}, "its entry 'state_dict' is a dict"),
        ([torch.ones(2)], "holds no state dict, but a list"),
        ({}, "holds no state dict, but a dict"),
        ({"a": Code()}, "holds no weights that can be read"),
    ],
)
def test_a_file_of_anything_but_tensors_by_name_is_refused_and_no_code_run(
    tmp_path: Path, content: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(model(save(content, tmp_path / "a.pth")))
    assert told in error.rule
    assert error.exit_code == 3
    assert "code was run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text\n", b"\x80\x02}.", b"PK\x03\x04"])
def test_a_damaged_file_is_told_without_a_traceback(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = refused(model(path))
    assert isinstance(error, DataError)
    assert str(path) in error.rule


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    path = save(state_of(), tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[:-200])
    assert isinstance(refused(model(path)), DataError)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    error = refused(model(tmp_path / "a.pth"))
    assert isinstance(error, DataError)
    assert error.rule == f"model.weights {tmp_path / 'a.pth'} does not exist"
    (tmp_path / "folder.pth").mkdir()
    assert refused(model(tmp_path / "folder.pth")).rule.endswith("folder.pth is no file")


@pytest.mark.parametrize(
    ("backbone", "word", "name"),
    [
        ("resnet50", "imagenet", "resnet50-0676ba61.pth"),
        ("resnet50", "imagenet_v2", "resnet50-11ad3fa6.pth"),
        ("vgg16_bn", "imagenet", "vgg16_bn-6c64b313.pth"),
    ],
)
def test_absent_published_weights_are_told_with_file_place_and_address(
    hub: Path, backbone: str, word: str, name: str
) -> None:
    error = refused(model(word, backbone))
    assert isinstance(error, DataError)
    assert str(hub / name) in error.rule
    assert error.remedy is not None
    address = f"https://download.pytorch.org/models/{name}"
    assert f"curl --create-dirs -Lo {hub / name} {address}" in error.remedy


@pytest.mark.parametrize(
    "backbone",
    [
        name
        for name, one in BACKBONES.items()
        if one.publisher == "torchvision" and WITH_IMAGENET.fullmatch(name)
    ],
)
def test_every_published_file_is_named_by_its_hash(hub: Path, backbone: str) -> None:
    file = weights.published_file(model("imagenet", backbone))
    assert file.path.parent == hub
    assert weights.HASH.search(file.path.name) is not None


@pytest.mark.parametrize(
    ("backbone", "word", "ways"),
    [
        ("resnet18", "imagenet_v2", "none, imagenet, a .safetensors"),
        ("vgg16_bn", "imagenet_v2", "none, imagenet, a .safetensors"),
        ("resnext101_64x4d", "imagenet_v2", "none, imagenet, a .safetensors"),
        ("convnet", "imagenet", "none, a .safetensors"),
    ],
)
def test_weights_that_were_never_published_are_refused_with_those_that_were(
    backbone: str, word: str, ways: str
) -> None:
    error = refused(model(word, backbone))
    assert error.exit_code == 2
    assert error.rule == f"model.weights {word} is not published for {backbone}"
    assert error.remedy is not None
    assert ways in error.remedy


def test_a_published_file_with_another_hash_is_damaged(hub: Path) -> None:
    hub.mkdir(parents=True)
    path = save(state_of("resnet18"), hub / "resnet18-f37072fd.pth")
    error = refused(model("imagenet", "resnet18"))
    assert isinstance(error, DataError)
    assert f"{path} is damaged: its SHA-256 begins with" in error.rule
    assert "not with f37072fd" in error.rule


def test_a_published_file_with_its_own_hash_is_loaded(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.mkdir(parents=True)
    state = state_of("resnet18")
    path = save(state, hub / "made.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(hub / f"made-{digest[:8]}.pth")
    file = weights.WeightsFile(path=path, url="https://somewhere.org")
    monkeypatch.setattr(weights, "published_file", lambda _: file)
    asked = model("imagenet", "resnet18")
    weights.check_weights(asked)
    assert weights.weights_sha256(asked) == digest
    found = build_network(asked, 5, seed=1).backbone.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_describe_gives_the_files_hash_and_reads_it_once_until_it_changes(
    tmp_path: Path, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(state_of(), tmp_path / "a.pth")
    asked = spec(model={"weights": str(path)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert describe(asked, 5).weights_sha256 == digest
    with monkeypatch.context() as patch:
        patch.setattr(weights.hashlib, "file_digest", None)
        assert describe(asked, 5).weights_sha256 == digest
    save(state_of(seed=10), path)
    changed = hashlib.sha256(path.read_bytes()).hexdigest()
    assert describe(asked, 5).weights_sha256 == changed != digest


def test_normalisation_follows_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    for word in ("imagenet", "imagenet_v2", file):
        assert weights.normalisation(model(word, "resnet50")) == OF_IMAGENET
    assert weights.normalisation(model("none", "resnet50")) == OF_SCRIPTS
    own = weights.normalisation(model("none"))
    assert own == weights.normalisation(model(file))
    assert own.std == (0.25, 0.25, 0.25)


def test_a_training_sees_images_normalised_for_its_weights(
    tmp_path: Path, make_config: Any, spec: MakeSpec
) -> None:
    file = save(state_of("vgg11_bn"), tmp_path / "a.pth")
    first = []
    for word in ("none", str(file)):
        changes = {"backbone": "vgg11_bn", "weights": word}
        inputs = open_inputs(
            make_config(model=changes), spec(model=changes), device=torch.device("cpu")
        )
        first.append(next(inputs.train.epoch(0)).images)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (OF_IMAGENET.mean, OF_IMAGENET.std))
    pixels = first[0] * 0.5 + 0.5
    torch.testing.assert_close(first[1], (pixels - mean) / std, atol=1e-5, rtol=1e-5)


def test_a_training_starts_from_the_files_weights(tmp_path: Path, make_config: Any) -> None:
    state = state_of()
    file = save(state, tmp_path / "a.safetensors")
    rate = {"lr": 1e-12, "head_lr_scale": 10.0}
    config = make_config(model={"weights": str(file)}, train={"epochs": 1, "optimizer": rate})
    training = Training(config)
    next(training)
    found = training.network.backbone.state_dict()
    for name, value in state.items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(found[name], value, msg=name)


class Cells:
    """An experiment of these configurations, as far as `check` looks at it."""

    def __init__(self, *specs: TrialSpec) -> None:
        self.cells = [Cell(one) for one in specs]


class Cell:
    space: dict[str, Any] = {}  # noqa: RUF012 - never changed
    data_label = "parts"

    def __init__(self, asked: TrialSpec) -> None:
        self.spec = asked


def test_check_tells_weights_that_are_absent_before_anything_starts(
    spec: MakeSpec, hub: Path
) -> None:
    asked = spec(model={"backbone": "resnet50", "weights": "imagenet"}, data={"crop": 64})
    with pytest.raises(DataError, match=f"needs the file {hub}"):
        check(Cells(asked), {"parts": 12})  # type: ignore[arg-type]


def test_check_reads_a_file_once_for_all_cells(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(state_of(), tmp_path / "a.pth")
    read, paths = weights._read, []

    def reading(path: Path) -> Any:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(weights, "_read", reading)
    cells = [spec(model={"weights": str(file), "xi": xi}) for xi in (2, 3, 3)]
    check(Cells(*cells), {"parts": 12})  # type: ignore[arg-type]
    assert paths == [file]
