"""The quickstart as a newcomer runs it, and what README promises of it."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import elpv_dataset
import optuna
import pyarrow.parquet as pq
import pytest
import requests
from browser import chromium, opened
from mlflow_server import running_model
from running import ROOT, mcl_bench, read_lines

pytestmark = pytest.mark.timeout(900)

CELLS = [f"{data}-convnet-{arm}" for data in ("parts", "elpv") for arm in ("ce", "mc")]
TRIALS, SEEDS = 6, 2
GRADES = ["0", "1/3", "2/3", "1"]
MAJORITY = 1508 / 2624
"""The share of ELPV's commonest grade."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if done := os.environ.get("MCL_BENCH_QUICKSTART"):  # where `make quickstart` has just run
        return Path(done)
    home = tmp_path_factory.mktemp("quickstart")
    mcl_bench("sweep", str(ROOT / "experiments/quickstart.yaml"), home=home, timeout=800)
    return home


@pytest.fixture(scope="module")
def rows(home: Path) -> list[dict[str, Any]]:
    told = mcl_bench("leaderboard", "quickstart", "--format", "json", home=home).stdout
    rows: list[dict[str, Any]] = json.loads(told)["rows"]
    return rows


@pytest.fixture(scope="module")
def table(home: Path) -> list[dict[str, Any]]:
    path = home / "sweeps/quickstart/results.parquet"
    table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return table


def test_every_cell_has_a_row_with_two_seeds_and_its_searched_settings(
    rows: list[dict[str, Any]],
) -> None:
    assert sorted(row["cell"] for row in rows) == sorted(CELLS)
    for row in rows:
        assert row["n"] == SEEDS
        config = row["config"]
        assert 2 <= config["model"]["xi"] <= 6
        searched = {"mu", "lambda", "mask_ratio"} & set(config["loss"])
        assert searched == ({"mu", "lambda", "mask_ratio"} if row["arm"] == "mc" else set())


def test_parts_is_learnt_and_elpv_beats_the_majority_class(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        floor = 0.5 if row["dataset"] == "parts" else MAJORITY
        assert row["test_top1_mean"] > floor, row["cell"]


def test_the_same_net_learns_nothing_where_the_parts_are_left_out(tmp_path: Path) -> None:
    told = mcl_bench(
        "train",
        str(ROOT / "experiments/quickstart.yaml"),
        "matrix.data.parts.options={parts: false}",
        "--cell=parts-convnet-ce",
        "--confirm",
        "--json",
        home=tmp_path / "runs",
    )
    assert json.loads(told.stdout)["epochs"][-1]["metrics"]["test/top1"] < 0.15


def test_mlflow_optuna_and_the_table_hold_the_trials_that_the_file_asks_for(
    home: Path, table: list[dict[str, Any]]
) -> None:
    from mlflow import MlflowClient

    assert len(table) == len(CELLS) * (TRIALS + SEEDS)
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    kinds: dict[str, set[str]] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        kinds.setdefault(run.data.tags["mcl.kind"], set()).add(run.info.run_id)
    assert (len(kinds["sweep"]), len(kinds["cell"])) == (1, len(CELLS))
    assert kinds["trial"] == {row["run_id"] for row in table}
    url = f"sqlite:///{home / 'sweeps/quickstart/study.db'}"
    counted = {
        name.split("/", 1)[1]: len(optuna.load_study(study_name=name, storage=url).trials)
        for name in optuna.get_all_study_names(url)
    }
    assert counted == {
        f"{cell}/{stage}": count
        for cell in CELLS
        for stage, count in (("search", TRIALS), ("confirm", SEEDS))
    }


def test_trials_are_built_in_no_more_processes_than_slots(home: Path) -> None:
    events = read_lines(home / "sweeps/quickstart/events.jsonl")
    pids = {event["pid"] for event in events if event["event"] == "report"}
    assert 1 <= len(pids) <= (os.cpu_count() or 1)


def test_its_page_opens_says_who_wins_and_sorts_and_filters(
    home: Path, rows: list[dict[str, Any]]
) -> None:
    page = home / "sweeps/quickstart/report.html"
    top1 = {row["cell"]: row["test_top1_mean"] for row in rows}
    with chromium() as browser:
        for width in (1280, 390):
            with opened(browser, page, width=width) as found:
                assert found.draw_all() > 0
                assert found.width <= width
                cards = found.page.locator(".card").all_inner_texts()
                assert [card.split()[0].lower() for card in cards] == ["parts", "elpv"]
                for card in cards:
                    assert any(word in card.lower() for word in ("wins", "undecided")), card
                found.page.locator("#rows button[data-key=top1]").click()
                shown = [top1[cell] for cell in found.cells]
                assert shown == sorted(top1.values(), reverse=True)
                found.page.locator("#filter").fill("elpv mc")
                assert found.cells == ["elpv-convnet-mc"]
                assert found.complaints == []
                assert found.requests == []


def test_the_registered_model_of_elpv_is_served_and_answers_for_a_photograph(
    home: Path, table: list[dict[str, Any]], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    best = client.get_model_version_by_alias("mcl_bench-elpv", "best")
    (row,) = (row for row in table if row["run_id"] == best.run_id)
    trial = home / "sweeps/quickstart/trials" / row["cell"] / f"{row['stage']}-{row['trial']}"
    judged = pq.read_table(trial / "predictions.parquet").to_pylist()[0]
    photograph = Path(elpv_dataset.__file__).parent / "data" / judged["image_id"]
    with running_model("models:/mcl_bench-elpv@best", uri, tmp_path / "server") as address:
        answer = ask(address, photograph.read_bytes())
        refused = ask(address, b"no image")
    (said,) = answer.json()["predictions"]
    assert GRADES.index(said["label"]) == judged["predicted"]
    assert said["probability"] == pytest.approx(judged["probability"], rel=1e-3)
    assert sum(said["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert refused.status_code == 400
    assert "image 0 can't be read" in refused.text


def ask(address: str, image: bytes) -> requests.Response:
    """What the model that is served there says of an image file."""
    table = {"columns": ["image"], "data": [[base64.b64encode(image).decode()]]}
    return requests.post(f"{address}/invocations", json={"dataframe_split": table}, timeout=60)
