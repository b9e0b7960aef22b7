"""A sweep's costs in words, and what a closed search makes of a cell and its row."""

import json
from pathlib import Path
from typing import Any

import pytest
from results_stories import CE, MC, confirms, record, write_sweep

from mcl_bench.records import Costs, DataError
from mcl_bench.results import leaderboard, render, render_status, status
from mcl_bench.results.costs import costs_rows, costs_words, read_costs

OWNERS = ("training", "startup", "data_wait", "evaluation", "failure", "preemption", "pruned")


def costs(**changes: Any) -> Costs:
    """Two slots for an hour: one trained for half of it, the other had no trial."""
    slot = dict.fromkeys((*OWNERS, "duplicate", "idle", "open"), 0.0)
    device = {**slot, "training": 450.0, "pruned": 450.0}
    slot |= {"training": 1800.0, "pruned": 1800.0, "idle": 3600.0}
    plain: dict[str, Any] = {
        "slot_seconds": slot,
        "device_seconds": device,
        "driven_seconds": 7200.0,
        "wall_seconds": 3600.0,
    }
    return Costs(**plain | changes)


def test_the_sentence_tells_device_hours_by_owner_and_the_idle_share_of_the_slots() -> None:
    assert costs_words(costs()) == (
        "0.25 device-hours (training 50%, pruned 50%); slots idle 50% of 1 h"
    )
    saved = costs_words(costs(duplicates=3, saved_seconds=5400.0))
    assert saved.endswith("; 3 duplicates saved 1.5 device-hours")


def test_the_table_has_a_row_for_each_owner_that_has_anything() -> None:
    assert costs_rows(costs()) == [
        ("training", "0.5", "25.0%", "0.125"),
        ("pruned", "0.5", "25.0%", "0.125"),
        ("idle", "1", "50.0%", "0"),
    ]


def test_costs_are_read_as_they_were_written_and_damage_is_told(tmp_path: Path) -> None:
    assert read_costs(tmp_path) is None
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(costs(closed=True).to_dict()))
    assert read_costs(tmp_path) == costs(closed=True)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"costs\.json is damaged"):
        read_costs(tmp_path)


def test_a_cell_that_a_budget_has_cut_short_is_complete_and_its_row_tells_the_trials(
    tmp_path: Path,
) -> None:
    home = tmp_path / "runs"
    records = [record(CE, value=0.5), *confirms(CE, [0.5, 0.6, 0.7]), record(MC, value=0.4)]
    write_sweep(home, records)
    states = {row.cell: row.state for row in leaderboard(home)}
    assert states == {CE: "search", MC: "search"}
    (home / "sweeps/story/costs.json").write_text(json.dumps(costs(closed=True).to_dict()))
    rows = leaderboard(home)
    assert {row.cell: row.state for row in rows} == {CE: "complete", MC: "confirm"}
    assert leaderboard(home) == rows, "those kept beside the record"
    assert rows[0].aside.costs == costs(closed=True) == leaderboard(home)[0].aside.costs
    text = render(rows, "table", width=120)
    assert "budget: 1 of 2 trials" in text
    assert "Costs: 0.25 device-hours" in text
    assert "Costs of story: 0.25 device-hours" in render(rows, "markdown")
    assert json.loads(render(rows, "json"))["costs"]["story"]["closed"] is True
    (sweep,) = status(home)
    assert [cell.state for cell in sweep.cells] == ["complete", "confirm"]
    shown = render_status([sweep], width=120)
    assert "slot-hours" in shown
    assert "pruned" in shown
