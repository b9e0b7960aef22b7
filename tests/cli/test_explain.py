"""`mcl-bench explain` by the real command, on machines with neither data nor weights."""

import json
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, mcl_bench

CUB = str(ROOT / "experiments/cub_resnet.yaml")
QUICK = str(ROOT / "experiments/quickstart.yaml")


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No images and no weights on this machine."""
    monkeypatch.setenv("MCL_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("COLUMNS", "120")


def document(home: Path, *arguments: str) -> dict[str, Any]:
    done = mcl_bench("explain", *arguments, "--json", home=home)
    assert len(done.stdout.splitlines()) == 1
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_it_tells_a_setting_in_every_dialect_without_data_or_weights(tmp_path: Path) -> None:
    told = document(tmp_path, CUB)
    native, adapter = told["cells"]
    assert native["cell"] == "cub200-resnet50-mc"
    assert (native["classes"], native["maps"], native["map_size"]) == (200, 2048, [14, 14])
    assert native["groups"] == [
        {"classes": 152, "xi": 10, "dropped": 4},
        {"classes": 48, "xi": 11, "dropped": 4},
    ]
    assert native["searched"] == ["mu", "lambda", "mask_ratio"]
    official = native["dialects"]["official"]
    assert official["numbers"] == {"alpha_1": 0.0005, "beta_1": 0.005}
    assert native["dialects"]["official-pretrained"]["numbers"] is None
    assert "10 and 11 channels" in native["dialects"]["official-pretrained"]["reason"]
    assert native["idle"] == {}

    numbers = {name: one["numbers"] for name, one in adapter["dialects"].items()}
    assert numbers["paper"] == {"mu": 0.0005, "lambda": pytest.approx(10 / 3)}
    assert numbers["kurumi"] == {"alpha": 0.0005, "lambda_": 10, "p": 0.4}
    assert numbers["holocron"] == {"weight": 0.0005, "alpha": pytest.approx(1960 / 3)}
    assert list(adapter["idle"]) == ["reduction"]
    (note,) = told["notes"]
    assert "does not exist; taken to have its 200 classes" in note


def test_it_reads_as_a_table(tmp_path: Path) -> None:
    arm = "arms.mc.loss={name: mc, dialect: official-pretrained}"
    told = mcl_bench("explain", CUB, arm, "--cell", "cub200-resnet50-mc", home=tmp_path).stdout
    for words in (
        "152 classes × 10, 48 classes × 11",
        "mask_ratio 0.4 drops 4 of 10 and 4 of 11",
        "official-pretrained (the file's)",
        "alpha 0.0005, lambda 10",
        "alpha 0.0005, lambda_ 10, p 0.4",
        "mu 0.0005, lambda 10, mask_ratio 0.4, reduction groups",
        "3.2 times as much",
        "none: no beta_1 makes",
    ):
        assert words in told
    assert "adapter" not in told
    table = told[: told.index("note: cub200")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120


def test_what_cannot_matter_is_told(tmp_path: Path) -> None:
    (cell, _) = document(tmp_path, QUICK, "arms.mc.loss.mu=0", "search.space.arms.mc=null")["cells"]
    assert set(cell["idle"]) > {"lambda", "mask_ratio", "reduction"}
    told = mcl_bench("explain", QUICK, "model.xi=1", "search.space.model.xi=null", home=tmp_path)
    assert "no effect: lambda, reduction, diversity: every class has one channel" in told.stdout
    assert "the mask drops no channel: 0 of 1" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((CUB, "--arm", "ce"), 2, "no cell asked for has an MC-Loss"),
        ((CUB, "--arm", "mcc"), 2, "no arm is named mcc"),
        ((CUB, "--cell", "x"), 2, "no cell is named x"),
        ((CUB, "model.backbone=resnet5"), 2, "resnet5"),
        ((CUB, "data.name=folder"), 3, "does not exist"),
    ],
)
def test_what_cannot_be_explained_is_said(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = mcl_bench("explain", *arguments, home=tmp_path, code=code)
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_it_warns_where_a_zero_mask_meets_maps_below_zero(tmp_path: Path) -> None:
    network = ("model.backbone=convnext_tiny", "model.weights=none", "model.channels=native")
    changed = (*network, "search.space.model.xi=null", "data.crop=64")
    (cell, _) = document(tmp_path, QUICK, *changed)["cells"]
    assert cell["signed"] is True
    (warning,) = cell["warnings"]
    assert warning.startswith("the maps can be below zero")
