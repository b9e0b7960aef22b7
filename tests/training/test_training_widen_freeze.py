from pathlib import Path

import pytest
import torch
from backbone_specs import of

from mcl_bench.training import describe
from mcl_bench.training.backbones import BACKBONES
from mcl_bench.training.models import Network, build_network

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
    assert facts.map_size == describe(of(backbone, 96), 5).map_size


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
