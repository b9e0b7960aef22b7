import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from mcl_bench.losses import build_objective
from mcl_bench.spec import ModelSpec, TrialSpec
from mcl_bench.training import Training, describe
from mcl_bench.training.backbones import BACKBONES, RESNETS
from mcl_bench.training.heads import HEADS
from mcl_bench.training.models import Network, build_network
from mcl_bench.training.precision import Precision

MakeSpec = Callable[..., TrialSpec]
NATIVE = {"channels": "native", "xi": "auto"}
SMALL = ("resnet18", "vgg11_bn")
"""A backbone of each family that is quick."""


def model(backbone: str, **changes: object) -> ModelSpec:
    plain = {"backbone": backbone, "weights": "none", "channels": "adapter", "xi": 2}
    return ModelSpec.model_validate({**plain, "head": "linear", **changes})


VGG_BNS = ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")


def test_all_of_torchvisions_classification_models_are_there() -> None:
    names = set(torchvision.models.list_models(module=torchvision.models))
    own = {"convnet", "vgg16_mc", "resnet18_mc", "efficientnet_lite0"}
    assert set(BACKBONES) == names | own


@pytest.mark.parametrize("backbone", ["convnet", *RESNETS, *VGG_BNS])
def test_describe_counts_what_each_backbone_has(spec: MakeSpec, backbone: str) -> None:
    facts = describe(spec(model={"backbone": backbone, **NATIVE}, data={"crop": 64}), 12)
    stride = 8 if backbone == "convnet" else 16 if backbone in VGG_BNS else 32
    assert facts.maps == BACKBONES[backbone].maps
    assert facts.map_size == (64 // stride, 64 // stride)


@pytest.mark.parametrize("backbone", [*RESNETS, *VGG_BNS])
def test_a_backbone_has_torchvisions_tensors_but_for_the_classifier(backbone: str) -> None:
    with torch.device("meta"):
        ours = BACKBONES[backbone].build().state_dict()
        whole = torchvision.models.get_model(backbone).state_dict()
    classifier = BACKBONES[backbone].left_out
    kept = {name: value.shape for name, value in whole.items() if not name.startswith(classifier)}
    assert {name: value.shape for name, value in ours.items()} == kept
    assert len(kept) < len(whole)


def test_resnet_maps_are_the_last_stages_after_its_relu() -> None:
    whole = torchvision.models.resnet18(num_classes=3).eval()
    seen: list[torch.Tensor] = []
    whole.layer4.register_forward_hook(lambda *call: seen.append(call[2].clone()))
    backbone = BACKBONES["resnet18"].build().eval()
    backbone.load_state_dict(
        {k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")}
    )
    images = torch.randn(2, 3, 64, 96)
    whole(images)
    maps = backbone(images)
    assert maps.shape == (2, 512, 2, 3)
    assert torch.equal(maps, seen[0])
    assert maps.min() == 0


def test_vgg_maps_are_the_last_convolutions_after_its_relu_and_before_the_last_pool() -> None:
    with torch.device("meta"):
        features = torchvision.models.vgg11_bn().features
    backbone = BACKBONES["vgg11_bn"].build().eval()
    features = features.to_empty(device="cpu").eval()
    features.load_state_dict(
        {name.removeprefix("features."): value for name, value in backbone.state_dict().items()}
    )
    assert isinstance(features[-1], nn.MaxPool2d)
    images = torch.randn(2, 3, 32, 48)
    maps = backbone(images)
    assert maps.shape == (2, 512, 2, 3)
    assert torch.equal(maps, features[:-1](images))
    assert maps.min() == 0


def test_vgg_starts_as_torchvisions_does() -> None:
    backbone = BACKBONES["vgg11_bn"].build()
    convolutions = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions[2:]:
        fan_out = layer.out_channels * 9
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
        assert layer.bias is not None
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("backbone", "classes", "low", "counts"),
    [
        ("resnet50", 200, 10, (152, 48)),
        ("resnet50", 196, 10, (108, 88)),
        ("resnet50", 100, 20, (52, 48)),
        ("resnet50", 102, 20, (94, 8)),
        ("vgg16_bn", 200, 2, (88, 112)),
        ("vgg16_bn", 196, 2, (76, 120)),
        ("resnet18", 100, 5, (88, 12)),
        ("resnet18", 102, 5, (100, 2)),
    ],
)
def test_native_maps_are_shared_out_as_the_authors_scripts_do(
    spec: MakeSpec, backbone: str, classes: int, low: int, counts: Sequence[int]
) -> None:
    facts = describe(spec(model={"backbone": backbone, **NATIVE}, data={"crop": 64}), classes)
    assert facts.groups == (low,) * counts[0] + (low + 1,) * counts[1]
    assert facts.xi == f"{low}-{low + 1}"


def test_describing_resnet50_takes_less_than_half_a_second(spec: MakeSpec) -> None:
    asked = spec(model={"backbone": "resnet50", **NATIVE}, data={"resize": 600, "crop": 448})
    seconds = []
    for _ in range(3):
        began = time.process_time()
        facts = describe(asked, 200)
        seconds.append(time.process_time() - began)
    assert facts.map_size == (14, 14)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.parametrize(
    ("backbone", "channels"), [("resnet18", "native"), ("vgg11_bn", "adapter")]
)
def test_every_head_and_channels_learn_on_maps_of_a_small_image(
    backbone: str, head: str, channels: str
) -> None:
    xi = "auto" if channels == "native" else 2
    network = build_network(model(backbone, head=head, channels=channels, xi=xi), 5, seed=1)
    output = network(torch.randn(3, 3, 64, 64))
    assert output.maps.shape[1] == sum(network.groups)
    assert output.maps.min() >= 0
    output.logits.square().mean().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name


@pytest.mark.parametrize("backbone", SMALL)
def test_bf16_gives_nearly_the_logits_and_gradients_of_fp32(backbone: str) -> None:
    network = build_network(model(backbone, xi=3), 4, seed=2)
    images, target = torch.randn(8, 3, 64, 64), torch.arange(8) % 4
    ce = build_objective(TRAINED.loss, groups=network.groups, embedding_size=512)
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for precision in ("fp32", "bf16"):
        network.zero_grad()
        with Precision(name=precision, device_type="cpu").autocast():
            output = network(images)
        assert output.maps.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
        ce(output.full(), target).total.backward()
        gradient = network.channels[0].weight.grad
        found[precision] = (output.logits.float().detach(), gradient.clone())
    logits, gradients = zip(*found.values(), strict=True)
    assert (logits[1] - logits[0]).norm() < 0.1 * logits[0].norm()
    # Through batch statistics of few positions rounding adds up, more so in a backward pass.
    assert torch.cosine_similarity(*(one.flatten() for one in gradients), dim=0) > 0.9


TRAINED = TrialSpec.model_validate(
    {"data": {"name": "parts"}, "model": {"backbone": "vgg11_bn"}, "loss": {"name": "ce"}}
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_with_mc_loss_runs_on_a_vgg(make_config: Any, precision: str) -> None:
    config = make_config(
        model={"backbone": "vgg11_bn", **NATIVE, "head": "mlp"},
        train={"epochs": 1, "precision": precision},
    )
    (record,) = Training(config)
    assert record.metrics["train/loss_dis"] > 0
    assert 0 < record.metrics["channels/diversity"] <= 1


def test_a_network_with_one_seed_starts_equal_whatever_ran_before() -> None:
    first = build_network(model("resnet18"), 5, seed=5).state_dict()
    torch.rand(3)
    second = build_network(model("resnet18"), 5, seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_of_a_classifier_is_left_in_the_network() -> None:
    with torch.device("meta"):
        names = [name for name, _ in Network(model("vgg16_bn"), 5).named_parameters()]
    assert {name.split(".")[0] for name in names} == {"backbone", "channels", "head"}
    assert not any("classifier" in name for name in names)
