"""The sweep's folder: its id, its lock, looks, and files with a torn tail."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcl_bench.records import TestGrant, UserError
from mcl_bench.sweep.folder import SweepFolder

EXPERIMENT: Any = SimpleNamespace(name="s")


def opened(path: Path) -> SweepFolder:
    folder = SweepFolder(path)
    folder.open(EXPERIMENT)
    return folder


def test_the_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = opened(tmp_path / "s")
    first.close()
    again = opened(tmp_path / "s")
    assert len(first.id) == 8
    assert int(first.id, 16) >= 0
    assert again.id == first.id


def test_files_may_be_kept_below_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = SweepFolder(tmp_path / "s", files_at="~/big")
    folder.open(EXPERIMENT)
    assert folder.files == tmp_path / "home" / "big" / f"s@{folder.id}"


def test_a_second_driver_is_told_who_holds_the_sweep(tmp_path: Path) -> None:
    first = opened(tmp_path / "s")
    with pytest.raises(UserError, match=f"process {os.getpid()} on"):
        SweepFolder(tmp_path / "s").open(EXPERIMENT)
    first.close()
    opened(tmp_path / "s").close()


def test_the_ids_that_bore_a_name_before_are_known(tmp_path: Path) -> None:
    old = opened(tmp_path / "s")
    old.retire("s.1")
    old.close()
    stranger = opened(tmp_path / "s2.1")
    stranger.close()
    new = opened(tmp_path / "s")
    assert new.kept_ids() == {old.id}
    new.close()


def test_a_look_is_written_once_and_its_grant_is_recognised(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    grant = folder.look(cell="c", key="k", seed=7, of=3)
    assert folder.look(cell="c", key="k", seed=7, of=3) == grant
    folder.close()
    again = opened(tmp_path / "s")
    assert again.look(cell="c", key="k", seed=7, of=3) == grant
    lines = (tmp_path / "s" / "looks.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [7]
    assert again.granted(grant)
    assert not again.granted(TestGrant(cell="c", key="k", seed=7, entry="0" * 64))
    assert not again.granted(TestGrant(cell="c", key="k", seed=8, entry=grant.entry))


def test_only_an_end_closes_a_sweep_and_no_trials_state_does(tmp_path: Path) -> None:
    folder = opened(tmp_path / "s")
    folder.event("tell", state="complete")
    assert not folder.closed
    folder.event("end", state="interrupted")
    assert not folder.closed
    folder.event("end", state="complete")
    assert folder.closed


@pytest.mark.parametrize("name", ["looks.jsonl", "events.jsonl", "records.jsonl"])
def test_a_torn_tail_is_cut_when_the_sweep_is_opened(tmp_path: Path, name: str) -> None:
    folder = opened(tmp_path / "s")
    folder.look(cell="c", key="k", seed=1, of=None)
    folder.event("start")
    folder.close()
    path = tmp_path / "s" / name
    whole = path.read_text() if path.exists() else ""
    path.write_text(whole + '{"cell": "c", "ke')
    opened(tmp_path / "s").close()
    assert path.read_text() == whole


def test_a_folder_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written") as raised:
        SweepFolder(tmp_path / "file" / "s").open(EXPERIMENT)
    assert "MCL_HOME" in str(raised.value.remedy)
