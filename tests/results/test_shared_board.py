"""MLflow's own leaderboard: a run for each sweep × cell, true after every change."""

import math
from pathlib import Path
from typing import Any

import pytest
from results_stories import CE, MC, confirms, record, write_sweep

from mcl_bench.records import UserError
from mcl_bench.results import MlflowTracker
from mcl_bench.results.board_note import Line, board_note
from mcl_bench.results.leaderboard import sweep_rows
from mcl_bench.results.shared_board import ABOUT, METRICS, NOTE, SharedBoard
from mcl_bench.results.store import embedded_uri, open_client

ID = "0a1b2c3d"
CE_TOP1, MC_TOP1 = [0.5, 0.52, 0.54], [0.7, 0.71, 0.72]


class Told:
    """The leaderboard's experiment of a store, and what it holds now."""

    def __init__(self, home: Path) -> None:
        uri = embedded_uri(home)
        self.client = open_client(uri, home)
        self.board = SharedBoard(self.client, uri=uri, home=home)

    def rows(self) -> dict[str, Any]:
        runs = self.client.search_runs(
            [self.experiment.experiment_id], "tags.`mcl.kind` = 'leaderboard'"
        )
        rows = {run.info.run_name: run for run in runs}
        assert len(rows) == len(runs)
        return rows

    @property
    def experiment(self) -> Any:
        found = self.client.get_experiment_by_name("leaderboard")
        assert found is not None
        return found

    def note(self) -> str:
        return str(self.experiment.tags[NOTE])

    def steps(self, run: Any) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run.info.run_id, "test/top1_mean")
        return [(point.step, point.value) for point in history]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def told(home: Path) -> Told:
    return Told(home)


def story(home: Path, *, mc: list[float] = MC_TOP1) -> Path:
    records = [record(cell, trial=0) for cell in (CE, MC)]
    records += [*confirms(CE, CE_TOP1), *confirms(MC, mc)]
    return write_sweep(home, records)


def test_a_row_holds_what_the_leaderboard_shows_and_every_setting(home: Path, told: Told) -> None:
    folder = story(home)
    told.board.keep(folder, sweep_id=ID, at=100.0)
    rows = told.rows()
    assert rows.keys() == {f"story/{CE}", f"story/{MC}"}
    for row in sweep_rows(folder):
        run = rows[f"story/{row.cell}"]
        plain = row.to_dict()
        shown = {name: plain[column] for name, column in METRICS.items()}
        assert run.data.metrics == {name: v for name, v in shown.items() if v is not None}
        assert run.info.status == "FINISHED"
        words = ("sweep", "cell", "dataset", "arm", "state", "baseline")
        assert [run.data.tags[f"mcl.{word}"] for word in words] == [
            "story",
            row.cell,
            "parts",
            row.arm,
            row.state,
            "ce",
        ]
        assert run.data.tags["setting.loss.name"] == row.arm
        assert run.data.tags["top-1 percent"] == ("71.0 ± 2.5" if row.arm == "mc" else "52.0 ± 5.0")
        assert run.data.tags["points"].startswith("+19.0 [" if row.arm == "mc" else "baseline")
    assert rows[f"story/{MC}"].data.metrics["difference"] == pytest.approx(0.19)


def test_repeating_adds_nothing_and_each_change_is_a_step(home: Path, told: Told) -> None:
    for _ in range(2):
        told.board.keep(story(home), sweep_id=ID, at=100.0)
    more = [0.6, 0.61, 0.62]
    told.board.keep(story(home, mc=more), sweep_id=ID, at=200.0)
    rows = told.rows()
    assert told.steps(rows[f"story/{MC}"]) == [
        (1, pytest.approx(0.71)),
        (2, pytest.approx(0.61)),
    ]
    assert told.steps(rows[f"story/{CE}"]) == [(1, pytest.approx(0.52))]


def test_what_is_known_no_more_is_no_number(home: Path, told: Told) -> None:
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    told.board.keep(story(home, mc=[0.7]), sweep_id=ID, at=200.0)
    told.board.keep(story(home, mc=[0.7]), sweep_id=ID, at=300.0)
    run = told.rows()[f"story/{MC}"]
    assert math.isnan(run.data.metrics["difference_ci_low"])
    assert run.data.metrics["seeds"] == 1
    assert [step for step, _ in told.steps(run)] == [1, 2]


