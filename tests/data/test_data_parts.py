"""The drawn set: what it draws, and how little anything but the parts gives away."""

from collections.abc import Callable

import numpy as np
import pytest

from mcl_bench.data.catalog import parts_drawing
from mcl_bench.data.catalog.parts import PartsOptions, PartsSource

CLASSES, TRAIN, TEST = 12, 40, 20
CHANCE_LIMIT = 0.25

Sides = dict[str, tuple[np.ndarray, np.ndarray]]
Features = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def drawn() -> Sides:
    """Images N×64×64×3 and labels N, of train and test."""
    source = PartsSource(PartsOptions())
    sides = {}
    for split in ("train", "test"):
        chosen = [i for i, member in enumerate(source.members) if member.split == split]
        images = np.stack([source.read(i).picture for i in chosen])
        sides[split] = (images, np.array([source.members[i].label for i in chosen]))
    return sides


def nearest_neighbour_top1(features: Features, drawn: Sides) -> float:
    train, test = features(drawn["train"][0]), features(drawn["test"][0])
    squared = (test**2).sum(1)[:, None] + (train**2).sum(1)[None] - 2 * test @ train.T
    return float((drawn["train"][1][squared.argmin(1)] == drawn["test"][1]).mean())


def colour_histograms(images: np.ndarray, bins: int) -> np.ndarray:
    level = images.astype(np.int64) * bins // 256
    colour = (level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]
    return np.stack([np.bincount(one.ravel(), minlength=bins**3) for one in colour]).astype(float)


