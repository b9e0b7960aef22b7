"""The verb that lists backbones."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from mcl_bench.cli import app
from mcl_bench.records import UserError


def rows(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["models", "--json", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return {row["name"]: row for row in json.loads(done.stdout)["models"]}


def test_all_backbones_are_listed_with_the_xi_that_they_give() -> None:
    found = rows()
    assert len(found) > 80
    assert found["resnet50"]["xi"] == "10-11"
    assert found["convnet"]["xi"] is None
    assert rows("--classes", "10")["convnet"]["xi"] == "4-5"
    assert found["resnet50"]["weights"] == ["imagenet", "imagenet_v2"]
    assert found["efficientnet_lite0"]["weights"] == ["imagenet"]
    assert found["resnet18_mc"]["weights"] == found["vit_h_14"]["weights"] == []
    assert found["resnet50"]["parameters"] is None
    assert found["resnet18"]["bilinear"] == 512**2
    assert found["resnet50"]["bilinear"] is None


def test_a_filter_measures_what_it_matches() -> None:
    found = rows("resnet18", "--crop", "64")
    assert set(found) == {"resnet18", "resnet18_mc"}
    row = found["resnet18"]
    assert (row["map_size"], row["parameters"], row["stages"]) == ([2, 2], 11176512, 5)
    assert set(rows("vgg1?_bn*")) == {"vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"}


def test_a_crop_that_does_not_suit_is_told_beside_the_rest() -> None:
    (row,) = rows("vit_b_32", "--crop", "100").values()
    assert row["map_size"] is None
    assert row["fault"] == "an image's side must be a multiple of 32"
    assert row["stages"] == 13


def test_a_name_of_timms_is_measured() -> None:
    pytest.importorskip("timm")
    (row,) = rows("timm/test_resnet").values()
    assert (row["maps"], row["map_size"]) == (96, [7, 7])


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="the nearest is 'resnet18'"):
        rows("resnet81")


def test_the_table_fits_80_columns() -> None:
    for arguments in ([], ["resnext"]):
        done = CliRunner().invoke(app, ["models", *arguments])
        assert done.exit_code == 0
        assert "…" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
