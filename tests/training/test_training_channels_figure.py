import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mcl_bench.data import ImageSet, Pixels
from mcl_bench.sweep.lease import name_lease
from mcl_bench.sweep.trials import TOLD, kept, tidy
from mcl_bench.training import Training
from mcl_bench.training.channels import ChannelReport, ChannelSums
from mcl_bench.training.channels.figure import TILE, Row, draw_rows, heat_colours, plain_text
from mcl_bench.training.channels.report import CHANNELS_FILE, FIGURE_FILE, picked_images

ONE_EPOCH: dict[str, Any] = {"train": {"epochs": 1}}


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((3, 2, 3), dtype=np.float32)


def row(maps: np.ndarray, **changes: Any) -> Row:
    plain = Row(
        pixels_cc3=np.full((8, 8, 3), 128, dtype=np.uint8),
        maps_XHW=maps,
        first_channel=6,
        num_channels=len(maps),
        name="wren",
        predicted="wren",
        parts=[(0.25, 0.5)],
        box=(0.1, 0.1, 0.9, 0.8),
    )
    return dataclasses.replace(plain, **changes)


def picture(rows: Sequence[Row]) -> Image.Image:
    return Image.open(io.BytesIO(draw_rows(rows)))


def test_the_figure_has_a_row_for_each_image_and_a_tile_for_each_channel(maps: np.ndarray) -> None:
    one, two = picture([row(maps)]), picture([row(maps), row(maps)])
    assert one.format == "PNG"
    assert one.width >= 4 * TILE
    assert TILE < two.height - one.height < 2 * TILE
    assert picture([row(np.concatenate([maps] * 3))]).width - one.width >= 6 * TILE


def test_the_warmest_place_is_where_the_channel_is_most_active() -> None:
    lit = np.zeros((1, 2, 3), dtype=np.float32)
    lit[0, 1, 2] = 4
    dark = row(np.zeros((1, 2, 3), dtype=np.float32), parts=[], box=None)
    first, second = (
        np.asarray(picture([one]), dtype=int) for one in (row(lit, parts=[], box=None), dark)
    )
    # Above the caption. The image comes first, then the tile: 2×3 cells, the last of them lit.
    changed = np.abs(first - second).sum(-1)[: TILE + 25]
    ys, xs = np.nonzero(changed > 60)
    assert TILE * (1 + 1 / 3) < xs.min() < xs.max() < 2 * TILE + 15
    assert TILE / 4 < ys.min() < ys.max()


@pytest.mark.parametrize("name", ["Großer Brachvogel é", "黒鳥", "two\nlines", "x" * 500, "", "🐦"])
def test_any_class_name_can_be_drawn(maps: np.ndarray, name: str) -> None:
    assert picture([row(maps, name=name, predicted=name)]).width > TILE
    assert plain_text(name).isascii()
    assert len(plain_text(name)) <= 40


def test_accents_are_dropped_and_other_letters_are_question_marks() -> None:
    assert plain_text("café 黒\n") == "cafe ??"


def test_warmer_is_lighter() -> None:
    light = heat_colours(np.linspace(0, 1, 50)).sum(-1).astype(int)
    assert (np.diff(light) >= 0).all()
    assert heat_colours(np.array([0.0])).tolist() == [[0, 0, 0]]


def test_the_figure_shows_the_first_image_of_each_of_the_first_classes() -> None:
    labels = torch.tensor([7, 2, 2, 0, 1, 5, 4, 7, 3, 0])
    assert picked_images(labels) == {3: 0, 4: 1, 1: 2, 8: 3, 6: 4, 5: 5}


def test_a_confirm_trial_leaves_its_channels_by_class_and_their_figure(make_config: Any) -> None:
    config = make_config(stage="confirm", **ONE_EPOCH)
    (record,) = Training(config)
    classes = json.loads((Path(config.folder) / CHANNELS_FILE).read_text())["classes"]
    assert list(classes[0]) == [
        *("class", "xi", "images", "diversity", "alignment", "own_energy", "pointing")
    ]
    assert [(one["xi"], one["images"]) for one in classes] == [(3, 3)] * 12
    for name in ("diversity", "alignment", "own_energy"):
        mean = sum(one[name] for one in classes) / 12
        assert record.metrics[f"channels/{name}"] == pytest.approx(mean)
    with Image.open(Path(config.folder) / FIGURE_FILE) as figure:
        assert figure.size[1] > 6 * TILE


def test_a_restored_finished_trial_leaves_the_same_channels(make_config: Any) -> None:
    config = make_config(stage="confirm", **ONE_EPOCH)
    training = Training(config)
    list(training)
    elsewhere = dataclasses.replace(config, folder=f"{config.folder}-next")
    Training(elsewhere, training.write_checkpoint())
    for name in (CHANNELS_FILE, FIGURE_FILE):
        first, second = (Path(one.folder) / name for one in (config, elsewhere))
        assert first.read_bytes() == second.read_bytes()


def test_what_a_confirm_trial_leaves_is_kept_beside_its_log(tmp_path: Path) -> None:
    name_lease(tmp_path, "1234")
    (tmp_path / "1234").mkdir()
    for name in (*TOLD, "checkpoint.pt"):
        (tmp_path / "1234" / name).write_bytes(b"x")
    tidy(tmp_path)
    assert {CHANNELS_FILE, FIGURE_FILE} <= {path.name for path in kept(tmp_path)}
    assert not (tmp_path / "1234").exists()


def test_a_set_without_landmarks_and_with_uneven_groups_is_drawn_too(tmp_path: Path) -> None:
    groups = (1, 2, 12)
    labels = torch.tensor([2, 0, 2])
    images = ImageSet(
        pixels=Pixels([np.full((3, 3, 8, 8), 9, dtype=np.uint8)], size=8),
        labels=labels,
        ids=("a", "b", "c"),
        extra={},
        official=torch.zeros(3, dtype=torch.bool),
    )
    report = ChannelReport(images, crop=6, classes=("a", "b", "c"), groups=groups)
    maps = torch.rand(3, 15, 2, 3, generator=torch.Generator().manual_seed(0))
    sums = ChannelSums(groups)
    for indices in (torch.tensor([0, 1]), torch.tensor([2])):
        report.add(maps[indices], labels[indices], indices)
        sums.add(maps[indices], labels[indices])
    assert report.write(tmp_path, sums.facts(), predicted_N=torch.tensor([2, 1, 0])) == {}
    classes = json.loads((tmp_path / CHANNELS_FILE).read_text())["classes"]
    assert [one["images"] for one in classes] == [1, 0, 2]
    assert classes[1]["alignment"] is None
    assert "pointing" not in classes[0]
    with Image.open(tmp_path / FIGURE_FILE) as figure:
        assert figure.width > 11 * TILE
