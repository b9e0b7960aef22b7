import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import dense
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from mcl_bench.losses import MCLoss, draw_mask, fused, mc_loss
from mcl_bench.losses import closed_form as closed

torch.set_num_threads(1)

UNEVEN = (2, 2, 2, 3, 3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps_of(shape: Sequence[int], seed: int = 0) -> Tensor:
    return torch.randn(tuple(shape), generator=seeded(seed), dtype=torch.float64)


def gradient_of(
    terms: Callable[[Tensor], tuple[Tensor, Tensor]], features: Tensor
) -> tuple[list[float], Tensor]:
    """The values, and the gradient of a sum that weighs the two terms differently."""
    features = features.detach().requires_grad_()
    dis, div = terms(features)
    (gradient,) = torch.autograd.grad(1.5 * dis - 7.0 * div, features)
    return [dis.item(), div.item()], gradient


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    groups = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    if draw(st.booleans()):
        groups = sorted(groups)
    height, width = draw(
        st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda s: s != (1, 1))
    )
    return {
        "groups": tuple(groups),
        "batch": draw(st.integers(1, 4)),
        "size": (height, width),
        "scope": draw(st.sampled_from([None, "batch", "sample"])),
        "weighted": draw(st.booleans()),
        "mask_fill": draw(st.sampled_from(["zero", "minus_inf"])),
        "reduction": draw(st.sampled_from(["classes", "groups"])),
        "form": draw(st.sampled_from(["normalised", "literal"])),
        "last": draw(st.booleans()),
        "chunk": draw(st.sampled_from([1, 40, 10**6])),
        "seed": draw(st.integers(0, 2**31)),
    }


@settings(deadline=None, max_examples=200)
@given(cases())
def test_values_and_gradients_equal_the_oracles_over_shapes_and_options(
    case: dict[str, object],
) -> None:
    groups, batch, seed = case["groups"], case["batch"], case["seed"]
    features = maps_of((batch, sum(groups), *case["size"]), seed)
    if case["last"]:
        features = features.to(memory_format=torch.channels_last)
    target = torch.randint(len(groups), (batch,), generator=seeded(seed))
    mask = None
    if case["scope"] is not None:
        rows = batch if case["scope"] == "sample" else None
        mask = draw_mask(groups, 0.5, generator=seeded(seed), batch=rows)
    weights = torch.linspace(0.3, 2.0, len(groups)) if case["weighted"] else None
    fill, reduction, form = case["mask_fill"], case["reduction"], case["form"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed, "CHUNK_ON_CPU", case["chunk"])
        patch.setattr(closed, "CHUNK_AT_LEAST", case["chunk"])
        values, gradient = gradient_of(
            lambda maps: mc_loss(
                maps,
                target,
                groups=groups,
                mask=mask,
                class_weights=weights,
                mask_fill=fill,
                reduction=reduction,
                diversity=form,
            ),
            features,
        )
    _, expected = gradient_of(
        lambda maps: dense.terms(
            maps, target, groups, mask, weights, mask_fill=fill, reduction=reduction, form=form
        ),
        features,
    )
    plain = features.tolist()
    plain_mask = None if mask is None else mask.tolist()
    plain_weights = None if weights is None else weights.tolist()
    dis = reference.discriminality(
        plain, target.tolist(), groups, plain_mask, plain_weights, mask_fill=fill
    )
    div = reference.diversity(plain, groups, reduction=reduction, form=form)
    assert values == pytest.approx([dis, div], abs=1e-6)
    torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=1e-6)


def test_ten_thousand_classes_have_the_values_and_gradients_of_the_oracle() -> None:
    groups = (2,) * 9_990 + (3,) * 10
    features = maps_of((2, sum(groups), 2, 3))
    target = torch.tensor([9_999, 0])
    mask = draw_mask(groups, 0.5, generator=seeded(0))
    values, gradient = gradient_of(
        lambda maps: mc_loss(maps, target, groups=groups, mask=mask), features
    )
    expected, expected_gradient = gradient_of(
        lambda maps: dense.terms(maps, target, groups, mask), features
    )
    assert values == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("xi", [1, 3, 20])
