import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from mcl_bench.records import UserError
from mcl_bench.spec import Choice, FloatRange, IntRange, ModelSpec, load, settings_of
from mcl_bench.spec.support import SUPPORTED
from mcl_bench.training import check
from mcl_bench.training.heads import HEADS
from mcl_bench.training.weights import MEMBERS


@pytest.fixture
def tell(spec: Any) -> Any:
    """What `check` says of one cell with these changes and this space; None if it lets it pass."""

    def ask(
        space: dict[str, Any] | None = None, classes: int = 12, **changes: Any
    ) -> UserError | None:
        base = spec(**changes)
        cell = SimpleNamespace(
            arm="own",
            spec=base,
            space=space or {},
            data_label="parts",
            settings=lambda params: settings_of(base) | dict(params),
        )
        try:
            check(SimpleNamespace(cells=(cell,)), {"parts": classes})  # type: ignore[arg-type]
        except UserError as error:
            return error
        return None

    return ask


NATIVE = {"channels": "native", "xi": "auto"}


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        (
            {"model": {"backbone": "convnt"}},
            "model.backbone",
            "model.backbone 'convnt' is not known; the nearest is 'convnet'",
        ),
        ({"model": {"backbone": "Q"}}, "model.backbone", "'Q' is not known"),
        (
            {"train": {"epochs": 2, "schedule": {"warmup_epochs": 2.0}}},
            "train.schedule.warmup_epochs",
            r"less than train.epochs \(2\), got 2",
        ),
        (
            {"model": {"backbone": "resnet18"}, "data": {"crop": 32}},
            "data.crop",
            "data.crop 32 leaves resnet18 maps of 1×1",
        ),
        (
            {"model": {"backbone": "vgg16_bn", **NATIVE}, "classes": 513},
            "model.channels",
            "vgg16_bn's 512 maps, fewer than the 513 classes",
        ),
        (
            {"model": {"weights": "imagenet"}},
            "model.weights",
            "model.weights imagenet is not published for convnet",
        ),
        (
            {"model": {"weights": "not/there.pth"}},
            "model.weights",
            "model.weights not/there.pth does not exist",
        ),
        ({"data": {"crop": 8}}, "data.crop", "data.crop 8 leaves convnet maps of 1×1"),
        (
            {"model": {"backbone": "inception_v3"}, "data": {"crop": 64}},
            "data.crop",
            "data.crop 64 does not suit inception_v3",
        ),
        (
            {"model": {"backbone": "vit_b_16"}, "data": {"crop": 100}},
            "data.crop",
            "data.crop 100 does not suit vit_b_16: an image's side must be a multiple of 16",
        ),
        (
            {"model": {"backbone": "maxvit_t"}, "data": {"crop": 256}},
            "data.crop",
            "data.crop 256 does not suit maxvit_t: an image's side must be a multiple of 224",
        ),
        (
            {"model": {"backbone": "densenet121", "channels": "widen"}, "data": {"crop": 64}},
            "model.channels",
            "model.channels widen: densenet121 has no last stage that can be rebuilt",
        ),
        (
            {"model": {"freeze": 5}},
            "model.freeze",
            "model.freeze must be at most 4 with convnet, got 5",
        ),
        (
            {"model": {"freeze": 4, "channels": "widen"}},
            "model.freeze",
            "model.freeze must be at most 3 with convnet; widen rebuilds the last of 4, got 4",
        ),
        (
            {"model": {"head": "bilinear", "xi": 86}},
            "model.head",
            "model.head bilinear on 1032 maps has an embedding of 1065024 numbers",
        ),
        (
            {"model": {"backbone": "no.such:net"}},
            "model.backbone",
            "no.such:net cannot be imported",
        ),
        (
            {"model": NATIVE, "classes": 49},
            "model.channels",
            "convnet's 48 maps, fewer than the 49 classes of parts",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_with_key_and_value(
    tell: Any, changes: dict[str, Any], key: str, rule: str
) -> None:
    error = tell(**changes)
    assert error is not None
    assert error.key == key
    with pytest.raises(UserError, match=rule):
        raise error


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": NATIVE, "classes": 48},
        {"data": {"crop": 9}},
        {"model": {"backbone": "resnet18"}, "data": {"crop": 33}},
        {"model": {"backbone": "vgg16_bn"}, "data": {"crop": 32}},
        {"train": {"precision": "bf16"}},
        {"model": {"freeze": 4}},
        {"model": {"freeze": 3, "channels": "widen"}},
        {"model": {"head": "bilinear", "xi": 85}},
        {"model": {"backbone": "inception_v3"}, "data": {"crop": 107}},
        {"model": {"backbone": "vit_b_16"}, "data": {"crop": 96}},
        {"space": {"model.xi": IntRange(low=1, high=5)}},
    ],
)
def test_what_can_be_trained_passes(tell: Any, changes: dict[str, Any]) -> None:
    assert tell(**changes) is None


