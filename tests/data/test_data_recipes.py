"""Recipes of several parts: what they show, where they draw from, and how they are written."""

from collections.abc import Callable, Iterator

import pytest
import torch
from test_data_batches import batches, equal, image_set, pixels_of
from torchvision.transforms import v2

from mcl_bench.data.augment import CROPS
from mcl_bench.data.policies import POLICIES, drawn_from
from mcl_bench.data.recipe import Recipe, parse_recipe
from mcl_bench.spec import recipe as written
from mcl_bench.spec.seeds import named_seed

COMPOSED = (
    "rotate",
    "colour",
    "randaugment",
    "trivialaugment",
    "mixup",
    "cutmix",
    "none+rotate+colour+trivialaugment",
    "resized_crop+randaugment+cutmix",
    "shift_flip_brightness+colour+mixup",
)


@pytest.fixture
def four_threads() -> Iterator[Callable[[], None]]:
    """Sets torch to four threads when called; one again afterwards."""
    yield lambda: torch.set_num_threads(4)
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("dihedral", Recipe(crop="dihedral", policies=(), mixing=None)),
        ("mixup", Recipe(crop="crop_flip", policies=(), mixing="mixup")),
        (
            "paper_scratch + rotate+randaugment",
            Recipe(crop="paper_scratch", policies=("rotate", "randaugment"), mixing=None),
        ),
        (
            "resized_crop+colour+trivialaugment+cutmix",
            Recipe(crop="resized_crop", policies=("colour", "trivialaugment"), mixing="cutmix"),
        ),
    ],
)
def test_a_recipe_is_read_part_by_part(text: str, recipe: Recipe) -> None:
    assert parse_recipe(text) == recipe


def test_the_written_crops_are_those_that_there_are_and_their_equals_draw_alike() -> None:
    assert set(written.CROPS) == set(CROPS)
    assert all(CROPS[name] is CROPS[same] for name, same in written.SAME_CROPS.items())
    assert len({CROPS[name] for name in written.CROPS if name not in written.SAME_CROPS}) == 5


@pytest.mark.parametrize("text", [*COMPOSED, "dihedral"])
def test_a_recipe_in_its_canonical_form_has_the_same_parts(text: str) -> None:
    canonical = written.canonical_recipe(text)
    assert parse_recipe(canonical) == parse_recipe(text)
    assert written.canonical_recipe(canonical) == canonical


@pytest.mark.parametrize("augment", COMPOSED)
def test_a_batch_is_the_same_in_the_middle_of_an_epoch_on_four_threads_and_prefetched(
    augment: str, four_threads: Callable[[], None]
) -> None:
    whole = list(batches(image_set(), augment=augment, crop=12).epoch(3))
    four_threads()
    torch.manual_seed(99)
    later = list(batches(image_set(), augment=augment, crop=12).epoch(3, 1))
    assert equal(later, whole[1:])
    assert [batch.mix and batch.mix.share for batch in later] == [
        batch.mix and batch.mix.share for batch in whole[1:]
    ]
    ahead = batches(image_set(), augment=augment, crop=12, prefetch=True)
    assert equal(list(ahead.epoch(3)), whole)