def hue_histograms(images: np.ndarray) -> np.ndarray:
    """24 bins of hue, weighted by chroma, over the colourful pixels only."""
    pixels = images / 255.0
    high, low = pixels.max(-1), pixels.min(-1)
    chroma = high - low + 1e-9
    red, green, blue = np.moveaxis(pixels, -1, 0)
    hue = np.where(
        high == red,
        ((green - blue) / chroma) % 6,
        np.where(high == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    weight = chroma * (chroma > 0.3)
    return np.stack(
        [
            np.histogram(one, bins=24, range=(0, 6), weights=by)[0]
            for one, by in zip(hue, weight, strict=True)
        ]
    )


def thumbnails(images: np.ndarray) -> np.ndarray:
    blocks = images.reshape(len(images), 8, 8, 8, 8, 3).astype(float)
    return blocks.mean(axis=(2, 4)).reshape(len(images), -1)


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("bins", [4, 8])
def test_colour_histograms_tell_little_of_the_class(drawn: Sides, bins: int) -> None:
    top1 = nearest_neighbour_top1(lambda images: colour_histograms(images, bins), drawn)
    assert top1 < CHANCE_LIMIT


@pytest.mark.parametrize("scale", [lambda features: features, unit])
def test_hue_histograms_tell_little_of_the_class(drawn: Sides, scale: Features) -> None:
    top1 = nearest_neighbour_top1(lambda images: scale(hue_histograms(images)), drawn)
    assert top1 < CHANCE_LIMIT


@pytest.mark.parametrize("scale", [lambda features: features, unit])
def test_thumbnails_of_8_pixels_tell_little_of_the_class(drawn: Sides, scale: Features) -> None:
    top1 = nearest_neighbour_top1(lambda images: scale(thumbnails(images)), drawn)
    assert top1 < CHANCE_LIMIT


def test_the_nearest_neighbours_of_these_tests_do_find_a_copy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    both = {"train": (images, np.arange(30)), "test": (images, np.arange(30))}
    assert nearest_neighbour_top1(thumbnails, both) == 1
    assert nearest_neighbour_top1(hue_histograms, both) == 1


def test_the_default_set_has_twelve_classes_of_forty_and_twenty(drawn: Sides) -> None:
    assert np.bincount(drawn["train"][1]).tolist() == [TRAIN] * CLASSES
    assert np.bincount(drawn["test"][1]).tolist() == [TEST] * CLASSES
    assert drawn["train"][0].shape == (480, 64, 64, 3)


def test_an_image_depends_on_its_arguments_only() -> None:
    code = (0, 1, 2, 3)
    one = parts_drawing.draw(code, size=32, stream=(0, 0, 1, 2))
    again = parts_drawing.draw(code, size=32, stream=(0, 0, 1, 2))
    other = parts_drawing.draw(code, size=32, stream=(0, 0, 1, 3))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.parts, again.parts)
    assert not np.array_equal(one.image, other.image)


def test_images_of_two_classes_with_one_stream_differ_at_the_parts_only() -> None:
    one = parts_drawing.draw((0, 0, 0, 0), size=64, stream=(5,))
    other = parts_drawing.draw((1, 2, 3, 1), size=64, stream=(5,))
    assert np.array_equal(one.parts, other.parts)
    rows, columns = np.nonzero((one.image != other.image).any(-1))
    centres = one.parts[:, :2] * 64
    distance = np.hypot(
        columns[:, None] + 0.5 - centres[:, 0], rows[:, None] + 0.5 - centres[:, 1]
    ).min(1)
    assert len(rows) > 100
    assert distance.max() < 64 * 0.16


def test_without_parts_all_classes_draw_the_same_image() -> None:
    images = [
        parts_drawing.draw(code, size=32, stream=(1, 2), parts=False).image
        for code in ((0, 0, 0, 0), (3, 2, 1, 0))
    ]
    assert np.array_equal(*images)


@pytest.mark.parametrize("site", range(4))
def test_an_uncovered_part_shows_its_colour_at_its_position(site: int) -> None:
    """With the parts drawn, the pixel at a visible part's centre changes (a ring has a hole)."""
    changed = 0
    looked = 0
    for number in range(12):
        shown = parts_drawing.draw((0, 0, 0, 0), size=64, stream=(number,))
        bare = parts_drawing.draw((0, 0, 0, 0), size=64, stream=(number,), parts=False)
        x, y, visible = shown.parts[site]
        column, row = int(x * 64), int(y * 64)
        difference = np.abs(
            shown.image[row, column].astype(int) - bare.image[row, column].astype(int)
        ).max()
        if visible:
            looked += 1
            changed += difference > 20
        else:
            assert difference < 20
    assert looked >= 6
    assert changed == looked


def test_part_positions_lie_in_the_image() -> None:
    source = PartsSource(PartsOptions(classes=2, train_per_class=30, test_per_class=1))
    parts = np.stack([source.read(i).extra["parts"] for i in range(62)])
    assert parts.shape == (62, 4, 3)
    assert (parts[..., :2] > -0.1).all()
    assert (parts[..., :2] < 1.1).all()
    assert set(np.unique(parts[..., 2])) == {0.0, 1.0}


@pytest.mark.parametrize(("classes", "distance"), [(12, 2), (30, 2), (256, 1)])
def test_class_codes_are_distinct_and_far_apart(classes: int, distance: int) -> None:
    codes = parts_drawing.class_codes(classes, seed=0)
    assert len(set(codes)) == classes
    gaps = [
        sum(a != b for a, b in zip(one, other, strict=True))
        for i, one in enumerate(codes)
        for other in codes[:i]
    ]
    assert min(gaps) >= distance


def test_more_classes_leave_the_first_ones_as_they_are() -> None:
    assert parts_drawing.class_codes(30, seed=3)[:12] == parts_drawing.class_codes(12, seed=3)


def test_the_digest_changes_with_every_option() -> None:
    changes = (
        {},
        {"classes": 13},
        {"train_per_class": 41},
        {"test_per_class": 21},
        {"size": 65},
        {"seed": 1},
        {"parts": False},
    )
    assert len({PartsSource(PartsOptions(**change)).digest for change in changes}) == len(changes)
    assert PartsSource(PartsOptions()).digest == PartsSource(PartsOptions(classes=12)).digest


@pytest.mark.parametrize("size", [16, 50, 128])
def test_any_size_can_be_drawn(size: int) -> None:
    assert parts_drawing.draw((1, 1, 1, 1), size=size, stream=(0,)).image.shape == (size, size, 3)
