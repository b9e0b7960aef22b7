"""Batches are the same whenever asked for, and hold what they say."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcl_bench.data import Batches, ImageSet, Pixels
from mcl_bench.data.augment import CROPS
from mcl_bench.data.batches import Batch
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def image_set(count: int = 13, size: int = 16, *, classes: int = 3, chunk: int = 5) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (count, 3, size, size), dtype=np.uint8)
    return ImageSet(
        pixels=Pixels([pixels[i : i + chunk] for i in range(0, count, chunk)], size=size),
        labels=torch.arange(count) % classes,
        ids=tuple(map(str, range(count))),
        extra={},
        official=torch.zeros(count, dtype=torch.bool),
    )


def batches(images: ImageSet, indices: torch.Tensor | None = None, **changes: Any) -> Batches:
    spec = {"augment": "none", "crop": images.pixels.shape[-1]}
    spec |= {key: changes.pop(key) for key in ("augment", "crop", "balance") if key in changes}
    options = {"batch_size": 4, "seed": 1, "device": "cpu", "train": True, **changes}
    return Batches(
        images,
        torch.arange(len(images)) if indices is None else indices,
        data=DataSpec(name="parts", **spec),
        mean=MEAN,
        std=STD,
        **options,
    )


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.target, b.target)
        and torch.equal(a.indices, b.indices)
        for a, b in zip(one, other, strict=True)
    )


def pixels_of(batch: Batch) -> torch.Tensor:
    """The images as they were before they were normalised, 0..255."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (batch.images * std + mean) * 255


@pytest.mark.parametrize("augment", CROPS)
@pytest.mark.parametrize("crop", [16, 12])
def test_an_epoch_entered_in_the_middle_gives_the_same_batches(augment: str, crop: int) -> None:
    whole = list(batches(image_set(), augment=augment, crop=crop).epoch(3))
    later = list(batches(image_set(), augment=augment, crop=crop).epoch(3, 2))
    assert len(later) == len(whole) - 2 == 1
    assert equal(later, whole[2:])
    assert whole[0].images.shape == (4, 3, crop, crop)


@pytest.mark.parametrize("augment", sorted(set(CROPS) - {"none"}))
def test_epochs_and_seeds_augment_differently(augment: str) -> None:
    same = torch.zeros(40, dtype=torch.int64)
    draws = [
        next(batches(image_set(), same, augment=augment, batch_size=40, seed=seed).epoch(epoch))
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert not torch.equal(draws[0].images, draws[1].images)
    assert not torch.equal(draws[0].images, draws[2].images)
    assert len(draws[0].images.unique(dim=0)) > 4


@pytest.mark.parametrize("augment", sorted(set(CROPS) - {"none"}))
def test_the_batches_of_an_epoch_are_augmented_differently(augment: str) -> None:
    same = torch.zeros(40, dtype=torch.int64)
    loader = batches(image_set(), same, augment=augment, batch_size=20)
    one, other = loader.epoch(0)
    assert not torch.equal(one.images, other.images)


def test_an_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    loader = batches(image_set(12))
    orders = [torch.cat([batch.indices for batch in loader.epoch(e)]).tolist() for e in range(3)]
    for order in orders:
        assert sorted(order) == list(range(12))
    assert orders[0] != orders[1] != orders[2]


def test_targets_belong_to_their_images() -> None:
    images = image_set()
    for batch in batches(images).epoch(0):
        assert torch.equal(batch.target, batch.indices % 3)
        expected = images.pixels[batch.indices].float()
        torch.testing.assert_close(pixels_of(batch), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("count", "train", "sizes"),
    [
        (13, True, [4, 4, 4]),
        (14, True, [4, 4, 4, 2]),
        (13, False, [4, 4, 4, 1]),
        (3, True, [3]),
    ],
)
def test_a_last_batch_of_one_image_is_dropped_in_training_only(
    count: int, train: bool, sizes: list[int]
) -> None:
    loader = batches(image_set(count), train=train)
    assert [len(batch.target) for batch in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes)


def test_too_few_images_to_make_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match="1 images of parts"):
        batches(image_set(1))


def test_evaluation_crops_the_middle_in_order_and_ignores_the_recipe() -> None:
    images = image_set()
    indices = torch.tensor([7, 2, 11])
    loader = batches(images, indices, train=False, augment="crop_flip", crop=12)
    batch = next(loader.epoch(5))
    assert batch.indices.tolist() == [7, 2, 11]
    expected = images.pixels[indices][:, :, 2:14, 2:14].float()
    torch.testing.assert_close(pixels_of(batch), expected, rtol=0, atol=1e-3)


def test_sampling_draws_every_class_as_often() -> None:
    images = image_set(1000, 4, classes=1)
    images.labels[900:] = 1
    drawn = torch.cat([b.target for b in batches(images, balance="sampling").epoch(0)])
    assert len(drawn) == 1000
    assert 420 < int(drawn.sum()) < 580


def variants(image: torch.Tensor) -> list[torch.Tensor]:
    """The eight symmetries of an image."""
    turned = [image.rot90(k, (-2, -1)) for k in range(4)]
    return turned + [one.flip(-1) for one in turned]


