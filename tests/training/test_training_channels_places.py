import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from mcl_bench.data import Batches, ImageSet, Pixels
from mcl_bench.training.channels.landmarks import Landmarks, cell_centres, landmarks
from mcl_bench.training.channels.localisation import Localisation, Sights, consistency
from mcl_bench.training.channels.own import OwnChannels

# N images, P parts, K classes, C maps, X channels of the widest class, H×W positions

GROUPS = (2, 2, 3)
HEIGHT, WIDTH = 5, 7


def image_set(pixels: Tensor, **extra: Tensor) -> ImageSet:
    count, size = len(pixels), pixels.shape[-1]
    return ImageSet(
        pixels=Pixels([pixels.numpy()], size=size),
        labels=torch.zeros(count, dtype=torch.long),
        ids=tuple(str(index) for index in range(count)),
        extra=extra,
        official=torch.zeros(count, dtype=torch.bool),
    )


@pytest.mark.parametrize(("stored", "crop"), [(36, 32), (37, 30), (16, 16)])
def test_a_part_lies_where_its_pixel_lies_in_the_evaluated_crop(
    spec: Any, stored: int, crop: int
) -> None:
    pixels = torch.zeros(stored * stored, 3, stored, stored, dtype=torch.uint8)
    parts = torch.zeros(stored * stored, 1, 3)
    for index in range(stored * stored):
        y, x = divmod(index, stored)
        pixels[index, :, y, x] = 255
        parts[index, 0] = torch.tensor([(x + 0.5) / stored, (y + 0.5) / stored, 1])
    images = image_set(pixels, parts=parts)
    found = landmarks(images, crop=crop)
    assert found is not None
    batches = Batches(
        images,
        torch.arange(len(images)),
        data=spec(data={"resize": stored, "crop": crop}).data,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        batch_size=300,
        seed=0,
        device="cpu",
        train=False,
    )
    seen = torch.cat([batch.images[:, 0] for batch in batches.epoch(0)])
    shown = seen.flatten(1).amax(1) > 0.5
    assert torch.equal(found.visible_NP[:, 0], shown)
    assert int(shown.sum()) == crop**2
    place = cell_centres(crop, crop)[seen.flatten(1).argmax(1)]
    assert torch.allclose(found.parts_NP2[shown, 0], place[shown], atol=1e-6)


def test_parts_that_are_hidden_or_outside_the_crop_are_not_visible() -> None:
    parts = torch.tensor([[[0.5, 0.5, 1.0], [0.5, 0.5, 0.0], [0.1, 0.5, 1.0], [0.5, 0.9, 1.0]]])
    found = landmarks(image_set(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), parts=parts), crop=4)
    assert found is not None
    assert found.visible_NP.tolist() == [[True, False, False, False]]


def test_a_box_is_cut_to_the_crop_and_unknown_where_nothing_of_it_is_left() -> None:
    boxes = torch.tensor([[0.0, 0.5, 0.5, 0.25], [0.0, 0.0, 0.2, 0.2], [0, 0, 0, 0]])
    images = image_set(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), box=boxes)
    found = landmarks(images, crop=4)
    assert found is not None
    assert found.box_N4 is not None
    assert found.box_N4[0].tolist() == [0.0, 0.5, 0.5, 1.0]
    assert found.known().tolist() == [True, False, False]


def test_a_set_that_knows_neither_parts_nor_boxes_has_no_landmarks() -> None:
    assert landmarks(image_set(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), crop=4) is None


def test_own_channels_are_the_true_class_s_with_zeros_where_it_has_fewer() -> None:
    maps = torch.arange(1, 8.0)[None, :, None, None].expand(3, -1, 2, 3)
    own = OwnChannels(GROUPS).of(maps, torch.tensor([2, 0, 1]))
    assert own[:, :, 0, 0].tolist() == [[5, 6, 7], [1, 2, 0], [3, 4, 0]]
    assert own.shape == (3, 3, 2, 3)


