"""`mcl-bench report`, and the page that a sweep leaves at its end."""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from results_stories import CE, record, write_sweep
from running import mcl_bench
from tracked import tracked

from mcl_bench.cli.report import keep_report
from mcl_bench.records import RunError
from mcl_bench.results import SpooledTracker


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_sweep(tmp_path / "runs", [record(CE)])
    return tmp_path / "runs"


def tracker(home: Path) -> SpooledTracker:
    return tracked("story", home)


def test_the_page_is_written_into_the_sweeps_folder_or_where_it_is_wanted(
    home: Path, tmp_path: Path
) -> None:
    done = mcl_bench("report", "story", home=home)
    page = home / "sweeps" / "story" / "report.html"
    assert done.stdout.strip() == str(page)
    out = tmp_path / "sub" / "page.html"
    assert mcl_bench("report", "story", "--out", str(out), home=home).stdout.strip() == str(out)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_unknown_sweep_is_told_with_the_nearest_name(home: Path) -> None:
    done = mcl_bench("report", "stori", home=home, code=2)
    assert "did you mean story?" in done.stderr


def test_a_place_that_cannot_be_written_is_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = mcl_bench("report", "story", "--out", str(tmp_path / "file" / "a"), home=home, code=2)
    assert "the page can't be written" in done.stderr


def test_a_damaged_record_is_told(home: Path) -> None:
    (home / "sweeps" / "story" / "sweep.json").write_text("{")
    done = mcl_bench("report", "story", home=home, code=3)
    assert "sweep.json is damaged" in done.stderr


def test_a_sweeps_page_is_kept_once_and_handed_to_its_run(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / "sweeps" / "story"
    kept = tracker(home)
    run_id = kept.open_sweep(sweep_id="0a1b2c3d", config={"search": {"metric": "val/top1"}})
    keep_report(folder, kept)
    assert "page:" in capsys.readouterr().err
    assert run_id is not None
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    artifacts = [artifact.path for artifact in client.list_artifacts(run_id)]
    assert "report.html" in artifacts
    keep_report(folder, kept)
    assert capsys.readouterr().err == ""


def test_a_page_is_written_again_when_records_have_come(home: Path) -> None:
    folder = home / "sweeps" / "story"
    keep_report(folder, tracker(home), quiet=True)
    page = folder / "report.html"
    before = page.stat().st_mtime_ns
    later = page.stat().st_mtime + 10
    os.utime(folder / "records.jsonl", (later, later))
    keep_report(folder, tracker(home), quiet=True)
    assert page.stat().st_mtime_ns != before


def test_a_page_that_cannot_be_kept_costs_the_sweep_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "sweeps" / "story" / "sweep.json").write_text("{")
    keep_report(home / "sweeps" / "story", tracker(home))
    assert "mcl-bench report story writes it again" in capsys.readouterr().err


def test_an_mlflow_that_does_not_take_the_page_is_one_message(home: Path) -> None:
    kept = tracker(home)
    kept.open_sweep(sweep_id="0a1b2c3d", config={"search": {"metric": "val/top1"}})
    with pytest.raises(RunError, match="did not take the page"):
        kept.keep_page(home / "nowhere.html")