def test_the_authors_formulation_gives_the_same_terms(xi: int) -> None:
    groups = (xi,) * 7
    features = maps_of((4, 7 * xi, 5, 5)).float().relu()
    target = torch.tensor([0, 6, 3, 1])
    mask = draw_mask(groups, 0.4, generator=seeded(1))
    ours = mc_loss(features, target, groups=groups, mask=mask)
    authors = dense.authors_terms(features, target, mask, xi)
    torch.testing.assert_close(tuple(ours), authors, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fill", ["zero", "minus_inf"])
def test_all_zero_maps_send_the_gradient_of_each_place_to_one_channel(fill: str) -> None:
    features = torch.zeros(2, 12, 2, 3, dtype=torch.float64)
    mask = torch.tensor([1.0, 0.0, 1.0]).repeat(4)
    target = torch.tensor([0, 3])
    _, gradient = gradient_of(
        lambda maps: mc_loss(maps, target, groups=(3,) * 4, mask=mask, mask_fill=fill), features
    )
    # Every place has one winner; the softmax's gradients add up to nothing in each channel.
    per_class = gradient.view(2, 4, 3, 6).sum((2, 3))
    expected = torch.full((2, 4), 0.25, dtype=torch.float64)
    expected[[0, 1], [0, 3]] -= 1
    torch.testing.assert_close(per_class, 1.5 * expected / 2)


def test_with_minus_inf_a_dropped_channel_never_wins() -> None:
    features = torch.full((1, 4, 2, 3), -1.0)
    features[0, 0] = 9.0
    mask = torch.tensor([0.0, 1.0, 1.0, 1.0])
    terms = mc_loss(features, torch.tensor([0]), groups=(2, 2), mask=mask, mask_fill="minus_inf")
    assert terms.discriminality.item() == pytest.approx(torch.tensor(2.0).log().item())


def test_each_image_has_its_own_row_of_a_mask() -> None:
    features, target = maps_of((3, 12, 2, 3)), torch.tensor([0, 4, 2])
    mask = draw_mask(UNEVEN, 0.5, generator=seeded(3), batch=3)
    together = mc_loss(features, target, groups=UNEVEN, mask=mask)
    alone = [
        mc_loss(features[i : i + 1], target[i : i + 1], groups=UNEVEN, mask=mask[i])
        for i in range(3)
    ]
    mean = torch.stack([terms.discriminality for terms in alone]).mean()
    torch.testing.assert_close(together.discriminality, mean)


def test_bf16_autocast_gives_float32_terms_and_bf16_gradients_of_those_of_float32() -> None:
    features = maps_of((3, 12, 4, 5)).bfloat16()
    target = torch.tensor([0, 4, 2])

    def terms(maps: Tensor) -> tuple[Tensor, Tensor]:
        return mc_loss(maps, target, groups=UNEVEN, mask=None)

    exact_values, exact = gradient_of(terms, features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, gradient = gradient_of(terms, features)
    assert values == exact_values
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(gradient, exact.bfloat16())


def test_the_gradient_of_channels_last_maps_is_channels_last() -> None:
    features = maps_of((3, 12, 4, 5)).to(memory_format=torch.channels_last)
    target = torch.tensor([0, 4, 2])
    _, gradient = gradient_of(
        lambda maps: mc_loss(maps, target, groups=UNEVEN, mask=None), features
    )
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_a_kept_graph_gives_the_same_gradient_twice() -> None:
    features = maps_of((3, 12, 4, 5)).requires_grad_()
    loss = mc_loss(features, torch.tensor([0, 4, 2]), groups=UNEVEN, mask=None).diversity
    (first,) = torch.autograd.grad(loss, features, retain_graph=True)
    (second,) = torch.autograd.grad(loss, features)
    assert torch.equal(first, second)


def test_a_second_derivative_is_refused() -> None:
    features = maps_of((1, 4, 2, 3)).requires_grad_()
    terms = mc_loss(features, torch.tensor([0]), groups=(2, 2), mask=None)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(terms.diversity, features, create_graph=True)


def test_forward_and_backward_hold_at_most_two_maps_and_keep_none_between() -> None:
    features = torch.randn(32, 300, 14, 14, requires_grad=True)
    target = torch.zeros(32, dtype=torch.long)
    mask = draw_mask((3,) * 100, 0.5, generator=seeded(0))
    kept: set[int] = set()
    with (
        torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: (kept.add(tensor.data_ptr()), tensor)[1], lambda tensor: tensor
        ),
        torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile,
    ):
        terms = mc_loss(features, target, groups=(3,) * 100, mask=mask)
        large = {place for place in kept if place == features.data_ptr()}
        torch.autograd.grad(terms.weighted(mu=1.5, lambda_=10.0), features)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert large == {features.data_ptr()}
    one_map = features.numel() * 4
    assert one_map <= peak <= 2 * one_map


@pytest.mark.parametrize("fill", ["zero", "minus_inf"])
@pytest.mark.parametrize("groups", [UNEVEN, (17, 17), (1, 1, 1)], ids=str)
def test_the_loss_is_traced_without_a_graph_break(groups: tuple[int, ...], fill: str) -> None:
    features, target = maps_of((2, sum(groups), 2, 3)), torch.tensor([0, 1])
    mask = draw_mask(groups, 0.5, generator=seeded(0))

    def terms(maps: Tensor) -> tuple[Tensor, Tensor]:
        return mc_loss(maps, target, groups=groups, mask=mask, mask_fill=fill)

    torch.compiler.reset()
    values, gradient = gradient_of(terms, features)
    traced_values, traced_gradient = gradient_of(
        torch.compile(terms, fullgraph=True, backend="aot_eager"), features
    )
    assert traced_values == pytest.approx(values, abs=1e-9)
    torch.testing.assert_close(traced_gradient, gradient)


def test_the_compiled_loss_has_the_same_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none here")
    groups = (1, 2, 2, 3)
    monkeypatch.setattr(fused, "CHUNK_ON_CPU", 2 * 8 * 6)  # two images of five at once
    features, target = maps_of((5, 8, 2, 3)).float(), torch.tensor([0, 1, 3, 2, 3])
    mask = draw_mask(groups, 0.5, generator=seeded(0), batch=5)
    options = {"target": target, "groups": groups, "mask": mask, "mask_fill": "minus_inf"}
    (values, gradient), (compiled_values, compiled_gradient) = (
        gradient_of(partial(mc_loss, compiled=compiled, **options), features)
        for compiled in (False, True)
    )
    assert compiled_values == pytest.approx(values, abs=1e-5)
    torch.testing.assert_close(compiled_gradient, gradient)


def test_the_compiled_loss_can_go_back_twice_over_a_retained_graph() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none here")
    features = maps_of((2, 6, 2, 3)).float().to(memory_format=torch.channels_last).requires_grad_()
    mask = draw_mask((3, 3), 0.5, generator=seeded(0))
    one, other = (
        mc_loss(
            features, torch.tensor([0, 1]), groups=(3, 3), mask=mask, compiled=compiled
        ).weighted(mu=1.5, lambda_=10.0)
        for compiled in (True, False)
    )
    (first,) = torch.autograd.grad(one, features, retain_graph=True)
    (second,) = torch.autograd.grad(one, features)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, torch.autograd.grad(other, features)[0])