def places_of(count: int, *, box: bool) -> Landmarks:
    generator = torch.Generator().manual_seed(5)
    low, size = torch.rand(2, count, 2, generator=generator, dtype=torch.float64)
    corners = torch.cat((low, (low + size - 0.3).clamp(0, 1)), dim=1)
    return Landmarks(
        parts_NP2=torch.rand(count, 4, 2, generator=generator, dtype=torch.float64),
        visible_NP=torch.rand(count, 4, generator=generator) < 0.5,
        box_N4=corners if box else None,
    )


def sighted(places: Landmarks, maps: Tensor, labels: Tensor, *, batch: int = 9) -> Localisation:
    sights, own = Sights(places), OwnChannels(GROUPS)
    for indices in torch.arange(len(labels)).split(batch):
        target = labels[indices]
        sights.add(own.of(maps[indices], target), target, indices)
    return sights.localisation(GROUPS)


def inside(places: Landmarks, image: int, x: float, y: float) -> bool:
    if places.box_N4 is not None:
        left, top, right, bottom = places.box_N4[image].tolist()
        return bool(left <= x <= right and top <= y <= bottom)
    return any(
        math.hypot(x - px, y - py) <= 15 / 224
        for (px, py), seen in zip(
            places.parts_NP2[image].tolist(), places.visible_NP[image].tolist(), strict=True
        )
        if seen
    )


def anything_known(places: Landmarks, image: int) -> bool:
    if places.box_N4 is None:
        return bool(places.visible_NP[image].any())
    left, top, right, bottom = places.box_N4[image].tolist()
    return bool(left < right and top < bottom)


