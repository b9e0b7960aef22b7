"""Tune's temporary folders: gone at their end, and known as left over if their maker is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcl_bench.sweep.scratch import ScratchSide, scratch_folder

HOLD = """
import time
from mcl_bench.sweep.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_a_folder_that_is_in_use_is_no_leftover_and_is_gone_at_its_end() -> None:
    with scratch_folder() as folder:
        assert folder.is_dir()
        assert ScratchSide().inventory().faults == ()
    assert not folder.exists()


def test_the_folder_of_a_killed_driver_is_named_and_deleted() -> None:
    side = ScratchSide()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        folder = Path(held.stdout.readline().strip())
        assert side.inventory().faults == ()
        held.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not (faults := side.inventory().faults):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [fault.where for fault in faults] == [str(folder)]
    side.mend(faults)
    assert not folder.exists()
    assert side.inventory().faults == ()


def test_a_new_driver_deletes_what_killed_ones_have_left(tmp_path: Path) -> None:
    left = tmp_path / "mcl-bench-tune-left"
    left.mkdir()
    (left / "held").touch()
    with scratch_folder() as first, scratch_folder() as second:
        assert not left.exists()
        assert first.exists()
        assert second.exists()


def test_another_programs_folder_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "mcl-bench-tune-of-somebody").mkdir()
    assert ScratchSide().inventory().faults == ()
