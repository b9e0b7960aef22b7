import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest
from results_stories import CE, EXPERIMENT, MC, SEEDS, confirms, look_of, record, write_sweep
from scipy import stats as oracle

from mcl_bench import files
from mcl_bench.cli.record import Format
from mcl_bench.cli.record import leaderboard as print_leaderboard
from mcl_bench.records import DataError, UserError
from mcl_bench.results import Row, leaderboard, render, warnings

KEYS = [
    "sweep",
    "cell",
    "dataset",
    "backbone",
    "weights",
    "arm",
    "xi",
    "maps",
    "parameters",
    "n",
    "test_top1_mean",
    "test_top1_sd",
    "test_top1_ci_low",
    "test_top1_ci_high",
    "test_macro_top1_mean",
    "tier",
    "difference",
    "difference_ci_low",
    "difference_ci_high",
    "p_adjusted",
    "test_looks",
    "trials",
    "device_hours",
    "equal_budget",
    "state",
    "config",
]

CE_VALUES, MC_VALUES = [0.80, 0.82, 0.81], [0.90, 0.93, 0.90]


def looks(cell: str, count: int) -> list[dict[str, object]]:
    return [{"cell": cell, "key": f"k{k}", "seed": k, "of": 0, "time": 1.0} for k in range(count)]


def story(home: Path, *, text: str = EXPERIMENT, ce: list[float], mc: list[float]) -> None:
    """Both cells searched twice, the first trial best; then confirmed with these values."""
    records = [
        *(record(cell, trial=k, value=0.5 - k / 10) for cell in (CE, MC) for k in range(2)),
        *confirms(CE, ce),
        *confirms(MC, mc, xi="4"),
    ]
    own = [look_of(entry) for entry in records if entry.stage == "confirm"]
    write_sweep(home, records, text=text, looks=[*own, *looks(MC, 2), *looks(MC, 1)])