def drawn(count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    maps = 3 * torch.randn(count, sum(GROUPS), HEIGHT, WIDTH, generator=generator).relu()
    maps *= torch.rand(count, sum(GROUPS), 1, 1, generator=generator) < 0.7
    return maps, torch.randint(0, 3, (count,), generator=generator)


@pytest.mark.parametrize("box", [False, True])
def test_pointing_equals_plain_loops(box: bool) -> None:
    maps, labels = drawn()
    places = places_of(40, box=box)
    hits: list[tuple[int, bool]] = []
    chances, energies = [], []
    for image, label in enumerate(labels.tolist()):
        if not anything_known(places, image):
            continue
        cells = [
            inside(places, image, (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT)
            for y in range(HEIGHT)
            for x in range(WIDTH)
        ]
        for channel in reference.channels_of(GROUPS, label):
            values = maps[image, channel].flatten().tolist()
            if max(values) == 0:
                continue
            spread = reference.spatial_softmax(maps[image, channel].tolist())
            hits.append((label, cells[values.index(max(values))]))
            chances.append(sum(cells) / len(cells))
            energies.append(sum(share for share, cell in zip(spread, cells, strict=True) if cell))
    found = sighted(places, maps, labels)
    assert 0 < sum(hit for _, hit in hits) < len(hits)
    assert found.pointing == pytest.approx(sum(hit for _, hit in hits) / len(hits))
    assert found.pointing_chance == pytest.approx(sum(chances) / len(chances))
    assert found.energy_box == pytest.approx(sum(energies) / len(energies))
    for label in range(3):
        own = [hit for of, hit in hits if of == label]
        assert found.pointing_K[label].item() == pytest.approx(sum(own) / len(own))


def test_pointing_by_hand() -> None:
    # One class, two channels, one part in the centre of the lower right of 2×2 cells.
    places = Landmarks(
        parts_NP2=torch.tensor([[[0.75, 0.75]]], dtype=torch.float64),
        visible_NP=torch.tensor([[True]]),
        box_N4=None,
    )
    sights = Sights(places)
    own = torch.zeros(1, 2, 2, 2)
    own[0, 0, 1, 1] = math.log(3)
    own[0, 1, 0, 1] = math.log(3)
    sights.add(own, torch.tensor([0]), torch.tensor([0]))
    found = sights.localisation((2,))
    assert (found.pointing, found.pointing_chance) == (0.5, 0.25)
    assert found.energy_box == pytest.approx((3 / 6 + 1 / 6) / 2)
    assert found.consistency == 0.5


def test_what_cannot_be_told_is_left_out() -> None:
    places = Landmarks(
        parts_NP2=torch.zeros(2, 0, 2, dtype=torch.float64),
        visible_NP=torch.zeros(2, 0, dtype=torch.bool),
        box_N4=torch.tensor([[0.0, 0.0, 0.5, 0.5]] * 2, dtype=torch.float64),
    )
    maps, labels = drawn(2)
    found = sighted(places, maps, labels).metrics("channels")
    assert set(found) == {f"channels/{n}" for n in ("pointing", "pointing_chance", "energy_box")}
    dark = sighted(places_of(2, box=True), torch.zeros_like(maps), labels)
    assert "channels/pointing" not in dark.metrics("channels")
    assert dark.consistency == 0


def loops(
    peaks: Any, active: Any, labels: Sequence[int], places: Landmarks, order: Sequence[int]
) -> float:
    steady, units = 0, 0
    for label, xi in enumerate(GROUPS):
        members = [image for image, of in enumerate(labels) if of == label]
        for channel in range(xi):
            rates = []
            for part in range(4):
                seen = [i for i in members if places.visible_NP[order[i], part]]
                found = [
                    i
                    for i in seen
                    if active[i][channel]
                    and all(
                        abs(peaks[i][channel][axis] - float(places.parts_NP2[order[i], part, axis]))
                        <= 36 / 224
                        for axis in (0, 1)
                    )
                ]
                if seen:
                    rates.append(len(found) / len(seen))
            if rates:
                units += 1
                steady += max(rates) >= 0.8
    return steady / units


def test_consistency_and_its_chance_equal_plain_loops() -> None:
    generator = torch.Generator().manual_seed(3)
    count = 30
    labels = torch.randint(0, 2, (count,), generator=generator) * 2  # class 1 has no image
    places = places_of(count, box=False)
    # Channel 1 follows part 2, but for a few images; the others go where they like.
    peaks = torch.rand(count, 3, 2, generator=generator, dtype=torch.float64)
    peaks[:, 1] = places.parts_NP2[:, 2] + 0.1
    active = torch.rand(count, 3, generator=generator) < 0.9
    steady, chance = consistency(peaks, active, labels, groups=GROUPS, places=places)
    plain = (peaks.tolist(), active.tolist(), labels.tolist(), places)
    assert 0 < loops(*plain, range(count)) < 1
    assert steady == pytest.approx(loops(*plain, range(count)))
    shuffles = torch.Generator().manual_seed(0)
    orders = [torch.randperm(count, generator=shuffles).tolist() for _ in range(10)]
    expected = sum(loops(*plain, order) for order in orders) / 10
    assert chance == pytest.approx(expected)


@pytest.mark.parametrize(("missed", "expected"), [(1, 1.0), (2, 0.0)])
def test_a_channel_is_consistent_from_four_images_of_five(missed: int, expected: float) -> None:
    places = Landmarks(
        parts_NP2=torch.full((5, 1, 2), 0.2, dtype=torch.float64),
        visible_NP=torch.ones(5, 1, dtype=torch.bool),
        box_N4=None,
    )
    peaks = torch.full((5, 1, 2), 0.2 + 35 / 224, dtype=torch.float64)
    peaks[:missed] = 0.2 + 37 / 224
    active, labels = torch.ones(5, 1, dtype=torch.bool), torch.zeros(5, dtype=torch.long)
    found, _ = consistency(peaks, active, labels, groups=(1,), places=places)
    assert found == expected


def test_cells_centres_go_row_by_row() -> None:
    expected = [[(x + 0.5) / 3, (y + 0.5) / 2] for y in range(2) for x in range(3)]
    assert np.allclose(cell_centres(2, 3).numpy(), expected)
