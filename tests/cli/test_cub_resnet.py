"""The sweep that this project is known by: on a drawn tree in CUB's layout, and without data."""

import json
from pathlib import Path

import pytest
from cub_tree import draw_cub
from running import ROOT, mcl_bench

FILE = str(ROOT / "experiments/cub_resnet.yaml")
SMALL = (
    "data.resize=72",
    "data.crop=64",
    "data.validation=0.2",
    "model.weights=none",
    "train.epochs=1",
    "train.schedule.warmup_epochs=0",
    "train.batch_size=16",
    "search.trials=1",
    "confirm.seeds=1",
)
CELLS = [
    f"cub200-{model}-{arm}" for model in ("resnet50", "resnet50_adapter") for arm in ("ce", "mc")
]
CONVNET = """\
version: 1
name: birds
data: {name: cub200, root: ROOT, resize: 48, crop: 48, validation: 0.2, balance: sampling}
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms: {ce: {loss: {name: ce}}}
train: {epochs: 10, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Twelve classes of five training and four test images."""
    root = tmp_path / "CUB_200_2011"
    assert len(draw_cub(root)) == 108
    return root


@pytest.mark.timeout(600)
def test_overrides_alone_run_it_on_a_small_tree(tmp_path: Path, tree: Path) -> None:
    home = tmp_path / "runs"
    done = mcl_bench("sweep", FILE, f"data.root={tree}", *SMALL, home=home, timeout=580, ray=False)
    board = done.stdout.splitlines()
    assert "sweep cub_resnet: top-1 on test" in board
    assert max(map(len, board)) <= 80
    told = json.loads(mcl_bench("leaderboard", "cub_resnet", "--format", "json", home=home).stdout)
    rows = {row["cell"]: row for row in told["rows"]}
    assert sorted(rows) == CELLS
    for cell, row in rows.items():
        adapted = "adapter" in cell
        assert (row["dataset"], row["weights"], row["n"]) == ("cub200", "none", 1)
        assert row["xi"] in ({str(xi) for xi in range(2, 11)} if adapted else {"170-171"})
        assert row["maps"] == (12 * int(row["xi"]) if adapted else 2048)


def test_a_small_net_learns_the_drawn_birds(tmp_path: Path, tree: Path) -> None:
    file = tmp_path / "birds.yaml"
    file.write_text(CONVNET.replace("ROOT", f'"{tree}"'))
    done = mcl_bench("train", str(file), "--confirm", "--json", home=tmp_path / "runs")
    last = json.loads(done.stdout)["epochs"][-1]
    assert last["metrics"]["test/top1"] > 0.4


@pytest.mark.parametrize("verb", ["plan", "sweep"])
def test_without_the_data_it_says_what_to_get_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("MCL_DATA", str(tmp_path / "sets"))
    done = mcl_bench(verb, FILE, home=tmp_path / "runs", code=3)
    told = " ".join(done.stderr.split())
    assert f"{FILE}:" in told
    for words in (
        "CUB_200_2011.tgz",
        "97eceeb196236b17998738112f37df78",
        "https://data.caltech.edu/records/65de6-vp158",
        str(tmp_path / "sets/CUB_200_2011/images.txt"),
        "MCL_DATA",
    ):
        assert words in told
    assert "Traceback" not in told
    assert not list((tmp_path / "runs").rglob("records.jsonl"))


def test_a_broken_list_is_told_with_file_and_line_and_exit_3(tmp_path: Path, tree: Path) -> None:
    labels = tree / "image_class_labels.txt"
    labels.write_text(labels.read_text().replace("\n4 1\n", "\n4 0\n"))
    done = mcl_bench("plan", FILE, f"data.root={tree}", *SMALL, home=tmp_path / "runs", code=3)
    assert f"{labels}:4: {tree}/images/001.Black_footed_Albatross/" in done.stderr
    assert "has class 0, which is not in classes.txt" in done.stderr
    assert "labels count from 1" in done.stderr
