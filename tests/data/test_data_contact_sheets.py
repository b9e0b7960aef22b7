"""Contact sheets show what a model sees, of training images only."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from test_data_groups import write_groups

from mcl_bench import data
from mcl_bench.data.contact_sheets import Sheets, write_sheets
from mcl_bench.data.decode import planar
from mcl_bench.spec.schema import DataSpec


def sheets_of(root: Path, store: Path, *, classes: int | None = None, **changes: object) -> Sheets:
    asked = {"resize": 20, "crop": 16, "augment": "none", **changes}
    chosen = DataSpec.model_validate({"name": "folder", "root": str(root), **asked})
    packed = data.prepare(chosen, store=store)
    return write_sheets(packed, chosen, folder=store.parent / "out", classes=classes)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_sheet_shows_each_image_cropped_and_then_augmented(split: Path, store: Path) -> None:
    found = sheets_of(split, store)
    assert [sheet.name for sheet in found.sheets] == ["x", "y"]
    sheet = found.sheets[0]
    assert (sheet.train, sheet.validation, len(sheet.shown)) == (7, 1, 7)
    drawn = pixels_of(sheet.path)
    for number, name in enumerate(sheet.shown[:6]):
        pixels = planar((split / name).read_bytes(), size=20)[:, 2:18, 2:18].transpose(1, 2, 0)
        left = 4 + 20 * number
        assert np.abs(drawn[4:20, left : left + 16].astype(int) - pixels).max() <= 1
        assert np.array_equal(drawn[64:80, left : left + 16], drawn[4:20, left : left + 16])


def test_the_augmented_row_is_the_recipes(split: Path, store: Path) -> None:
    sheet = sheets_of(split, store, augment="crop_flip").sheets[0]
    drawn = pixels_of(sheet.path)
    assert not np.array_equal(drawn[4:20], drawn[64:80])


def test_no_test_image_is_shown_and_the_test_file_is_not_needed(split: Path, store: Path) -> None:
    chosen = DataSpec(name="folder", root=str(split), resize=20, crop=16)
    packed = data.prepare(chosen, store=store)
    packed.test_path.unlink()
    found = write_sheets(packed, chosen, folder=store / "out")
    shown = [name for sheet in found.sheets for name in sheet.shown]
    assert shown
    assert not [name for name in shown if name.startswith("test/")]


def test_the_images_shown_are_those_trained_on_where_groups_are_kept_whole(
    flat: Path, store: Path
) -> None:
    write_groups(flat)
    chosen = DataSpec(name="folder", root=str(flat), resize=20, crop=16)
    packed = data.prepare(chosen, store=store)
    images = data.open_train(packed)
    learnt = data.cut(
        images.labels, digest=packed.digest, data=chosen, groups=images.groups
    ).train.tolist()
    found = write_sheets(packed, chosen, folder=store / "out")
    assert [name for sheet in found.sheets for name in sheet.shown] == [
        images.ids[place] for place in learnt
    ]


def test_at_most_a_dozen_images_are_shown_and_few_classes_if_asked(wild: Path, store: Path) -> None:
    found = sheets_of(wild, store)
    assert [(sheet.train, len(sheet.shown)) for sheet in found.sheets] == [(1, 1), (22, 12), (9, 9)]
    assert len(sheets_of(wild, store, classes=1).sheets) == 1


def test_a_class_of_one_training_image_has_a_sheet(tmp_path: Path, store: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            picture = np.full((20, 20, 3), 40 * number + ord(name), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "set" / name / f"{number}.png")
    found = sheets_of(tmp_path / "set", store)
    assert [(sheet.train, len(sheet.shown)) for sheet in found.sheets] == [(1, 1), (1, 1)]


def test_the_page_counts_all_classes_and_escapes_what_it_is_told(
    tmp_path: Path, store: Path
) -> None:
    names = ('<script>alert("x")<', "b & c")
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(8):
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "set" / name / f'{number}"><b>.png')
    found = sheets_of(tmp_path / "set", store)
    page = found.page.read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;" in page
    assert "b &amp; c" in page
    assert page.count("5 to train on, 1 to validate on") == 2
    for sheet in found.sheets:
        assert f'src="{sheet.path.name}"' in page
        assert sheet.path.name.isascii()


def test_balance_and_torchs_own_generator_do_not_change_what_is_shown(
    split: Path, store: Path
) -> None:
    plain = sheets_of(split, store).sheets[0].path.read_bytes()
    torch.manual_seed(1)
    assert sheets_of(split, store, balance="sampling").sheets[0].path.read_bytes() == plain