def test_a_row_that_was_made_twice_is_set_apart(home: Path, told: Told) -> None:
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    run = told.rows()[f"story/{MC}"]
    tags = {key: run.data.tags[key] for key in ("mcl.kind", "mcl.sweep_id", "mcl.cell")}
    told.client.create_run(run.info.experiment_id, tags=tags, run_name="twice")
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    assert told.rows().keys() == {f"story/{CE}", f"story/{MC}"}


def test_a_renamed_sweep_keeps_its_rows_and_a_damaged_record_leaves_them(
    home: Path, told: Told
) -> None:
    folder = story(home)
    told.board.keep(folder, sweep_id=ID, at=100.0)
    told.board.rename(sweep_id=ID, name="story.1")
    (folder / "records.jsonl").write_text("{broken\n{}\n")
    told.board.keep(folder, sweep_id=ID, at=200.0)
    rows = told.rows()
    assert rows.keys() == {f"story.1/{CE}", f"story.1/{MC}"}
    assert {run.data.tags["mcl.sweep"] for run in rows.values()} == {"story.1"}
    assert rows[f"story.1/{MC}"].data.metrics["test/top1_mean"] == pytest.approx(0.71)


def test_the_newest_sweeps_are_told_in_words_above_the_table(home: Path, told: Told) -> None:
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    first, _, about = told.note().partition("\n\n")
    assert first == (
        "- story, parts · convnet: **mc** 71.0 ± 2.5 % (+19.0 [+16.5, +21.5], p <0.001); "
        "**ce** 52.0 ± 5.0 % (baseline)"
    )
    assert about == ABOUT
    told.board.rename(sweep_id=ID, name="story.1")
    assert told.note().startswith("- story.1, ")


@pytest.mark.parametrize("edit", ["ours, not yours", "# Our lab\n\n{}", "{}\n\nread this"])
def test_what_a_person_wrote_above_the_table_stays(home: Path, told: Told, edit: str) -> None:
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    edited = edit.format(told.note())
    told.client.set_experiment_tag(told.experiment.experiment_id, NOTE, edited)
    told.board.keep(story(home, mc=[0.6, 0.61, 0.62]), sweep_id=ID, at=200.0)
    assert told.note() == edited


def test_the_words_are_kept_true_and_a_crash_between_two_writes_ends_that_not(
    home: Path, told: Told
) -> None:
    told.board.keep(story(home), sweep_id=ID, at=100.0)
    first = told.note()
    told.board.keep(story(home, mc=[0.6, 0.61, 0.62]), sweep_id=ID, at=200.0)
    assert "**mc** 61.0" in told.note()
    told.client.set_experiment_tag(told.experiment.experiment_id, NOTE, first)  # as before a crash
    told.board.keep(story(home, mc=[0.6, 0.61, 0.62]), sweep_id=ID, at=200.0)
    assert "**mc** 61.0" in told.note()


def line(sweep: str, arm: str = "mc", mean: float | None = 0.5, group: str = "a · b") -> Line:
    return Line(
        sweep=sweep,
        sweep_id=sweep,
        group=group,
        arm=arm,
        top1="50.0",
        points="baseline",
        mean=mean,
        p=None,
    )


def test_only_arms_that_are_compared_stand_in_one_item() -> None:
    rows = [line("s", group=group, arm=arm) for group in ("a · b", "a · c") for arm in ("x", "y")]
    items = board_note(rows, ABOUT).split("\n\n")[0].splitlines()
    assert [item.split(":")[0] for item in items] == ["- s, a · b", "- s, a · c"]
    assert all(item.count("**") == 4 for item in items)


def test_the_words_fit_into_what_mlflow_keeps_and_names_stay_text() -> None:
    note = board_note([line(f"sweep{number}") for number in range(500)], ABOUT)
    assert len(note) < 5000
    items = note.split("\n\n")[0].splitlines()
    assert items[0].startswith("- sweep0, ")
    assert items[-1] == "- and more, in the table"
    assert len(items) > 20
    odd = board_note([line("s", arm="<b>*x*\n", mean=None), line("s", arm="<b>*x*\n")], ABOUT)
    assert odd.startswith("- s, a · b: **\\<b\\>\\*x\\*** 50.0 % (baseline)\n")
    assert board_note([line("s", mean=None)], ABOUT).startswith("- s, a · b: nothing confirmed\n")
    assert board_note([], ABOUT) == ABOUT


def test_no_sweep_may_have_the_leaderboards_name(home: Path) -> None:
    tracker = MlflowTracker(sweep="leaderboard", uri=embedded_uri(home), home=home)
    with pytest.raises(UserError, match="leaderboard is the MLflow experiment of all sweeps"):
        tracker.open_sweep(sweep_id=ID, config={"search": {"metric": "val/top1"}})
