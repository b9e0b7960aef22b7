"""CUB-200-2011 in its official layout: what is read of it."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cub_tree import LISTS, Bird, draw_cub
from list_edit import edit
from PIL import Image

from mcl_bench import data
from mcl_bench.data.catalog.cub200 import Cub200, Cub200Source
from mcl_bench.records import DataError, TestGrant
from mcl_bench.spec.schema import DataSpec


def spec(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="cub200", root=str(root), **{"resize": 48, "crop": 48, **changes})


def opened(root: Path) -> Cub200Source:
    return Cub200().open(spec(root), cache=root.parent / "cache")


def test_the_official_split_and_the_names_of_the_classes_are_kept(
    cub: Path, birds: list[Bird], store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(cub), store=store)
    assert packed.classes == (
        "001.Black_footed_Albatross",
        "002.Laysan_Albatross",
        "003.Sooty_Albatross",
    )
    assert (packed.num_train, packed.num_test) == (9, 6)
    for images, trained in (
        (data.open_train(packed), True),
        (data.open_test(packed, grant), False),
    ):
        wanted = {f"images/{bird.path}": bird.label for bird in birds if bird.trained is trained}
        assert dict(zip(images.ids, images.labels.tolist(), strict=True)) == wanted
        assert not images.official.any()


def test_a_tree_of_a_dozen_classes_is_packed_and_validated_on_its_training_images(
    tmp_path: Path, store: Path
) -> None:
    birds = draw_cub(tmp_path / "cub")
    assert len(birds) > 100
    packed = data.prepare(spec(tmp_path / "cub", validation=0.2), store=store)
    images = data.open_train(packed)
    sides = data.cut(images.labels, digest=packed.digest, data=spec(tmp_path / "cub"))
    assert torch.bincount(images.labels[sides.validation]).tolist() == [1] * 12
    assert torch.bincount(images.labels[sides.train]).tolist() == [4] * 12


def test_boxes_and_parts_are_shares_of_the_image(
    cub: Path, birds: list[Bird], store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(spec(cub), store=store)
    by_id = {f"images/{bird.path}": bird for bird in birds}
    hidden = 0
    for images in (data.open_train(packed), data.open_test(packed, grant)):
        assert {name: one.dtype for name, one in images.extra.items()} == {
            "box": torch.float32,
            "parts": torch.float32,
        }
        for name, box, parts in zip(
            images.ids, images.extra["box"], images.extra["parts"], strict=True
        ):
            bird = by_id[name]
            sides = (bird.width, bird.height)
            wanted = torch.tensor([value / sides[i % 2] for i, value in enumerate(bird.box)])
            torch.testing.assert_close(box, wanted)
            places = torch.tensor([(x / sides[0], y / sides[1], seen) for x, y, seen in bird.parts])
            torch.testing.assert_close(parts, places)
            hidden += int((parts == 0).all(dim=1).sum())
    assert hidden == sum(not seen for bird in birds for _, _, seen in bird.parts) > 0


def test_a_visible_part_lies_on_its_white_spot_in_the_stored_image(cub: Path, store: Path) -> None:
    packed = data.prepare(spec(cub, resize=200, crop=200), store=store)
    images = data.open_train(packed)
    pixels = images.pixels[torch.arange(len(images))].float().mean(dim=1)
    at_parts = [
        pixels[i, int(y * 200) : int(y * 200) + 2, int(x * 200) : int(x * 200) + 2].mean().item()
        for i in range(len(images))
        for x, y, seen in images.extra["parts"][i]
        if seen
    ]
    assert np.mean(at_parts) > 225
    assert pixels.mean() < 150


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_and_boxes_turn_with_the_image(cub: Path, store: Path, orientation: int) -> None:
    lists = opened(cub)
    name = lists.members[0].id
    canvas = np.zeros((60, 90, 3), dtype=np.uint8)
    canvas[40:44, 20:24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(canvas).save(cub / name, exif=exif, quality=95)
    edit(cub / "bounding_boxes.txt", {1: "1 20 40 4 4"})
    edit(cub / "parts/part_locs.txt", {1: "1 1 22 42 1"})
    images = data.open_train(data.prepare(spec(cub, resize=180, crop=180), store=store))
    row = images.ids.index(name)
    shown = images.pixels[torch.tensor([row])][0].float().mean(dim=0) > 128
    where = shown.nonzero().float()
    corners = [*where.min(dim=0).values.tolist(), *(where.max(dim=0).values + 1).tolist()]
    x, y, width, height = (images.extra["box"][row] * 180).tolist()
    assert [y, x, y + height, x + width] == pytest.approx(corners, abs=2)
    part = images.extra["parts"][row, 0]
    middle = ((where.mean(dim=0).flip(0) + 0.5) / 180).tolist()
    assert part.tolist() == pytest.approx([*middle, 1], abs=0.01)


@pytest.mark.parametrize(
    ("absent", "kept"),
    [
        (("bounding_boxes.txt",), {"parts": (15, 3)}),
        (("parts/parts.txt",), {"box": (4,)}),
        (("parts/part_locs.txt",), {"box": (4,)}),
        (("bounding_boxes.txt", "parts/parts.txt", "parts/part_locs.txt"), {}),
    ],
)
def test_what_is_not_annotated_is_not_in_extra(
    cub: Path, store: Path, absent: tuple[str, ...], kept: dict[str, tuple[int, ...]]
) -> None:
    for name in absent:
        (cub / name).unlink()
    images = data.open_train(data.prepare(spec(cub), store=store))
    assert {name: tuple(one.shape[1:]) for name, one in images.extra.items()} == kept


def test_annotations_that_come_later_are_packed_then(cub: Path, store: Path) -> None:
    boxes = (cub / "bounding_boxes.txt").rename(cub / "away")
    first = data.prepare(spec(cub), store=store)
    assert set(data.open_train(first).extra) == {"parts"}
    boxes.rename(cub / "bounding_boxes.txt")
    again = data.prepare(spec(cub), store=store)
    assert (again.digest, again.train_path) == (first.digest, first.train_path)
    assert set(data.open_train(again).extra) == {"box", "parts"}
    (cub / "bounding_boxes.txt").unlink()
    kept = data.prepare(spec(cub), store=store)
    assert set(data.open_train(kept).extra) == {"box", "parts"}


@pytest.mark.parametrize(
    ("file", "row", "name"),
    [("bounding_boxes.txt", "1 3 4 20 10", "box"), ("parts/part_locs.txt", "1 2 9 8 1", "parts")],
)
def test_an_annotation_that_is_edited_is_packed_again_under_the_same_digest(
    cub: Path, store: Path, file: str, row: str, name: str
) -> None:
    first = data.prepare(spec(cub), store=store)
    packed = first.train_path.stat()
    before = data.open_train(first)
    assert data.prepare(spec(cub), store=store) == first
    assert first.train_path.stat().st_ino == packed.st_ino
    edit(cub / file, {2 if name == "parts" else 1: row})
    again = data.prepare(spec(cub), store=store)
    assert (again.digest, again.train_path) == (first.digest, first.train_path)
    after = data.open_train(again)
    changed = {one for one in after.extra if not torch.equal(after.extra[one], before.extra[one])}
    assert changed == {name}
    assert data.prepare(spec(cub), store=store, digest=first.digest) == again


def test_lists_may_be_reduced_and_in_any_order(cub: Path) -> None:
    whole = opened(cub)
    for name in LISTS[:4]:
        rows = (cub / name).read_text().splitlines()
        (cub / name).write_text("\r\n".join(reversed(rows)) + "\r\n\r\n")
    mixed = opened(cub)
    assert mixed.classes == tuple(reversed(whole.classes))
    named = [
        {(member.id, source.classes[member.label], member.split) for member in source.members}
        for source in (whole, mixed)
    ]
    assert named[0] == named[1]
    assert mixed.digest == whole.digest


def test_a_class_without_an_image_is_left_out(cub: Path, birds: list[Bird]) -> None:
    shutil.rmtree(cub / "images" / "002.Laysan_Albatross")
    gone = {str(number) for number, bird in enumerate(birds, start=1) if bird.label == 1}
    for name in LISTS:
        if name not in ("classes.txt", "parts/parts.txt"):
            edit(cub / name, lambda row: None if row.split()[0] in gone else row)
    source = opened(cub)
    assert source.classes == ("001.Black_footed_Albatross", "003.Sooty_Albatross")
    assert {member.id.split("/")[1]: member.label for member in source.members} == {
        "001.Black_footed_Albatross": 0,
        "003.Sooty_Albatross": 1,
    }


def test_the_digest_knows_path_bytes_class_and_split_and_nothing_else(cub: Path) -> None:
    first = opened(cub).digest
    os.utime(cub / "images.txt", (1, 1))
    (cub / "bounding_boxes.txt").unlink()
    (cub / "attributes.txt").write_text("1 has_bill_shape::curved\n")
    cub = cub.rename(cub.parent / "elsewhere")
    assert opened(cub).digest == first
    edit(cub / "train_test_split.txt", {1: "1 0"})
    other_split = opened(cub).digest
    assert other_split != first
    edit(cub / "train_test_split.txt", {1: "1 1"})
    assert opened(cub).digest == first
    image = cub / opened(cub).members[0].id
    image.write_bytes(image.read_bytes() + b"\0")
    assert opened(cub).digest not in (first, other_split)


def test_the_folder_above_will_do(cub: Path) -> None:
    (cub.parent / "attributes.txt").write_text("as the archive has it beside the folder")
    data_above, data_at = spec(cub.parent), spec(cub)
    Cub200().check(data_above)
    cache = cub.parent / "cache"
    above, at = (Cub200().open(one, cache=cache) for one in (data_above, data_at))
    assert above.members == at.members
    assert above.digest == at.digest


def test_a_tree_in_a_tree_is_refused(cub: Path) -> None:
    shutil.copytree(cub, cub / "CUB_200_2011")
    with pytest.raises(DataError, match="and so does its CUB_200_2011/"):
        Cub200().check(spec(cub))


def test_files_that_desktops_leave_are_passed_over(cub: Path) -> None:
    folder = cub / "images" / "001.Black_footed_Albatross"
    for name in (".DS_Store", "._photo.jpg", "Thumbs.db"):
        (folder / name).write_bytes(b"\0")
    assert len(opened(cub).members) == 15


def test_broken_and_empty_photographs_are_counted_as_faults(
    cub: Path, birds: list[Bird], store: Path
) -> None:
    (cub / "images" / birds[0].path).write_bytes(b"")
    (cub / "images" / birds[7].path).write_bytes(b"\xff\xd8\xff\xe0 no photograph")
    with pytest.raises(DataError) as caught:
        data.prepare(spec(cub), store=store)
    for words in ("2 images", f"images/{birds[0].path} (the file is empty)", birds[7].path):
        assert words in str(caught.value)
    packed = data.prepare(spec(cub, max_faults=2), store=store)
    assert packed.num_train + packed.num_test == 13


def test_the_facts_name_the_archive_the_terms_and_the_overlap_with_imagenet() -> None:
    facts = Cub200.facts
    assert facts.classes == 200
    assert facts.needs_root
    assert "97eceeb196236b17998738112f37df78" in facts.images
    assert "CNS-TR-2011-001" in facts.citation
    assert "non-commercial" in facts.licence
    assert "22 of the 5,794 test images" in facts.traps[0]
    assert "guopei.github.io" in facts.traps[0]
    (archive,) = facts.archives
    assert archive.urls[0].endswith("/65de6-vp158/files/CUB_200_2011.tgz")
    assert facts.counts == {"train": 5994, "test": 5794}