def rows_by_arm(home: Path) -> dict[str, Row]:
    return {row.arm: row for row in leaderboard(home)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    story(tmp_path / "runs", ce=CE_VALUES, mc=MC_VALUES)
    return tmp_path / "runs"


def test_a_row_has_exactly_its_columns_in_order(home: Path) -> None:
    for row in leaderboard(home):
        assert list(row.to_dict()) == KEYS


def test_a_row_holds_the_interval_over_seeds_and_the_paired_difference(home: Path) -> None:
    rows = rows_by_arm(home)
    mc, ce = rows["mc"], rows["ce"]
    mean = sum(MC_VALUES) / 3
    low, high = oracle.t.interval(0.95, 2, loc=mean, scale=oracle.sem(MC_VALUES))
    assert mc.n == 3
    assert mc.test_top1_mean == pytest.approx(mean)
    assert (mc.test_top1_ci_low, mc.test_top1_ci_high) == pytest.approx((low, min(high, 1)))
    assert mc.test_macro_top1_mean == pytest.approx(mean)
    test = oracle.ttest_rel(MC_VALUES, CE_VALUES)
    assert mc.difference == pytest.approx(mean - 0.81)
    assert mc.p_adjusted == pytest.approx(test.pvalue, rel=1e-8)
    interval = test.confidence_interval()
    assert (mc.difference_ci_low, mc.difference_ci_high) == pytest.approx(tuple(interval))
    assert (ce.difference, ce.difference_ci_low, ce.p_adjusted) == (None, None, None)
    assert (mc.tier, ce.tier) == (1, 2)


def test_the_highest_mean_of_a_group_stands_first(home: Path) -> None:
    assert [row.arm for row in leaderboard(home)] == ["mc", "ce"]


def test_a_row_counts_trials_looks_and_device_hours(home: Path) -> None:
    rows = rows_by_arm(home)
    assert rows["mc"].trials == 2
    assert rows["mc"].test_looks == 5
    assert rows["ce"].test_looks == 3
    assert rows["mc"].device_hours == pytest.approx(5 * 90 / 3600)


def test_the_config_is_that_of_the_best_trial_nested_and_without_the_confirm_part(
    home: Path,
) -> None:
    config = rows_by_arm(home)["mc"].config
    assert config == {
        "data": {"name": "parts", "resize": {"short": 32}},
        "model": {"xi": 3},
        "loss": {"name": "mc", "mu": 0.5, "lambda": 5.0},
        "train": {"epochs": 2},
    }


def test_only_confirm_trials_of_the_best_search_trial_count(tmp_path: Path) -> None:
    records = [
        record(CE, value=0.5),
        record(CE, trial=1, value=0.6, xi="2", config={**record(CE).config, "model.xi": 2}),
        *confirms(CE, [0.99, 0.99, 0.99]),
        *confirms(CE, [0.7, 0.8], of=1, first=3),
        record(CE, "confirm", 5, of=1, state="failed", value=None, seed=SEEDS[2]),
    ]
    write_sweep(tmp_path / "runs", records)
    row = rows_by_arm(tmp_path / "runs")["ce"]
    assert (row.n, row.xi) == (2, "2")
    assert row.test_top1_mean == pytest.approx(0.75)
    assert row.config is not None and row.config["model"] == {"xi": 2}
    assert row.state == "failed"


def test_a_duplicate_confirm_trial_counts_in_n(tmp_path: Path) -> None:
    records = [
        *(record(CE, trial=k) for k in range(2)),
        *confirms(CE, [0.7, 0.8, 0.9], state="duplicate", device_seconds=0.0),
    ]
    write_sweep(tmp_path / "runs", records)
    row = rows_by_arm(tmp_path / "runs")["ce"]
    assert (row.n, row.state) == (3, "complete")


def test_with_two_seeds_there_is_a_difference_and_neither_tier_nor_p(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("seeds: 3", "seeds: 2")
    story(tmp_path / "runs", text=text, ce=CE_VALUES[:2], mc=MC_VALUES[:2])
    mc = rows_by_arm(tmp_path / "runs")["mc"]
    assert mc.n == 2
    assert mc.difference == pytest.approx(0.105)
    assert mc.difference_ci_low is not None
    assert mc.test_top1_ci_low is not None
    assert (mc.tier, mc.p_adjusted) == (None, None)
    assert mc.state == "complete"
    assert "too few to compare" in render([mc], "table")


def test_with_one_seed_there_is_no_interval(tmp_path: Path) -> None:
    story(tmp_path / "runs", ce=[0.8], mc=[0.9])
    mc = rows_by_arm(tmp_path / "runs")["mc"]
    assert (mc.n, mc.state) == (1, "confirm")
    assert mc.difference == pytest.approx(0.1)
    assert mc.test_top1_sd is None
    assert mc.test_top1_ci_low is None
    assert mc.difference_ci_low is None


def test_equal_differences_have_no_p_and_say_so(tmp_path: Path) -> None:
    story(tmp_path / "runs", ce=[0.8, 0.8, 0.8], mc=[0.9, 0.9, 0.9])
    mc = rows_by_arm(tmp_path / "runs")["mc"]
    assert mc.p_adjusted is None
    assert "no variation" in render([mc], "table")


def test_p_is_holms_over_all_comparisons_of_the_sweep(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("  mc: {loss", "  mc2: {loss: {name: mc}}\n  mc: {loss")
    records = [
        *confirms(CE, CE_VALUES),
        *confirms(MC, MC_VALUES),
        *confirms(f"{MC}2", [0.79, 0.84, 0.83]),
        *(record(cell, trial=k) for cell in (CE, MC, f"{MC}2") for k in range(2)),
    ]
    write_sweep(tmp_path / "runs", records, text=text)
    rows = rows_by_arm(tmp_path / "runs")
    raw = oracle.ttest_rel(MC_VALUES, CE_VALUES).pvalue
    other = oracle.ttest_rel([0.79, 0.84, 0.83], CE_VALUES).pvalue
    assert raw < other
    assert rows["mc"].p_adjusted == pytest.approx(2 * raw)
    assert rows["mc2"].p_adjusted == pytest.approx(other)


def test_a_cell_without_trials_appears_with_n_0_in_search(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs", [])
    for row in leaderboard(tmp_path / "runs"):
        assert (row.n, row.state, row.trials, row.device_hours) == (0, "search", 0, 0.0)
        assert (row.config, row.xi, row.test_top1_mean, row.difference) == (None, None, None, None)
        assert row.dataset == "parts"
    assert "–" in render(leaderboard(tmp_path / "runs"), "table")


def test_a_cell_whose_search_ends_without_a_complete_trial_has_failed(tmp_path: Path) -> None:
    records = [record(trial=k, state="diverged", value=None) for k in range(2)]
    write_sweep(tmp_path / "runs", records)
    row = rows_by_arm(tmp_path / "runs")["ce"]
    assert (row.state, row.trials) == ("failed", 2)


def test_a_trial_that_was_tried_again_counts_once(tmp_path: Path) -> None:
    records = [record(state="retried", value=None), record(trial=1), record(trial=2)]
    write_sweep(tmp_path / "runs", records)
    assert rows_by_arm(tmp_path / "runs")["ce"].trials == 2


def test_an_arm_that_searches_less_than_another_is_marked(tmp_path: Path) -> None:
    fixed = "  ce: {loss: {name: ce}, train: {optimizer: {lr: 0.01}}}"
    text = EXPERIMENT.replace("  ce: {loss: {name: ce}}", fixed)
    story(tmp_path / "runs", text=text, ce=CE_VALUES, mc=MC_VALUES)
    rows = rows_by_arm(tmp_path / "runs")
    assert (rows["ce"].equal_budget, rows["mc"].equal_budget) == (False, True)
    assert "unequal budget" in render([rows["ce"]], "table")
    assert "unequal budget" not in render([rows["mc"]], "table")


def test_the_record_is_read_from_the_table_where_only_that_is_left(home: Path) -> None:
    from mcl_bench.results import read_records, write_table

    before = render(leaderboard(home), "json")
    folder = home / "sweeps" / "story"
    write_table(read_records(folder), folder / "results.parquet")
    (folder / "records.jsonl").unlink()
    assert render(leaderboard(home), "json") == before


def test_an_unknown_sweep_is_refused_with_the_nearest_name(home: Path) -> None:
    with pytest.raises(UserError, match="no sweep storry") as caught:
        leaderboard(home, ["storry"])
    assert "did you mean story?" in str(caught.value)


def test_damaged_looks_are_named(home: Path) -> None:
    (home / "sweeps/story/looks.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match=r"line 1 of .*looks\.jsonl is damaged"):
        leaderboard(home)


def test_the_table_fits_80_columns_and_tells_what_its_numbers_are(home: Path) -> None:
    text = render(leaderboard(home), "table")
    assert max(map(len, text.splitlines())) <= 80
    assert "91.0 ± 4.3" in text
    assert f"+10.0 [{100 * (rows_by_arm(home)['mc'].difference_ci_low or 0):+.1f}, " in text
    assert "points against ce" in text
    flat = " ".join(text.split())
    assert "95 % t interval over training seeds, of confirm trials only" in flat
    assert (
        "Exact sign-flip p (its floor), which decides nothing: parts-convnet-mc 0.25 (0.25)" in flat
    )


def test_cells_with_long_names_still_fit_80_columns(tmp_path: Path) -> None:
    text = EXPERIMENT + (
        "matrix:\n  data: [{name: parts, label: a_rather_long_label_of_some_photographs}]\n"
    )
    write_sweep(tmp_path / "runs", [], text=text)
    lines = render(leaderboard(tmp_path / "runs"), "table").splitlines()
    assert max(map(len, lines)) <= 80


def test_a_row_of_another_width_than_the_baselines_is_marked(tmp_path: Path) -> None:
    records = [record(CE, xi="3"), record(MC, xi="4"), *confirms(CE, [0.5]), *confirms(MC, [0.6])]
    write_sweep(tmp_path / "runs", records)
    text = render(leaderboard(tmp_path / "runs"), "table")
    assert "4≠" in text
    assert "3≠" not in text
    assert "two tuned systems" in " ".join(text.split())


def test_json_is_the_rows_and_never_nan(tmp_path: Path) -> None:
    records = [
        *(record(CE, trial=k) for k in range(2)),
        *confirms(CE, [0.5, 0.6], test_macro_top1=math.nan),
    ]
    write_sweep(tmp_path / "runs", records)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = render(leaderboard(tmp_path / "runs"), "json")
    document = json.loads(text, parse_constant=refuse)
    assert list(document) == ["rows"]
    assert [list(row) for row in document["rows"]] == [KEYS, KEYS]
    assert document["rows"][0]["test_macro_top1_mean"] is None


def test_a_ledger_that_was_tampered_with_marks_the_leaderboard(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "sweeps/story/looks.jsonl"
    lines = path.read_text().splitlines()
    assert warnings(leaderboard(home)) == []
    sealed = files.seal(lines)
    (path.parent / "sweep.json").write_text(json.dumps({"looks": dataclasses.asdict(sealed)}))
    assert warnings(leaderboard(home)) == []
    path.write_text("".join(f"{line}\n" for line in lines[1:]))
    rows = leaderboard(home)
    gone, missing = warnings(rows)
    assert gone.startswith("sweep story: the ledger of looks at test has been tampered with: line")
    assert gone.endswith("was written and is gone")
    assert missing.endswith(f"{path} has no look of {CE}/confirm-0, seed {SEEDS[0]}")
    document = json.loads(render(rows, "json"))
    assert document["warnings"] == [gone, missing]
    assert [list(row) for row in document["rows"]] == [KEYS, KEYS]
    assert f"Warning: {gone}" in render(rows, "table", width=400)
    escaped = missing.replace("_", "\\_")
    assert f"- **Warning: {escaped}**" in render(rows, "markdown")
    monkeypatch.setenv("MCL_HOME", str(home))
    print_leaderboard(output=Format.CSV)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"Warning: {gone}", f"Warning: {missing}"]
    assert printed.out.startswith("sweep,cell,")


def test_a_damaged_seal_is_told_with_its_file(home: Path) -> None:
    (home / "sweeps/story/sweep.json").write_text("[]\n")
    with pytest.raises(DataError, match=r"sweep.json is damaged"):
        leaderboard(home)


def test_csv_has_a_line_of_names_and_config_as_json(home: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(render(leaderboard(home), "csv"))))
    assert list(lines[0]) == KEYS
    assert json.loads(lines[0]["config"])["loss"]["mu"] == 0.5
    assert float(lines[0]["test_top1_mean"]) == pytest.approx(0.91)
    assert lines[1]["p_adjusted"] == ""


def test_markdown_is_one_table_with_as_many_cells_in_each_line(home: Path) -> None:
    lines = [line for line in render(leaderboard(home), "markdown").splitlines() if "|" in line]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert "91.0 ± 4.3" in lines[2]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not html"):
        render([], "html")


def test_reading_the_leaderboard_loads_neither_mlflow_nor_torch(home: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from mcl_bench import results;"
        f"rows = results.leaderboard(Path({str(home)!r})); results.render(rows, 'table');"
        f"results.render_status(results.status(Path({str(home)!r})));"
        "print([m for m in ('mlflow', 'torch', 'ray', 'optuna', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
