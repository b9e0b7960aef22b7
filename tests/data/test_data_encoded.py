"""Images kept as JPEG: what is packed, what comes out, and when they are kept so."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from mcl_bench import data
from mcl_bench.data import mode
from mcl_bench.data.decode import UNREADABLE, jpeg, planar
from mcl_bench.data.images import Pixels
from mcl_bench.data.mode import mode_of, stored_bytes
from mcl_bench.records import TestGrant
from mcl_bench.spec.schema import DataSpec


def smooth(number: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """A picture that JPEG keeps well."""
    rng = np.random.default_rng(number)
    few = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    return few.resize(size, Image.Resampling.BICUBIC)


def file_of(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def shown(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)


def folder(root: Path, **changes: Any) -> DataSpec:
    given = {"resize": 16, "crop": 16, "store": "encoded", **changes}
    return DataSpec(name="folder", root=str(root), **given)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 9 JPEG files of 16×16 and one of other kinds of images."""
    root = tmp_path / "photos"
    for number in range(18):
        place = root / "ab"[number % 2] / f"{number:02d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        smooth(number, (16, 16)).save(place, quality=80)
    (root / "c").mkdir()
    smooth(20, (40, 30)).save(root / "c" / "large.jpg")
    smooth(21).save(root / "c" / "x.png")
    smooth(22, (16, 16)).convert("L").save(root / "c" / "grey.jpg")
    smooth(23, (16, 16)).convert("CMYK").save(root / "c" / "cmyk.jpg")
    return root


@pytest.mark.parametrize("options", [{}, {"quality": 60}, {"exif": turned(1)}, {"comment": b"x"}])
def test_a_jpeg_of_the_stored_size_is_kept_byte_for_byte(options: dict[str, Any]) -> None:
    content = file_of(smooth(0, (32, 32)), **options)
    assert jpeg(content, size=32).tobytes() == content


@pytest.mark.parametrize(
    ("content", "trim"),
    [
        (file_of(smooth(0, (32, 32)), "PNG"), 0),
        (file_of(smooth(0, (32, 32)), progressive=True), 0),
        (file_of(smooth(0, (32, 32)), exif=turned(6)), 0),
        (file_of(smooth(0, (32, 32))), 4),
        (file_of(smooth(0, (32, 30))), 0),
        (file_of(smooth(0, (64, 64))), 0),
        (file_of(smooth(0, (32, 32)).convert("L")), 0),
        (file_of(smooth(0, (32, 32)).convert("CMYK")), 0),
        (file_of(smooth(0, (32, 32))) + bytes(10_000), 0),
    ],
)
def test_any_other_image_is_made_one_of_the_stored_size(content: bytes, trim: int) -> None:
    made = jpeg(content, size=32, trim_bottom=trim).tobytes()
    assert made != content
    image = Image.open(io.BytesIO(made))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
    assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # all colour is kept
    wanted = planar(content, size=32, trim_bottom=trim).astype(int)
    assert np.abs(shown(made) - wanted).mean() < 2.5


def test_a_truncated_jpeg_of_the_stored_size_is_unreadable() -> None:
    with pytest.raises(UNREADABLE):
        jpeg(file_of(smooth(0, (32, 32)))[:-200], size=32)


@pytest.mark.usefixtures("threads")
def test_encoded_images_are_those_of_their_files(
    photos: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(folder(photos), store=store)
    assert packed.mode == "encoded"
    assert packed.nbytes < 40_000
    for images in (data.open_train(packed), data.open_test(packed, grant)):
        assert images.pixels.shape == (len(images), 3, 16, 16)
        assert isinstance(images.pixels, data.EncodedImages)
        gathered = images.pixels[torch.arange(len(images))]
        for pixels, name in zip(gathered.numpy(), images.ids, strict=True):
            content = (photos / name).read_bytes()
            if name.startswith("c/"):
                wanted = planar(content, size=16)
                assert np.abs(pixels.astype(int) - wanted).mean() < 4, name
            else:
                assert np.array_equal(pixels, shown(content)), name


@pytest.mark.usefixtures("threads")
def test_windows_of_encoded_images_are_those_of_the_decoded_ones(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl_bench.data.packed_file._BATCH_BYTES", 5 * 3 * 16 * 16)
    packed = data.prepare(folder(photos), store=store)
    assert pa.ipc.open_file(str(packed.train_path)).num_record_batches > 3
    images = data.open_train(packed).pixels
    whole = Pixels([images[torch.arange(len(images))].numpy()], size=16)
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(images), 40)
    top, left = rng.integers(-6, 10, (2, 40))
    ours, theirs = np.full((2, 40, 3, 11, 11), 7, dtype=np.uint8)
    images.windows(indices, top=top, left=left, out=ours)
    whole.windows(indices, top=top, left=left, out=theirs)
    assert np.array_equal(ours, theirs)


def test_the_modes_of_a_set_are_packed_apart(photos: Path, store: Path) -> None:
    encoded = data.prepare(folder(photos), store=store)
    decoded = data.prepare(folder(photos, store="decoded"), store=store)
    assert (encoded.mode, decoded.mode) == ("encoded", "decoded")
    assert encoded.digest == decoded.digest
    assert encoded.train_path != decoded.train_path
    assert data.prepare(folder(photos, store="auto"), store=store) == decoded


def test_auto_keeps_pixels_up_to_a_limit_that_is_the_same_everywhere() -> None:
    auto = DataSpec(name="folder")
    most = 64 * 2**30 // (3 * 256**2)
    assert mode_of(auto, num_images=most, size=256) == "decoded"
    assert mode_of(auto, num_images=most + 1, size=256) == "encoded"
    assert mode_of(DataSpec(name="folder", store="decoded"), num_images=10**9, size=9) == "decoded"
    assert mode_of(DataSpec(name="folder", store="encoded"), num_images=1, size=9) == "encoded"


def test_auto_finds_the_mode_that_it_chose_without_the_source(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = data.prepare(folder(photos, store="decoded"), store=store)
    monkeypatch.setattr(mode, "DECODED_BYTES", 21 * 3 * 16 * 16)  # one image less than there are
    encoded = data.prepare(folder(photos, store="auto"), store=store)
    assert encoded.mode == "encoded"
    (photos / "a" / "00.jpg").unlink()
    found = data.prepare(folder(photos, store="auto"), store=store, digest=encoded.digest)
    assert found == encoded
    monkeypatch.undo()
    found = data.prepare(folder(photos, store="auto"), store=store, digest=encoded.digest)
    assert found == decoded


def test_the_estimate_of_encoded_images_is_a_share_of_their_pixels() -> None:
    pixels = stored_bytes("decoded", num_images=10, size=100)
    assert pixels == 300_000
    assert pixels / 10 < stored_bytes("encoded", num_images=10, size=100) < pixels / 3


def test_an_encoded_image_that_is_no_jpeg_is_named(tmp_path: Path) -> None:
    from mcl_bench.data import packed_file
    from mcl_bench.records import DataError

    path = tmp_path / "odd.arrow"
    with packed_file.Writer(path, size=8, mode="encoded", header={}, extra_shapes={}) as writer:
        image = np.frombuffer(b"this is no JPEG", dtype=np.uint8)
        writer.add([packed_file.Row(id="a/ü", label=0, official=False, image=image, extra={})])
        writer.finish({})
    images = packed_file.read_images(path)
    with pytest.raises(DataError, match="at image a/ü: ") as raised:
        images.pixels[torch.tensor([0])]
    assert str(path) in str(raised.value)
