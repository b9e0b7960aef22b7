"""Thumbnails of test images, which need a look that was taken."""

import io
from pathlib import Path

import pytest
from PIL import Image

from mcl_bench import data
from mcl_bench.records import TestGrant
from mcl_bench.spec.schema import DataSpec

GRANT = TestGrant(cell="a", key="0" * 16, seed=0, entry="0" * 64)
SPEC = DataSpec(
    name="parts",
    resize=128,
    crop=128,
    options={"classes": 2, "train_per_class": 2, "test_per_class": 2, "size": 128},
)


def test_the_images_asked_for_come_small_and_no_others(store: Path) -> None:
    packed = data.prepare(SPEC, store=store)
    ids = data.open_test(packed, GRANT).ids[1:3]
    found = data.thumbnails(SPEC, store=store, digest=packed.digest, ids=ids, grant=GRANT)
    assert set(found) == set(ids)
    for png in found.values():
        picture = Image.open(io.BytesIO(png))
        assert (picture.format, picture.size) == ("PNG", (96, 96))


def test_a_store_that_is_not_there_gives_none_and_is_not_made(store: Path) -> None:
    assert data.thumbnails(SPEC, store=store, digest="0" * 64, ids=["a"], grant=GRANT) == {}
    assert not store.exists()


def test_without_a_grant_no_test_image_is_shown(store: Path) -> None:
    packed = data.prepare(SPEC, store=store)
    with pytest.raises(TypeError, match="TestGrant"):
        data.thumbnails(SPEC, store=store, digest=packed.digest, ids=["a"], grant=None)  # type: ignore[arg-type]
