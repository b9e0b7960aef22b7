"""Tune's own folder: a temporary one of each Tuner, and those that killed drivers have left."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

from mcl_bench import files
from mcl_bench.records import Finding, Inventory

PREFIX = "mcl-bench-tune-"
"""What the folders' names start with."""

HELD = "held"
"""The file in it that is locked for as long as its driver lives."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that is gone at the end, and known as left over if its maker is killed.

    What killed drivers have left is deleted first.
    """
    for left in _left():
        shutil.rmtree(left, ignore_errors=True)  # another driver may be at it too
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with filelock.FileLock(folder / f".{HELD}"):
            (folder / f".{HELD}").rename(folder / HELD)  # locked from the moment it is there
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ScratchSide:
    """The folders of Tuners that were killed, under the temporary folder of this machine."""

    name = "temp"

    def inventory(self) -> Inventory:
        """A finding for each folder whose maker has gone."""
        faults = [
            Finding(
                side=self.name,
                kind="leftover",
                what="a folder that a killed driver has left",
                where=str(folder),
                remedy="it is deleted",
                mends=True,
                subject=str(folder),
            )
            for folder in _left()
        ]
        return Inventory(side=self.name, faults=tuple(faults))

    def mend(self, findings: Sequence[Finding]) -> None:
        """Delete them."""
        for finding in findings:
            assert finding.subject is not None
            with contextlib.suppress(FileNotFoundError):  # another doctor was faster
                shutil.rmtree(finding.subject)


def _left() -> list[Path]:
    """The folders of this user's that no process holds; one that is being made has no file yet."""
    found = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{HELD}"))
    return [held.parent for held in found if _is_ours(held) and not files.is_locked(held)]


def _is_ours(held: Path) -> bool:
    try:
        return held.stat().st_uid == os.getuid()
    except FileNotFoundError:  # its driver has just ended
        return False