def ddp_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    try:
        network = DistributedDataParallel(convolution())
        images, target = ddp_batch()
        own = slice(2 * rank, 2 * rank + 2)
        loss = MCLoss(5, 12, mu=1.5, lambda_=10.0, mask_ratio=0.5, generator=seeded(4))
        loss(network(images[own]), target[own]).backward()
        if rank == 0:
            torch.save(network.module.weight.grad, folder / "gradient.pt")
        torch.distributed.barrier()  # a rank that closes first aborts one that still reads
    finally:
        torch.distributed.destroy_process_group()


def convolution() -> torch.nn.Conv2d:
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 12, 3)


def ddp_batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 6, 7, generator=seeded(2)), torch.tensor([0, 4, 2, 1])


def test_two_ranks_average_to_the_gradient_of_one_process(tmp_path: Path) -> None:
    # Both terms are means over the images, so that equal shares of a batch average to the whole.
    # A cross-entropy with class weights is not: its divisor is the sum of its own rank's weights.
    multiprocessing.spawn(ddp_rank, args=(tmp_path,), nprocs=2)
    network = convolution()
    images, target = ddp_batch()
    loss = MCLoss(5, 12, mu=1.5, lambda_=10.0, mask_ratio=0.5, generator=seeded(4))
    loss(network(images), target).backward()
    shared = torch.load(tmp_path / "gradient.pt", weights_only=True)
    torch.testing.assert_close(shared, network.weight.grad)
