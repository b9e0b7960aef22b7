"""What a sweep says at its end of what MLflow has not taken."""

import sqlite3
from pathlib import Path

import pytest
from tracked import tracked
from tracker_contract import CONFIG

from mcl_bench.cli.unsent import tell_unsent

SECONDS = 60.0


def test_what_mlflow_lacks_is_counted_with_the_reason_and_what_sends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = tracked("story", tmp_path)
    tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    tell_unsent(tracker, "story")
    assert capsys.readouterr().err == ""
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("alter table tags rename to elsewhere")
    tracker.finish_sweep(state="complete")
    assert tracker.settle(0.5) == 1
    tracker.close()
    tell_unsent(tracker, "story")
    said = capsys.readouterr().err
    assert said.startswith("MLflow has not taken 1 of the sweep's entries (OperationalError: ")
    assert "no such table: tags)" in said
    assert f"kept in {tmp_path}/sweeps/story/spool.jsonl; the same command, or " in said
    assert said.endswith("mcl-bench doctor story --fix, sends them\n")

    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("alter table elsewhere rename to tags")
    again = tracked("story", tmp_path)
    again.send_rest([], sweep_id="0a1b2c3d", config=CONFIG)
    assert again.settle(SECONDS) == 0
    again.close()
    tell_unsent(again, "story")
    assert capsys.readouterr().err == ""
