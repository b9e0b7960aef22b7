from pathlib import Path
from typing import Any

import pytest
from spec_files import BASE, read

from mcl_bench.spec import ShortSide
from mcl_bench.spec.defaults import WITH_IMAGENET, resolve
from mcl_bench.spec.settings import validated


@pytest.mark.parametrize(
    ("data", "resize", "crop"),
    [
        ("{name: parts}", 64, 64),
        ("{name: parts, options: {size: 96}}", 96, 96),
        ("{name: digits}", 32, 32),
        ("{name: elpv}", 224, 224),
        ("{name: folder}", 256, 224),
        ("{name: cub200}", 600, 448),
        ("{name: folder, resize: 64}", 64, 56),
        ("{name: folder, crop: 56}", 64, 56),
        ("{name: folder, resize: 64, crop: 60}", 64, 60),
        ("{name: folder, resize: {short: 64}}", ShortSide(short=64), 56),
        ("{name: unheard_of}", 256, 224),
    ],
)
def test_sizes_are_those_of_the_data_set(tmp_path: Path, data: str, resize: Any, crop: int) -> None:
    spec = read(tmp_path, BASE.replace("{name: parts}", data)).cells[0].spec
    assert (spec.data.resize, spec.data.crop) == (resize, crop)


@pytest.mark.parametrize(
    ("data", "validation"),
    [
        ("{name: aircraft}", "official"),
        ("{name: flowers102, options: {split: swapped}}", "official"),
        ("{name: flowers102, validation: 0.3}", 0.3),
        ("{name: aircraft, validation: null}", "official"),
        ("{name: cub200}", 0.1),
        ("{name: folder}", 0.1),
    ],
)
def test_what_is_validated_on_is_the_official_split_where_a_set_always_has_one(
    tmp_path: Path, data: str, validation: Any
) -> None:
    cell = read(tmp_path, BASE.replace("{name: parts}", data)).cells[0]
    assert cell.spec.data.validation == validation
    assert cell.settings()["data.validation"] == validation


@pytest.mark.parametrize(
    ("name", "imagenet"),
    [
        ("resnet18", True),
        ("resnext50_32x4d", True),
        ("wide_resnet50_2", True),
        ("vgg16_bn", True),
        ("efficientnet_lite0", True),
        ("mobilenet_v3_small", True),
        ("timm/resnet50.a1_in1k", True),
        ("convnet", False),
        ("vgg16_mc", False),
        ("resnet18_mc", False),
        ("package.module:function", False),
    ],
)
def test_only_backbones_with_imagenet_weights_default_to_them(name: str, imagenet: bool) -> None:
    assert (WITH_IMAGENET.fullmatch(name) is not None) is imagenet


def test_the_torchvision_models_are_known_to_have_imagenet_weights() -> None:
    models = pytest.importorskip("torchvision").models
    names = set(models.list_models(module=models))
    unknown = {name for name in names if WITH_IMAGENET.fullmatch(name) is None}
    assert unknown == {"vit_h_14", "regnet_y_128gf"}


@pytest.mark.parametrize(
    ("weights", "written", "scale"),
    [("none", None, 1.0), ("none", 10.0, 1.0), ("imagenet", None, 10.0), ("imagenet", 4.0, 4.0)],
)
def test_the_heads_rate_follows_the_weights(
    weights: str, written: float | None, scale: float
) -> None:
    optimizer = {} if written is None else {"head_lr_scale": written}
    spec = resolve(
        validated(
            {
                "data": {"name": "parts"},
                "model": {"backbone": "x", "weights": weights},
                "loss": {"name": "ce"},
                "train": {"optimizer": optimizer},
            }
        )
    )
    assert spec.train.optimizer.head_lr_scale == scale


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("none", "none"),
        ("imagenet", "imagenet"),
        ("imagenet_v2", "imagenet_v2"),
        ("a.pth", "{here}/a.pth"),
        ("../b/c.safetensors", "{above}/b/c.safetensors"),
        ("~/a.pth", "/at/home/a.pth"),
        ("/x/a.pth", "/x/a.pth"),
    ],
)
def test_a_file_of_weights_is_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/at/home")
    text = BASE.replace("convnet", f"resnet50, weights: {written}")
    found = read(tmp_path, text).cells[0].spec.model.weights
    assert found == meant.format(here=tmp_path, above=tmp_path.parent)


def test_nothing_is_left_open_in_a_cell(tmp_path: Path) -> None:
    cell = read(tmp_path, BASE).cells[0]
    left = {key for key, value in cell.settings().items() if value is None}
    assert left == {"data.root", "data.per_class"}


@pytest.mark.parametrize(("channels", "xi"), [("native", "auto"), ("adapter", 3)])
def test_xi_follows_the_channels(tmp_path: Path, channels: str, xi: Any) -> None:
    text = BASE.replace("convnet}", f"convnet, channels: {channels}}}")
    assert read(tmp_path, text).cells[0].spec.model.xi == xi