@pytest.mark.parametrize("augment", COMPOSED)
def test_torchs_global_generator_is_left_where_it_stood(augment: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(batches(image_set(), augment=augment).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("augment", COMPOSED)
def test_working_in_pieces_changes_nothing(augment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(batches(image_set(), augment=augment, batch_size=13).epoch(0))
    monkeypatch.setattr("mcl_bench.data.batches._CACHED_BYTES", 3 * 16 * 16 * 2)
    assert equal(list(batches(image_set(), augment=augment, batch_size=13).epoch(0)), whole)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_of_a_batch_has_draws_of_its_own(policy: str) -> None:
    same = torch.zeros(40, dtype=torch.int64)
    loader = batches(image_set(), same, augment=f"none+{policy}", batch_size=20)
    one, other = loader.epoch(0)
    assert len(one.images.unique(dim=0)) > 4
    assert not torch.equal(one.images, other.images)
    (again,) = batches(image_set(), same, augment=f"none+{policy}", batch_size=40, seed=2).epoch(0)
    assert not torch.equal(again.images[:20], one.images)


def test_a_policy_is_torchvisions_on_the_cropped_bytes() -> None:
    images, indices = image_set(4), torch.arange(4)
    (batch,) = batches(images, indices, augment="none+rotate+randaugment").epoch(0)
    transforms = (
        v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR),
        v2.RandAugment(),
    )
    expected = []
    with drawn_from(named_seed(named_seed(1, "augment", 0, 0), "policy")):
        for image in images.pixels[batch.indices]:
            expected.append(v2.Compose(transforms)(image))
    torch.testing.assert_close(pixels_of(batch), torch.stack(expected).float(), rtol=0, atol=1e-3)


def test_colour_keeps_a_grey_image_grey_and_changes_its_brightness() -> None:
    images = image_set(1)
    pixels = images.pixels[torch.tensor([0])]
    (chunk,) = images.pixels._chunks
    chunk[:] = pixels[:, :1].numpy() // 2
    many = torch.zeros(50, dtype=torch.int64)
    (batch,) = batches(images, many, augment="none+colour", batch_size=50).epoch(0)
    shown = pixels_of(batch)
    torch.testing.assert_close(shown, shown[:, :1].expand_as(shown), rtol=0, atol=1.001)
    means = shown.mean((1, 2, 3)) / (pixels[:, :1] // 2).float().mean()
    assert 0.55 < means.min() < 0.8
    assert 1.2 < means.max() < 1.42


def test_rotation_turns_no_further_than_it_says() -> None:
    images = image_set(1, 32)
    (chunk,) = images.pixels._chunks
    chunk[:] = 255
    many = torch.zeros(60, dtype=torch.int64)
    (batch,) = batches(images, many, augment="none+rotate", batch_size=60).epoch(0)
    shown = pixels_of(batch)
    assert (shown[:, :, 8:24, 8:24] > 254).all()
    assert shown[:, :, 0, 0].min() < 1


@pytest.mark.parametrize("crop", ["crop_flip", "dihedral"])
def test_mixup_adds_the_image_before_by_its_share(crop: str) -> None:
    plain = batches(image_set(), augment=crop).epoch(0)
    shares = set()
    for own, mixed in zip(
        plain, batches(image_set(), augment=f"{crop}+mixup").epoch(0), strict=True
    ):
        assert mixed.mix is not None
        share = mixed.mix.share
        assert torch.equal(mixed.target, own.target)
        assert torch.equal(mixed.mix.target, own.target.roll(1))
        expected = share * own.images + (1 - share) * own.images.roll(1, 0)
        torch.testing.assert_close(mixed.images, expected)
        shares.add(share)
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)


def test_cutmix_puts_a_box_of_the_image_before_and_counts_its_pixels() -> None:
    sizes = set()
    loader = batches(image_set(40), augment="none+cutmix")
    for own, mixed in zip(
        batches(image_set(40), augment="none").epoch(0), loader.epoch(0), strict=True
    ):
        assert mixed.mix is not None
        before = own.images.roll(1, 0)
        kept = (mixed.images == own.images).all(1)
        taken = (mixed.images == before).all(1)
        assert (kept | taken).all()
        assert mixed.mix.share == pytest.approx(kept.float().mean().item(), abs=0.01)
        sizes.add(round(mixed.mix.share, 2))
    assert len(sizes) > 5


@pytest.mark.parametrize("augment", COMPOSED)
def test_evaluation_shows_images_as_they_are(augment: str) -> None:
    plain = list(batches(image_set(), train=False, crop=12).epoch(0))
    seen = list(batches(image_set(), train=False, crop=12, augment=augment).epoch(0))
    assert equal(seen, plain)
    assert all(batch.mix is None for batch in seen)


@pytest.mark.parametrize(
    ("name", "size", "crop", "pad"),
    [("paper_scratch", 224, 224, 4), ("paper_finetune", 600, 448, 0)],
)
def test_the_papers_recipes_do_what_torchvisions_transforms_do(
    name: str, size: int, crop: int, pad: int
) -> None:
    images = image_set(1, size)
    whole = images.pixels[torch.tensor([0])][0]
    places = v2.functional.pad(whole, [pad])
    many = torch.zeros(4, dtype=torch.int64)
    (batch,) = batches(images, many, augment=name, crop=crop).epoch(0)
    for shown in pixels_of(batch).round().to(torch.uint8):
        assert any(found(places, turned, crop) for turned in (shown, shown.flip(-1)))
    (judged,) = batches(images, many, augment=name, crop=crop, train=False).epoch(0)
    expected = v2.CenterCrop(crop)(whole)
    assert torch.equal(pixels_of(judged)[0].round().to(torch.uint8), expected)


def found(places: torch.Tensor, shown: torch.Tensor, crop: int) -> bool:
    """Whether the shown crop is a window of the (padded) image."""
    line = shown[0, crop // 2]
    rows = places[0].unfold(1, crop, 1)
    return any(
        torch.equal(places[:, y : y + crop, x : x + crop], shown)
        for y, x in (
            (int(y) - crop // 2, int(x)) for y, x in (rows == line).all(-1).nonzero().tolist()
        )
        if 0 <= y <= places.shape[-1] - crop
    )
