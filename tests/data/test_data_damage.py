"""A byte of a packed file that is not what was packed is noticed, named, and never trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcl_bench import data
from mcl_bench.data import packed_file
from mcl_bench.data.sums import sum_of
from mcl_bench.records import DataError, TestGrant
from mcl_bench.spec.schema import DataSpec

MODES = ("decoded", "encoded")


def parts(mode: str, **changes: Any) -> DataSpec:
    options = {"classes": 2, "train_per_class": 4, "test_per_class": 2, "size": 16}
    return DataSpec(name="parts", resize=16, crop=16, store=mode, options=options, **changes)


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def all_of(path: Path) -> list[Any]:
    """Everything that a file tells."""
    images = packed_file.read_images(path)
    return [
        packed_file.read_facts(path),
        images.ids,
        images.labels.tolist(),
        images.official.tolist(),
        {name: values.numpy().tobytes() for name, values in images.extra.items()},
        images.pixels[torch.arange(len(images))].numpy().tobytes(),
    ]


@pytest.fixture(params=MODES)
def packed(request: pytest.FixtureRequest, store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(packed_file, "_BATCH_BYTES", 3 * 3 * 16 * 16)
    return data.prepare(parts(request.param), store=store)


def test_a_flipped_byte_anywhere_is_noticed_or_changes_nothing(
    packed: data.Packed, tmp_path: Path
) -> None:
    whole = all_of(packed.train_path)
    content = packed.train_path.read_bytes()
    damaged = tmp_path / "damaged.arrow"
    noticed = 0
    places = range(0, len(content), 23)
    for place in places:
        damaged.unlink(missing_ok=True)
        damaged.write_bytes(content)
        flip(damaged, place)
        try:
            assert all_of(damaged) == whole, place
        except DataError as error:
            noticed += 1
            assert str(damaged) in str(error)
            assert error.remedy == "remove it; it is packed again from its source"
    assert noticed > 0.8 * len(places)  # the others lie between what is kept


def place_of(path: Path, image: int) -> int:
    """Where a byte of an image lies in its file."""
    pixels = packed_file.read_images(path).pixels
    files: Any = pixels._chunks[0]  # type: ignore[attr-defined]
    return path.read_bytes().index(np.asarray(files[image]).tobytes()) + 300


def test_a_flipped_byte_of_an_image_names_it_when_it_is_read(packed: data.Packed) -> None:
    flip(packed.train_path, place_of(packed.train_path, 1))
    images = data.open_train(packed)
    good = torch.tensor([index for index in range(len(images)) if index != 1])
    assert images.pixels[good].shape == (7, 3, 16, 16)
    for _ in range(2):
        with pytest.raises(DataError) as raised:
            images.pixels[torch.tensor([0, 1])]
        assert str(packed.train_path) in str(raised.value)
        assert f"at image {images.ids[1]}: " in str(raised.value)
        assert raised.value.exit_code == 3
        assert raised.value.remedy == "remove it; it is packed again from its source"


def test_a_window_beside_the_flipped_byte_is_refused_too(store: Path) -> None:
    packed = data.prepare(parts("decoded"), store=store)
    flip(packed.train_path, place_of(packed.train_path, 0))
    images = data.open_train(packed)
    corner = np.zeros(1, dtype=np.int64)
    with pytest.raises(DataError, match="at image"):
        images.pixels.windows(
            corner, top=corner, left=corner, out=np.zeros((1, 3, 2, 2), dtype=np.uint8)
        )


def test_removed_as_it_is_told_the_file_is_packed_again(
    packed: data.Packed, store: Path, grant: TestGrant
) -> None:
    whole = all_of(packed.train_path), all_of(packed.test_path)
    for path, opened in (
        (packed.train_path, lambda: data.open_train(packed)),
        (packed.test_path, lambda: data.open_test(packed, grant)),
    ):
        flip(path, place_of(path, 0))
        with pytest.raises(DataError, match="at image"):
            opened().pixels[torch.tensor([0])]
        path.unlink()
        again = data.prepare(parts(packed.mode), store=store)
        assert again == packed
    assert (all_of(packed.train_path), all_of(packed.test_path)) == whole


@pytest.mark.parametrize("column", ["label", "id"])
def test_a_flipped_label_or_name_is_packed_again_by_itself(store: Path, column: str) -> None:
    packed = data.prepare(parts("decoded"), store=store)
    whole = all_of(packed.train_path)
    content = packed.train_path.read_bytes()
    labels = np.array(whole[2], dtype=np.int32).tobytes()
    words: dict[str, Callable[[], int]] = {
        "label": lambda: content.index(labels),
        "id": lambda: content.index(whole[1][0].encode()) + 9,
    }
    flip(packed.train_path, words[column]())
    with pytest.raises(DataError, match="not those that were packed"):
        data.open_train(packed)
    assert data.prepare(parts("decoded"), store=store, digest=packed.digest) == packed
    assert all_of(packed.train_path) == whole


def test_an_image_is_summed_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.open_train(data.prepare(parts("decoded"), store=store))
    summed: list[int] = []

    def told(content: np.ndarray) -> np.uint64:
        summed.append(content.size)
        return sum_of(content)

    monkeypatch.setattr("mcl_bench.data.sums.sum_of", told)
    for _ in range(3):
        images.pixels[torch.tensor([0, 3, 0])]
    assert summed == [768, 768]


def test_a_sum_is_that_of_words_and_length() -> None:
    assert sum_of(np.array([], dtype=np.uint8)) == 0
    assert sum_of(np.array([1, 2], dtype=np.uint8)) == 2 + 1 + 2 * 256
    assert sum_of(np.full(16, 255, dtype=np.uint8)) == 16 - 2  # two words of -1
    content = np.random.default_rng(0).integers(0, 256, 1003, dtype=np.uint8)
    padded = [*content.tolist(), *[0] * 5]
    words = [int.from_bytes(bytes(padded[i : i + 8]), "little") for i in range(0, 1008, 8)]
    assert sum_of(content) == (sum(words) + 1003) % 2**64
    for place in range(0, 1003, 50):
        other = content.copy()
        other[place] ^= 4
        assert sum_of(other) != sum_of(content)
    assert sum_of(content[3:500]) == sum_of(content[3:500].copy())
