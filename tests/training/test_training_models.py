from collections.abc import Callable

import pytest
import torch

from mcl_bench.spec import ModelSpec, TrialSpec
from mcl_bench.training import describe
from mcl_bench.training.heads import HEADS, build_head
from mcl_bench.training.models import Network, build_network, xi_text

MakeSpec = Callable[..., TrialSpec]


def model(**changes: object) -> ModelSpec:
    plain = {"backbone": "convnet", "weights": "none", "channels": "adapter", "xi": 3}
    return ModelSpec.model_validate({**plain, "head": "avgmax", **changes})


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_head_takes_maps_that_are_not_square_to_one_logit_per_class(head: str) -> None:
    logits = build_head(head, 10, 7)(torch.randn(4, 10, 2, 3))
    assert logits.shape == (4, 7)


def test_the_linear_head_sees_the_average_of_each_map() -> None:
    head = build_head("linear", 5, 3)
    maps = torch.randn(4, 5, 2, 3)
    expected = maps.flatten(2).mean(2) @ head.layer.weight.T + head.layer.bias
    torch.testing.assert_close(head(maps), expected)


def test_the_avgmax_head_sees_the_average_and_then_the_maximum_of_each_map() -> None:
    head = build_head("avgmax", 5, 3)
    maps = torch.randn(4, 5, 2, 3).flatten(2)
    pooled = torch.cat((maps.mean(2), maps.max(2).values), 1)
    expected = pooled @ head.layer.weight.T + head.layer.bias
    torch.testing.assert_close(head(maps.unflatten(2, (2, 3))), expected)


def test_the_mlp_head_sees_the_maximum_alone_and_has_512_hidden_units() -> None:
    head = build_head("mlp", 5, 3).eval()
    low, high = torch.zeros(2, 5, 2, 3), torch.zeros(2, 5, 2, 3)
    low[..., 0, 1], high[..., 0, 1] = 1.0, 1.0
    low[..., 1, 2] = -9.0
    torch.testing.assert_close(head(low), head(high))
    assert head.layers[1].out_features == 512


def test_the_bilinear_head_sees_the_rooted_and_normed_product_of_the_maps() -> None:
    head = build_head("bilinear", 5, 3)
    maps = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    product = torch.einsum("bchw,bdhw->bcd", maps, maps).flatten(1) / 6
    rooted = product.sign() * product.abs().sqrt()
    expected = rooted / rooted.norm(dim=1, keepdim=True)
    assert head.embedding_size == 25
    torch.testing.assert_close(head.embed(maps), expected, atol=1e-4, rtol=1e-4)


def test_the_bilinear_head_has_finite_gradients_where_maps_are_zero() -> None:
    maps = torch.zeros(2, 5, 2, 3, requires_grad=True)
    build_head("bilinear", 5, 3)(maps).sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_the_bilinear_heads_gradient_is_that_of_its_formula() -> None:
    head = build_head("bilinear", 3, 2).double()
    maps = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, maps)


def test_convnet_has_48_maps_of_8_by_8_at_64_pixels() -> None:
    output = Network(model(channels="native", xi="auto"), 12)(torch.randn(2, 3, 64, 64))
    assert output.maps.shape == (2, 48, 8, 8)
    assert output.logits.shape == (2, 12)


def test_an_adapter_gives_xi_maps_to_each_class() -> None:
    network = Network(model(xi=4), 7)
    assert network.groups == (4,) * 7
    assert network(torch.randn(2, 3, 32, 48)).maps.shape == (2, 28, 4, 6)


def test_native_channels_are_shared_out_unevenly_where_classes_do_not_divide_them() -> None:
    network = Network(model(channels="native", xi="auto"), 10)
    assert sum(network.groups) == 48
    assert set(network.groups) == {4, 5}
    assert xi_text(network.groups) == "4-5"


def test_maps_are_never_negative() -> None:
    for spec in (model(), model(channels="native", xi="auto")):
        assert Network(spec, 5)(torch.randn(4, 3, 32, 32)).maps.min() >= 0


def test_one_seed_gives_bit_equal_weights_whatever_the_generator_did_before() -> None:
    first = build_network(model(), 12, seed=5).state_dict()
    torch.rand(17)
    second = build_network(model(), 12, seed=5).state_dict()
    other = build_network(model(), 12, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.layer.weight"], other["head.layer.weight"])


def test_the_backbone_starts_the_same_at_every_xi() -> None:
    narrow, wide = (build_network(model(xi=xi), 12, seed=5).backbone for xi in (1, 6))
    pairs = zip(narrow.parameters(), wide.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_weights_are_laid_out_channels_last() -> None:
    weight = build_network(model(), 12, seed=5).backbone[1][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_describe_tells_what_the_network_has(spec: MakeSpec) -> None:
    facts = describe(spec(model={"xi": 4}), 12)
    network = Network(spec(model={"xi": 4}).model, 12)
    assert facts.groups == (4,) * 12
    assert facts.maps == 48
    assert facts.xi == "4"
    assert facts.map_size == (4, 4)
    assert facts.parameters == sum(value.numel() for value in network.parameters())
    assert facts.weights_sha256 is None


def test_describe_draws_from_no_generator(spec: MakeSpec) -> None:
    before = torch.get_rng_state()
    describe(spec(), 12)
    assert torch.equal(torch.get_rng_state(), before)