def one_image(augment: str, *, size: int = 16, crop: int = 16, draws: int = 400) -> tuple:
    images = image_set(1, size)
    many = torch.zeros(draws, dtype=torch.int64)
    loader = batches(images, many, augment=augment, crop=crop, batch_size=draws)
    shown = pixels_of(next(loader.epoch(0))).round().to(torch.int64)
    return images.pixels[torch.tensor([0])][0].to(torch.int64), shown


def test_dihedral_shows_all_eight_symmetries_about_as_often() -> None:
    image, shown = one_image("dihedral")
    symmetries = variants(image)
    found = Counter(
        next(k for k, one in enumerate(symmetries) if torch.equal(one, each)) for each in shown
    )
    assert len(found) == 8
    assert min(found.values()) > 25


def windows(image: torch.Tensor, pad: int, crop: int) -> dict[bytes, tuple[int, int, bool]]:
    """All crops of the image with `pad` zeros around it, and their mirror images."""
    padded = torch.nn.functional.pad(image, (pad, pad, pad, pad))
    reach = padded.shape[-1] - crop + 1
    return {
        (cut.flip(-1) if mirrored else cut).contiguous().numpy().tobytes(): (y, x, mirrored)
        for y in range(reach)
        for x in range(reach)
        for cut in [padded[:, y : y + crop, x : x + crop]]
        for mirrored in (False, True)
    }


@pytest.mark.parametrize(
    ("size", "crop", "pad"), [(16, 16, 2), (32, 32, 4), (40, 40, 4), (16, 12, 0)]
)
def test_crop_flip_shows_every_window_and_its_mirror_image(size: int, crop: int, pad: int) -> None:
    image, shown = one_image("crop_flip", size=size, crop=crop)
    known = windows(image, pad, crop)
    places = [known[each.contiguous().numpy().tobytes()] for each in shown]
    reach = size + 2 * pad - crop
    assert {y for y, _, _ in places} == {x for _, x, _ in places} == set(range(reach + 1))
    assert 120 < sum(mirrored for _, _, mirrored in places) < 280


def test_shift_flip_brightness_moves_and_scales_but_stays_in_range() -> None:
    image, shown = one_image("shift_flip_brightness", size=64, crop=64, draws=200)
    assert shown.min() == 0
    assert shown.max() == 255
    empty_rows = [(each == 0).all(dim=(0, 2)).sum().item() for each in shown]
    assert max(empty_rows) == 6
    means = shown.float().mean(dim=(1, 2, 3)) / image.float().mean()
    assert means.min() < 0.85
    assert means.max() > 0.95


def test_resized_crop_of_a_flat_image_is_flat_and_of_a_ramp_is_part_of_it() -> None:
    ramp = np.tile(np.arange(10, 250, 15, dtype=np.uint8), (1, 3, 16, 1))
    images = ImageSet(
        pixels=Pixels([ramp], size=16),
        labels=torch.zeros(1, dtype=torch.int64),
        ids=("ramp",),
        extra={},
        official=torch.zeros(1, dtype=torch.bool),
    )
    many = torch.zeros(200, dtype=torch.int64)
    shown = pixels_of(
        next(batches(images, many, augment="resized_crop", crop=8, batch_size=200).epoch(0))
    )
    assert shown.shape == (200, 3, 8, 8)
    torch.testing.assert_close(shown, shown[:, :, :1].expand_as(shown), rtol=0, atol=0.01)
    step = (shown[:, 0, 0, 1:] - shown[:, 0, 0, :-1]).mean(1).abs() / 15
    assert 0.7 < step.min() < 1
    assert 1.5 < step.max() <= 2.001
    assert shown.min() >= 9.99
    assert shown.max() <= 235.01


def test_working_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for augment in CROPS:
        whole = list(batches(image_set(), augment=augment, batch_size=13).epoch(0))
        with monkeypatch.context() as patch:
            patch.setattr("mcl_bench.data.batches._CACHED_BYTES", 3 * 16 * 16 * 2)
            assert equal(list(batches(image_set(), augment=augment, batch_size=13).epoch(0)), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augment", CROPS)
def test_a_gpu_sees_the_same_images(augment: str) -> None:
    here = list(batches(image_set(), augment=augment, crop=12).epoch(0))
    there = list(batches(image_set(), augment=augment, crop=12, device="cuda").epoch(0))
    for one, other in zip(here, there, strict=True):
        assert other.images.is_cuda
        assert other.target.is_cuda
        torch.testing.assert_close(other.images.cpu(), one.images, rtol=1e-4, atol=1e-4)
        assert torch.equal(other.indices, one.indices)


def test_predictions_are_written_whole(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from mcl_bench.data import write_predictions

    path = tmp_path / "deep" / "predictions.parquet"
    write_predictions(
        path,
        image_ids=["a/ü.png", "b"],
        label=[0, 1],
        predicted=[0, 2],
        correct=[True, False],
        top5=[True, True],
        probability=[0.5, 0.25],
    )
    rows = pq.read_table(path).to_pylist()
    assert rows[1] == {
        "image_id": "b",
        "label": 1,
        "predicted": 2,
        "correct": False,
        "top5": True,
        "probability": 0.25,
    }
    assert rows[0]["image_id"] == "a/ü.png"
