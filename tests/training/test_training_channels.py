import math
from collections.abc import Sequence
from typing import Any

import pytest
import reference
import torch
from torch import Tensor

from mcl_bench.losses import alignment_logits, diversity
from mcl_bench.training import Training
from mcl_bench.training.channels import ChannelFacts, ChannelSums, sums
from mcl_bench.training.channels.sums import MASKS, kept_channels

# N images, K classes, C maps, H×W positions

GROUPS = [(3, 3, 3), (1, 1, 2, 2), (2, 2, 3), (5, 5, 6), (1, 1, 1)]


def drawn(groups: Sequence[int], count: int = 11, size: tuple[int, int] = (2, 3)) -> Any:
    generator = torch.Generator().manual_seed(sum(groups))
    maps = 2 * torch.randn(count, sum(groups), *size, generator=generator, dtype=torch.float64)
    return maps, torch.randint(0, len(groups), (count,), generator=generator)


def facts_of(
    maps: Tensor, labels: Tensor, groups: Sequence[int], *, batch: int = 4, read: Any = None
) -> ChannelFacts:
    found = ChannelSums(groups, read=read)
    for part, target in zip(maps.split(batch), labels.split(batch), strict=True):
        found.add(part, target)
    return found.facts()


def argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: values[index])


def masks_of(groups: Sequence[int]) -> list[list[float]]:
    count = min(MASKS, max(groups))
    masks = []
    for which in range(count):
        mask: list[float] = []
        for xi in groups:
            kept = {(which * xi // count + step) % xi for step in range(math.ceil(xi / 2))}
            mask += [float(channel in kept) for channel in range(xi)]
        masks.append(mask)
    return masks


@pytest.mark.parametrize("at_once", [1, 1 << 18])
@pytest.mark.parametrize("groups", GROUPS)
def test_each_number_equals_plain_loops(
    groups: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_CACHED_VALUES", at_once)
    maps, labels = drawn(groups)
    found = facts_of(maps, labels, groups)
    entropies, peaks, aligned, masked, energies = [], [], [], [], []
    for image, label in zip(maps.tolist(), labels.tolist(), strict=True):
        for channel in image:
            spread = reference.spatial_softmax(channel)
            entropies.append(-sum(share * math.log(share) for share in spread) / math.log(6))
            peaks.append(max(max(row) for row in channel))
        aligned.append(argmax(reference.alignment_logits(image, groups)) == label)
        masked += [
            argmax(reference.alignment_logits(image, groups, mask)) == label
            for mask in masks_of(groups)
        ]
        energy = [sum(value**2 for row in channel for value in row) for channel in image]
        own = reference.channels_of(groups, label)
        energies.append(sum(energy[channel] for channel in own) / sum(energy))
    assert found.diversity == pytest.approx(reference.diversity(maps.tolist(), groups))
    assert found.entropy == pytest.approx(sum(entropies) / len(entropies))
    assert found.peak == pytest.approx(sum(peaks) / len(peaks))
    assert found.alignment == pytest.approx(sum(aligned) / 11)
    assert found.own_energy == pytest.approx(sum(energies) / 11)
    if max(groups) == 1:
        assert found.alignment_masked is None
    else:
        assert found.alignment_masked == pytest.approx(sum(masked) / len(masked))


@pytest.mark.parametrize("groups", GROUPS)
def test_diversity_and_alignment_are_the_losses_own(groups: tuple[int, ...]) -> None:
    maps, labels = drawn(groups)
    found = facts_of(maps, labels, groups, batch=11)
    assert found.diversity == pytest.approx(diversity(maps, groups).item())
    predicted = alignment_logits(maps, groups).argmax(1)
    assert found.alignment == pytest.approx((predicted == labels).double().mean().item())


def test_numbers_by_class_are_of_the_class() -> None:
    groups = (2, 2, 3, 3)
    maps, labels = drawn(groups)
    labels[labels == 3] = 0
    found = facts_of(maps, labels, groups)
    for label in range(4):
        share = reference.diversity(
            maps[:, list(reference.channels_of(groups, label))].tolist(), (groups[label],)
        )
        assert found.diversity_K[label].item() == pytest.approx(share)
    assert found.images_K.tolist() == [int((labels == label).sum()) for label in range(4)]
    for label in range(3):
        chosen = labels == label
        alone = facts_of(maps[chosen], labels[chosen], groups)
        assert found.alignment_K[label].item() == pytest.approx(alone.alignment)
        assert found.own_energy_K[label].item() == pytest.approx(alone.own_energy)
    assert found.alignment_K[3].isnan()


def test_flat_maps_have_full_entropy_and_the_least_diversity() -> None:
    found = facts_of(torch.full((3, 6, 2, 3), 0.7), torch.tensor([0, 1, 0]), (3, 3))
    assert found.entropy == pytest.approx(1)
    assert found.diversity == pytest.approx(1 / 3)
    assert found.peak == pytest.approx(0.7)


def test_channels_that_each_see_one_place_of_their_own_have_no_entropy_and_full_diversity() -> None:
    maps = torch.zeros(1, 6, 2, 3)
    for channel in range(6):
        maps[0, channel].view(-1)[channel] = 200
    found = facts_of(maps, torch.tensor([1]), (3, 3))
    assert found.entropy == pytest.approx(0, abs=1e-6)
    assert found.diversity == pytest.approx(1)


@pytest.mark.parametrize(("xi", "h"), [(3, 1.67), (10, 2.96)])
def test_untrained_maps_have_the_diversity_of_the_documentation(xi: int, h: float) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(40, 5 * xi, 14, 14, generator=generator).relu()
    labels = torch.zeros(40, dtype=torch.long)
    assert xi * facts_of(maps, labels, (xi,) * 5).diversity == pytest.approx(h, abs=0.02)


def test_a_class_whose_channels_alone_are_active_has_all_the_energy_and_is_seen() -> None:
    maps = torch.zeros(2, 6, 2, 3)
    maps[0, :2] = 1.5
    maps[1, 4:] = 0.1
    found = facts_of(maps, torch.tensor([0, 2]), (2, 2, 2))
    assert (found.own_energy, found.alignment, found.alignment_masked) == (1, 1, 1)


def test_a_class_seen_by_one_channel_of_two_is_missed_by_the_mask_that_drops_it() -> None:
    maps = torch.zeros(1, 4, 2, 3)
    maps[0, 3] = 1
    found = facts_of(maps, torch.tensor([1]), (2, 2))
    assert (found.alignment, found.alignment_masked) == (1, 0.5)


def test_energy_that_is_nowhere_is_shared_as_the_channels_are() -> None:
    found = facts_of(torch.zeros(1, 5, 2, 3), torch.tensor([1]), (2, 3))
    assert found.own_energy == pytest.approx(3 / 5)


@pytest.mark.parametrize("xi", range(2, 24))
def test_masks_keep_half_of_a_class_and_each_channel_about_as_often(xi: int) -> None:
    count = min(MASKS, xi)
    kept = [kept_channels(xi, which, count) for which in range(count)]
    assert all(len(set(channels)) == math.ceil(xi / 2) for channels in kept)
    assert len({tuple(sorted(channels)) for channels in kept}) == count
    times = [sum(channel in channels for channels in kept) for channel in range(xi)]
    assert max(times) - min(times) <= 1


def test_own_top1_reads_the_maps_with_every_other_channel_zero() -> None:
    groups = (2, 2, 3)
    maps, labels = drawn(groups)
    weights = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = facts_of(maps, labels, groups, read=lambda maps_NCHW: maps_NCHW.amax((2, 3)) @ weights)
    right = []
    for image, label in zip(maps, labels.tolist(), strict=True):
        own = reference.channels_of(groups, label)
        pooled = [float(image[c].max()) if c in own else 0.0 for c in range(7)]
        logits = [sum(pooled[c] * float(weights[c, k]) for c in range(7)) for k in range(3)]
        right.append(argmax(logits) == label)
    assert 0 < sum(right) < 11
    assert found.own_top1 == pytest.approx(sum(right) / 11)


def test_own_top1_is_left_out_where_no_head_is_given() -> None:
    maps, labels = drawn((2, 2))
    metrics = facts_of(maps, labels, (2, 2)).metrics("channels")
    assert "channels/own_top1" not in metrics
    assert "channels/alignment_masked" in metrics


def test_a_training_reports_what_its_head_says_of_the_own_channels(make_config: Any) -> None:
    training = Training(make_config(train={"epochs": 1}))
    (record,) = training
    right, images = 0, 0
    with torch.inference_mode():
        for batch in training._inputs.validation.epoch(0):
            maps = training.network.eval()(batch.images).maps.clone()
            for image, label in enumerate(batch.target.tolist()):
                for channel in set(range(36)) - set(reference.channels_of((3,) * 12, label)):
                    maps[image, channel] = 0
            right += int((training.network.head(maps).argmax(1) == batch.target).sum())
            images += len(batch.target)
    assert record.metrics["channels/own_top1"] == pytest.approx(right / images)


def test_one_channel_per_class_has_no_masked_alignment_in_its_record(make_config: Any) -> None:
    (record,) = Training(make_config({"name": "ce"}, train={"epochs": 1}, model={"xi": 1}))
    assert "channels/alignment_masked" not in record.metrics
    assert record.metrics["channels/diversity"] == 1
