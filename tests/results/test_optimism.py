import dataclasses
from pathlib import Path

import pytest
from claim_stories import CE_EPOCHS, MC_EPOCHS, scored, scored_sweep
from results_stories import CE, EXPERIMENT, MC, confirms, record, write_sweep

from mcl_bench.results import Row, leaderboard, render
from mcl_bench.results.optimism import optimism


def rows_by_arm(home: Path) -> dict[str, Row]:
    return {row.arm: row for row in leaderboard(home)}


def test_the_optimism_of_a_row_is_that_of_its_runs_best_test_epochs(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs")
    found = rows_by_arm(tmp_path / "runs")["mc"].aside.optimism
    assert found is not None
    last = sum(values[-1] for values in MC_EPOCHS) / 3
    best = sum(max(values) for values in MC_EPOCHS) / 3
    assert (found.n, found.maximum) == (3, 0.95)
    assert found.last_mean == pytest.approx(last)
    assert found.best_mean == pytest.approx(best)
    assert found.gap == pytest.approx(best - last)
    assert found.maximum_gap == pytest.approx(0.95 - last)


def test_a_seed_tells_its_best_epoch_and_the_earlier_of_two(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs")
    scores = rows_by_arm(tmp_path / "runs")["ce"].aside.scores
    assert [score.best_epoch for score in scores] == [2, 3, 2]
    assert [score.top1 for score in scores] == [values[-1] for values in CE_EPOCHS]


def test_without_scores_of_each_epoch_there_is_no_optimism(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs", [record(CE), *confirms(CE, [0.5, 0.6, 0.7])])
    assert rows_by_arm(tmp_path / "runs")["ce"].aside.optimism is None
    assert optimism(()) is None
    text = render(leaderboard(tmp_path / "runs"), "table", with_details=True)
    assert "not scored" in text
    assert "best epoch on test these rows" not in text


def test_a_duplicate_has_the_epochs_of_the_trial_that_was_trained(tmp_path: Path) -> None:
    trained = scored(CE, CE_EPOCHS)
    copies = [
        dataclasses.replace(entry, state="duplicate", duplicate_of=f"{CE}/confirm-{entry.trial}")
        for entry in confirms(MC, [values[-1] for values in CE_EPOCHS])
    ]
    write_sweep(tmp_path / "runs", [record(CE), record(MC), *trained, *copies])
    rows = rows_by_arm(tmp_path / "runs")
    assert rows["mc"].aside.optimism == rows["ce"].aside.optimism is not None
    assert rows["mc"].aside.scores[0].answers == f"{CE}/confirm-0"


def test_the_table_tells_the_gaps_of_its_rows_and_the_details_each_one(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs")
    rows = leaderboard(tmp_path / "runs")
    flat = " ".join(render(rows, "table").split())
    assert (
        "Told by each run's best epoch on test these rows would claim 3.3 to 5.0 points more; "
        "by the best run's best epoch, 5.0 to 11.7." in flat
    )
    details = render(rows, "table", with_details=True)
    assert "88.3 (+5.0)" in details
    assert max(map(len, details.splitlines())) <= 80
    assert "Expected best val/top1" in details
    assert "1: 0.450, 2: 0.500" in details


def test_arms_are_ranked_over_the_data_and_models_of_a_sweep(tmp_path: Path) -> None:
    text = EXPERIMENT + "matrix: {data: [{name: parts}, {name: parts, label: more}]}\n"
    other = {CE: "more-convnet-ce", MC: "more-convnet-mc"}
    records = [
        entry
        for first, second in other.items()
        for cell in (first, second)
        for entry in [record(cell), *confirms(cell, [0.5 if cell.endswith("ce") else 0.6] * 3)]
    ]
    write_sweep(tmp_path / "runs", records, text=text)
    rows = leaderboard(tmp_path / "runs")
    line = "Mean rank over 2 data × models (1 is best): mc 1.00, ce 2.00."
    assert line in " ".join(render(rows, "table", with_details=True).split())
    assert line in " ".join(render(rows, "markdown", with_details=True).split())
    assert line not in " ".join(render(rows, "table").split())
