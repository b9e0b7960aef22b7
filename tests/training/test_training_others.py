"""Backbones of others: a user's own, timm's, and packages that are absent."""

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from backbone_specs import of
from safetensors.torch import save_file

from mcl_bench.records import DataError, UserError
from mcl_bench.training import describe
from mcl_bench.training.backbones import BACKBONES, OF_IMAGENET, find_backbone
from mcl_bench.training.models import build_network
from mcl_bench.training.weights import check_weights

OWN = """\
from torch import nn

def plain():
    return nn.Sequential(nn.Conv2d(3, 20, 3, stride=4, padding=1), nn.ReLU())

def smooth():
    return nn.Sequential(nn.Conv2d(3, 20, 3, stride=4, padding=1), nn.SiLU())

def told():
    made = smooth()
    made.maps, made.signed = 20, False
    return made

def wrong():
    made = plain()
    made.maps = 7
    return made

def flat():
    return nn.Sequential(nn.Conv2d(3, 20, 3), nn.Flatten())

def nothing():
    return 3

number = 4
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"own_net_{random.randrange(10**9)}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(("function", "signed"), [("plain", False), ("smooth", True)])
def test_a_users_own_backbone_is_measured(own: str, function: str, signed: bool) -> None:
    facts = describe(of(f"{own}:{function}", 32), 5)
    assert (facts.maps, facts.map_size, facts.signed) == (20, (8, 8), signed)
    assert facts.xi == "4"
    network = build_network(of(f"{own}:{function}", 32).model, 5, seed=1)
    assert network(torch.randn(2, 3, 32, 32)).logits.shape == (2, 5)


def test_a_users_own_backbone_may_say_that_its_maps_are_not_signed(own: str) -> None:
    assert not describe(of(f"{own}:told", 32), 5).signed


def test_the_facts_have_the_source_of_a_users_own_backbone(own: str) -> None:
    expected = hashlib.sha256(OWN.encode()).hexdigest()
    assert describe(of(f"{own}:plain", 32), 5).source_sha256 == expected
    assert describe(of("convnet", 32), 5).source_sha256 is None


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("wrong", "says that it has 7 maps, but gives 20"),
        ("flat", "gives no maps: ValueError: it gives B×985680, not maps"),
        ("nothing", "gives no maps: TypeError: it returns a int, not an nn.Module"),
        ("number", "is a int, not a function"),
        ("absent", "cannot be imported: AttributeError"),
    ],
)
def test_a_users_own_backbone_that_breaks_its_contract_is_refused(
    own: str, function: str, told: str
) -> None:
    with pytest.raises(UserError, match=r"model\.backbone") as caught:
        find_backbone(f"{own}:{function}")
    assert told in caught.value.rule
    assert caught.value.remedy is not None


def test_a_module_that_cannot_be_imported_is_told_with_the_reason() -> None:
    with pytest.raises(UserError, match="cannot be imported: ModuleNotFoundError: No module"):
        find_backbone("not.there:net")


def test_an_unknown_timm_model_is_told_with_the_nearest() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="the nearest is 'timm/resnet10t'"):
        find_backbone("timm/resnet10")


def test_the_absence_of_timm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="needs the package timm") as caught:
        find_backbone("timm/not_asked_before")
    assert caught.value.remedy is not None
    assert "pip install 'mcl-bench[timm]'" in caught.value.remedy


def test_the_absence_of_efficientnet_lite_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="efficientnet-lite-pytorch") as caught:
        BACKBONES["efficientnet_lite0"].build()
    assert caught.value.remedy is not None
    assert "mcl-bench[lite]" in caught.value.remedy


def test_a_timm_model_without_one_map_is_refused_with_the_reason() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="no maps to work on: it gives a list"):
        find_backbone("timm/crossvit_tiny_240")


def test_what_timm_keeps_for_its_classifier_is_not_made() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        names = [name for name, _ in find_backbone("timm/lcnet_050").build().named_parameters()]
    assert not any("conv_head" in name or "classifier" in name for name in names)


def test_timms_own_weights_are_told_where_the_cache_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = of("timm/test_resnet", 64, weights="imagenet").model
    with pytest.raises(DataError, match="is not in the Hugging Face cache") as caught:
        check_weights(asked)
    assert caught.value.remedy is not None
    assert "hf download timm/test_resnet.r160_in1k model.safetensors" in caught.value.remedy


def test_weights_that_timm_never_published_are_refused() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="imagenet is not published for timm/mixer_s32_224"):
        check_weights(of("timm/mixer_s32_224", 224, weights="imagenet").model)


def test_timms_own_weights_are_loaded_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    import timm
    from huggingface_hub import constants

    whole = timm.create_model("test_resnet", pretrained=False)
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    save_file(whole.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    network = build_network(of("timm/test_resnet", 64, weights="imagenet").model, 5, seed=1)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.eval().forward_features(images)
        torch.testing.assert_close(network.eval()(images).maps, expected)
    assert len(network.loaded) == len(list(network.backbone.parameters()))


def test_timms_classifier_in_a_file_is_left_out(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model("lcnet_050", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "a.pth")
    asked = of("timm/lcnet_050", 64, weights=str(tmp_path / "a.pth")).model
    check_weights(asked)
    network = build_network(asked, 5, seed=1)
    first = network.backbone.net.conv_stem.weight
    assert torch.equal(first, whole.conv_stem.weight)


def test_timms_images_are_normalised_as_its_weights_were_trained() -> None:
    pytest.importorskip("timm")
    with_weights = find_backbone("timm/test_vit").with_weights
    assert with_weights.mean == (0.5, 0.5, 0.5)
    assert find_backbone("timm/resnet10t").with_weights == OF_IMAGENET


def test_timms_vit_takes_other_sizes_than_its_own() -> None:
    pytest.importorskip("timm")
    assert describe(of("timm/vit_tiny_patch16_224", 160), 5).map_size == (10, 10)
