"""Rows that are kept beside the record are those that would be made, or are made anew."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from claim_stories import scored_sweep
from results_stories import CE, record, write_sweep

from mcl_bench import files
from mcl_bench.records import DataError
from mcl_bench.results import leaderboard, render, warnings
from mcl_bench.results.kept_rows import NAME, kept_rows
from mcl_bench.results.leaderboard import sweep_rows
from mcl_bench.results.row import Row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scored_sweep(tmp_path / "runs")


def never(_folder: Path) -> list[Row]:
    raise AssertionError("the rows were made anew")


def touched_back(path: Path, change: Callable[[str], str]) -> None:
    """Change a file and give it its old times, as one who hides the change would."""
    before = path.stat()
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_kept_rows_are_equal_to_those_made_in_all_they_hold(folder: Path) -> None:
    made = sweep_rows(folder)
    assert kept_rows(folder, make=sweep_rows) == made
    kept = kept_rows(folder, make=never)
    assert kept == made
    assert kept[0].aside == made[0].aside
    assert kept[0].aside.optimism == made[0].aside.optimism is not None
    for form in ("table", "markdown", "json", "csv", "latex"):
        assert render(kept, form) == render(made, form)
    assert render(kept, "json", with_details=True) == render(made, "json", with_details=True)


def test_a_new_record_is_in_the_next_leaderboard(folder: Path) -> None:
    before = leaderboard(folder.parents[1])
    line = record(CE, trial=2, value=0.9).to_json()
    files.append_line(folder / "records.jsonl", line)
    files.append_line(folder / "looks.jsonl", {"cell": CE, "key": "x", "seed": 1})
    after = {row.cell: row for row in leaderboard(folder.parents[1])}[CE]
    assert after.trials == {row.cell: row.trials for row in before}[CE] + 1
    assert after.n == 0, "another search trial is best now, and not confirmed"


def test_a_ledger_that_was_edited_and_dated_back_is_noticed(folder: Path) -> None:
    home = folder.parents[1]
    assert warnings(leaderboard(home)) == []
    touched_back(folder / "looks.jsonl", lambda text: text.replace('"seed": 11', '"seed": 12'))
    assert "has been tampered with" in warnings(leaderboard(home))[0]


def test_a_record_that_was_edited_and_dated_back_is_read_again(folder: Path) -> None:
    home = folder.parents[1]
    before = leaderboard(home)
    touched_back(
        folder / "records.jsonl",
        lambda text: text.replace('"test_top1": 0.8', '"test_top1": 0.7'),
    )
    assert leaderboard(home) != before
    assert leaderboard(home) == sweep_rows(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("0.8", "0.9"),
        lambda text: text[: len(text) // 2],
        lambda _text: "",
        lambda _text: "[]\n[]\n",
        lambda _text: "\x00\xff",
    ],
)
def test_kept_rows_that_were_edited_or_damaged_are_made_anew(
    folder: Path, damage: Callable[[str], str]
) -> None:
    home = folder.parents[1]
    made = leaderboard(home)
    kept = folder / NAME
    kept.write_text(damage(kept.read_text()))
    assert leaderboard(home) == made
    assert kept_rows(folder, make=never) == made


def test_rows_of_other_code_are_made_anew(folder: Path) -> None:
    leaderboard(folder.parents[1])
    head, rows = (folder / NAME).read_text().splitlines()
    other = {**json.loads(head), "code": "0" * 64}
    (folder / NAME).write_text(f"{json.dumps(other)}\n{rows}\n")
    with pytest.raises(AssertionError, match="made anew"):
        kept_rows(folder, make=never)


def test_rows_of_a_folder_that_was_moved_name_its_new_place(folder: Path) -> None:
    (folder / "looks.jsonl").write_text("")
    assert str(folder) in warnings(leaderboard(folder.parents[1]))[0]
    moved = folder.rename(folder.parent / "moved")
    rows = leaderboard(folder.parents[1])
    assert {row.sweep for row in rows} == {"moved"}
    assert str(moved) in warnings(rows)[0]


def test_a_damaged_record_is_told_and_nothing_is_kept(folder: Path) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write("no json\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"records\.jsonl is damaged"):
            leaderboard(folder.parents[1])
    assert not (folder / NAME).exists()


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    made = sweep_rows(folder)
    monkeypatch.setattr(files, "write_whole", refuse)  # root may write anywhere
    assert leaderboard(folder.parents[1]) == made
    assert not (folder / NAME).exists()


def test_nothing_is_kept_of_a_sweep_without_a_record(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "runs", [])
    (folder / "records.jsonl").unlink()
    leaderboard(tmp_path / "runs")
    assert not (folder / NAME).exists()
