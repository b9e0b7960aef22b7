"""What `plan` predicts from the history of its home, and that it invents nothing without one."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from driven import drive
from running import mcl_bench

from mcl_bench.results import read_records
from mcl_bench.spec import load

CE, MC = "parts-convnet-ce", "parts-convnet-mc"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    """A home in which a sweep of these cells has been run to its end."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    drive(load(folder / "tiny.yaml", ["search.trials=3"]), folder / "runs")
    return folder / "runs"


def planned(home: Path, *overrides: str) -> dict[str, Any]:
    file = str(home.parent / "tiny.yaml")
    told: dict[str, Any] = json.loads(
        mcl_bench("plan", file, *overrides, "--json", home=home).stdout
    )
    return told


def test_a_new_sweep_of_known_cells_is_predicted_from_what_their_trials_took(home: Path) -> None:
    told = planned(home, "name=other", "search.trials=10", "search.pruner=none")
    records = [record for record in read_records(home / "sweeps/tiny") if record.epochs]
    assert told["predicted"]["no_history"] == []
    # Each drawn epoch took one second of the device: 10 trials and 2 seeds of 3 epochs, 2 cells.
    assert told["predicted"]["device_hours"] == pytest.approx([72 / 3600] * 3)
    slots = told["predicted"]["slots"]
    assert told["predicted"]["hours"] == pytest.approx([72 / 3600 / slots] * 3)
    history = told["cells"][0]["history"]
    assert history["trials"] == len(records), "arms don't differ in what they take"
    search = [record for record in records if record.stage == "search"]
    assert history["pruned_share"] == sum(r.state == "pruned" for r in search) / len(search)
    assert history["run_share"] == statistics.fmean(len(r.epochs) / 3 for r in search)


def test_a_pruner_saves_what_it_saved_before(home: Path) -> None:
    told = planned(home, "name=other", "search.trials=10")
    share = told["cells"][0]["history"]["run_share"]
    assert 0 < share < 1
    seconds = 2 * 3 * (10 * share + 2)
    assert told["predicted"]["device_hours"][1] == pytest.approx(seconds / 3600)


def test_only_what_is_left_of_a_sweep_is_predicted(home: Path) -> None:
    told = planned(home, "search.trials=3")
    assert [cell["left"] for cell in told["cells"]] == [{"search": 0, "confirm": 0}] * 2
    assert told["predicted"]["device_hours"] == [0, 0, 0]
    assert "note" not in told["warnings"]


@pytest.mark.parametrize("change", ["train.epochs=4", "data.options.size=48"])
def test_without_a_history_of_its_kind_no_time_is_told(home: Path, change: str) -> None:
    told = planned(home, "name=other", change)
    assert told["predicted"]["device_hours"] is None
    assert told["predicted"]["no_history"] == [CE, MC]
    assert [cell["device_seconds"] for cell in told["cells"]] == [None, None]
    file = str(home.parent / "tiny.yaml")
    said = mcl_bench("plan", file, "name=other", change, home=home).stdout
    assert "time: no history of these data and networks on cpu" in said


def test_people_are_told_the_time_its_spread_and_where_it_comes_from(home: Path) -> None:
    file = str(home.parent / "tiny.yaml")
    wanted = ("name=other", "search.trials=10", "search.pruner=none")
    said = mcl_bench("plan", file, *wanted, "resources.max_concurrent=1", home=home).stdout
    assert "time: 1.2 min of cpu time (1.2 min to 1.2 min), 1.2 min with 1 trials at once" in said
    assert "of checkpoints at once" in said


def test_a_cell_that_searches_nothing_trains_its_one_setting_once(home: Path) -> None:
    spaces = ("model.xi", "train.optimizer.lr")
    told = planned(home, "name=other", *(f"search.space.{key}=null" for key in spaces))
    ce, mc = told["cells"]
    assert (ce["searched"], ce["duplicates"], mc["duplicates"]) == ([], 3, 0)


def test_checkpoints_are_counted_for_the_trials_that_run_at_once(home: Path) -> None:
    one = planned(home, "name=other", "resources.max_concurrent=1")["disk"]["checkpoints"]
    parameters = {record.parameters for record in read_records(home / "sweeps/tiny")}
    assert one > 0
    assert min(parameters) * 12 <= one <= max(parameters) * 12 * 1.5, "AdamW keeps two numbers more"


def test_a_damaged_history_of_another_sweep_is_noted_and_stops_nothing(home: Path) -> None:
    other = home / "sweeps/broken"
    other.mkdir()
    try:
        (other / "experiment.yaml").write_text("version: 1\n")
        (other / "records.jsonl").write_text("{broken\n")
        told = planned(home, "name=other", "search.pruner=none")
    finally:
        for path in other.iterdir():
            path.unlink()
        other.rmdir()
    assert any("the history of sweep broken can't be read" in note for note in told["warnings"])
    assert told["predicted"]["device_hours"] is not None
