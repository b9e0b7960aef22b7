import dataclasses
import json
from pathlib import Path

import pytest
from claim_stories import scored_sweep

from mcl_bench.results import leaderboard, render
from mcl_bench.results.published import PUBLISHED, beside
from mcl_bench.results.row import Row
from mcl_bench.spec import load


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A row of a ResNet-50 on CUB with ImageNet weights, at 448 px."""
    return cub_row(tmp_path, crop=448)


def cub_row(tmp_path: Path, *, crop: int, weights: str = "imagenet") -> Row:
    scored_sweep(tmp_path / "runs", config={"data.crop": crop})
    (found, _) = leaderboard(tmp_path / "runs")
    return dataclasses.replace(found, dataset="cub200", backbone="resnet50", weights=weights)


def test_a_published_number_stands_beside_a_row_of_its_regime(row: Row) -> None:
    found = {(one.arm, one.top1) for one in beside(row)}
    assert {("mc", 0.873), ("mc", 0.8656), ("ce", 0.8638), ("mc", 0.8)} <= found
    assert ("PMG", 0.896) in found, "its resolution is not told, so it stands beside each"
    assert ("ce", 0.816) not in found, "that is at 224 px"


@pytest.mark.parametrize(("crop", "weights"), [(224, "imagenet"), (448, "none")])
def test_a_number_of_another_regime_does_not(tmp_path: Path, crop: int, weights: str) -> None:
    found = {one.top1 for one in beside(cub_row(tmp_path, crop=crop, weights=weights))}
    assert 0.873 not in found
    assert found


def test_other_sets_have_none(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs")
    rows = leaderboard(tmp_path / "runs")
    assert [beside(one) for one in rows] == [[], []]
    assert "Published" not in render(rows, "table") + render(rows, "markdown")


def test_the_section_names_source_and_way_of_scoring_and_is_not_ours(row: Row) -> None:
    table = render([row], "table")
    assert max(map(len, table.splitlines())) <= 80
    flat = " ".join(table.split())
    assert "Published, not ours; each as its source scored it:" in flat
    assert "cub200 × resnet50, imagenet, 448 px" in flat
    assert "mc 87.3: the paper's number; the authors' code keeps the best test epoch" in flat
    assert "(PRIS-CV/Mutual-Channel-Loss issue 26)" in flat
    for form in ("markdown", "latex"):
        assert "Published, not ours; each as its source scored it:" in render([row], form)
        assert "PRIS-CV/Mutual-Channel-Loss issue 26" in render([row], form)
    document = json.loads(render([row], "json", with_details=True))
    assert ("mc", 0.873) in {(one["arm"], one["top1"]) for one in document["published"]}
    assert "published" not in json.loads(render([row], "json"))


def test_every_number_is_whole_and_of_names_that_an_experiment_file_knows(tmp_path: Path) -> None:
    assert len(set(PUBLISHED)) == len(PUBLISHED)
    for one in PUBLISHED:
        assert 0 < one.top1 < 1
        assert one.scored
        assert one.source
    for dataset, backbone, weights in {(o.dataset, o.backbone, o.weights) for o in PUBLISHED}:
        file = tmp_path / "one.yaml"
        text = (
            "version: 1\nname: story\n"
            f"data: {{name: {dataset}}}\n"
            f"model: {{backbone: {backbone}, weights: {weights}}}\n"
            "arms: {ce: {loss: {name: ce}}}\n"
        )
        file.write_text(text)
        assert load(file).cells[0].spec.model.weights == weights


def test_what_is_stated_from_memory_or_not_at_all_is_not_there() -> None:
    ours = {(one.dataset, one.backbone, one.top1) for one in PUBLISHED}
    assert not ours & {("aircraft", "vgg16_mc", 0.892), ("flowers102", "vgg16_mc", 0.8323)}
    assert not {one.top1 for one in PUBLISHED} & {0.926, 0.937, 0.787, 0.864, 0.906, 0.877, 0.917}