LONG_WARM_UP = {"schedule": {"warmup_epochs": 1.5}}


def test_searched_settings_are_tried_at_their_ends(tell: Any) -> None:
    error = tell(space={"train.epochs": IntRange(low=1, high=9)}, train=LONG_WARM_UP)
    assert error is not None
    assert error.key == "train.schedule.warmup_epochs"


def test_every_choice_of_a_searched_setting_is_tried(tell: Any) -> None:
    error = tell(space={"train.epochs": Choice(values=(9, 1, 8))}, train=LONG_WARM_UP)
    assert error is not None
    assert error.key == "train.schedule.warmup_epochs"


def test_the_file_lets_pass_what_training_has_and_nothing_else() -> None:
    heads = ModelSpec.model_fields["head"].annotation
    assert set(get_args(heads)) == set(HEADS)
    assert set(SUPPORTED["train.precision"]) == {"fp32", "bf16"}
    assert {"none", *MEMBERS} == {
        word for word in SUPPORTED["model.weights"] if not word.startswith("*")
    }


def test_an_experiment_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        """
version: 1
name: small
data: {name: parts}
model: {backbone: convnet, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc}}
search: {space: {model.xi: {int: [1, 4]}}}
"""
    )
    experiment = load(path)
    check(experiment, {cell.data_label: 12 for cell in experiment.cells})


@pytest.mark.parametrize(
    ("loss", "key", "rule"),
    [
        (
            {"name": "nowhere.at_all:Loss"},
            "name",
            "nowhere.at_all:Loss cannot be imported: ModuleNotFoundError: No module",
        ),
        ({"name": "own_losses:Sharpend"}, "name", "own_losses has no Sharpend; the nearest known"),
        ({"name": "own_losses:function"}, "name", "own_losses holds no torch module function"),
        (
            {"name": "own_losses:Sharpened", "options": {"gama": 1}},
            "options.gama",
            "own_losses:Sharpened takes no option gama; the nearest known one is gamma",
        ),
        (
            {"name": "own_losses:Picky"},
            "options",
            "cannot be made with the options {}: TypeError: .*missing 1 required .*gamma",
        ),
        (
            {"name": "own_losses:Picky", "options": {"gamma": 3}},
            "options",
            "with the options {'gamma': 3}: ValueError: gamma must be at most 1, got 3",
        ),
        ({"name": "own_losses:OfLogits"}, "name", "own_losses:OfLogits fails on a batch of 2"),
        (
            {"name": "own_losses:Unreduced"},
            "name",
            r"must return a scalar tensor with a gradient, got a tensor of the shape \(2,\)",
        ),
        (
            {"name": "own_losses:Narrow"},
            "name",
            r"Narrow.logits must return 2×12 numbers for 2 images, got a tensor .* \(2, 1\)",
        ),
    ],
)
def test_a_users_loss_that_cannot_be_used_is_refused(
    tell: Any, loss: dict[str, Any], key: str, rule: str
) -> None:
    error = tell(loss=loss)
    assert error.key == f"arms.own.loss.{key}"
    assert error.rule.startswith("arms.own.loss: ")
    assert re.search(rule, error.rule)


def test_a_users_loss_that_is_not_found_is_told_where_to_put(tell: Any) -> None:
    assert "PYTHONPATH" in tell(loss={"name": "nowhere:Loss"}).remedy


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_a_users_loss_that_can_be_used_passes(tell: Any, balance: str) -> None:
    for name in ("Sharpened", "Plain"):
        loss = {"name": f"own_losses:{name}", "options": {"gamma": 3}, "plus": {"name": "mc"}}
        assert tell(loss=loss, data={"balance": balance}) is None


def test_the_ends_of_a_searched_option_are_tried(tell: Any) -> None:
    loss = {"name": "own_losses:Picky", "options": {"gamma": 0.5}}
    assert tell({"loss.options.gamma": FloatRange(low=0, high=1)}, loss=loss) is None
    error = tell({"loss.options.gamma": FloatRange(low=0, high=2)}, loss=loss)
    assert "gamma must be at most 1, got 2" in error.rule


def test_trying_a_users_loss_leaves_the_generators_alone(tell: Any) -> None:
    before = torch.get_rng_state()
    assert tell(loss={"name": "own_losses:Sharpened"}) is None
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("backbone", "crop", "works"),
    [
        ("vit_b_16", 100, 112),
        ("maxvit_t", 256, 448),
        ("inception_v3", 64, 112),
        ("resnet18", 32, 48),
    ],
)
def test_a_crop_that_does_not_suit_is_told_with_one_that_does(
    tell: Any, backbone: str, crop: int, works: int
) -> None:
    error = tell(model={"backbone": backbone}, data={"crop": crop})
    assert error is not None
    assert error.remedy == f"data.crop {works} works; data.resize must be as large or larger"
