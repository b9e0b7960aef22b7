"""Who may write a trial's files: the lease that the driver has named last, in the trial's folder.

A worker that the driver has given up may live on, and would write beside its successor. It asks
before it writes. Workers load this file, so only Python.
"""

from pathlib import Path

from mcl_bench import files

NAMED = "lease"
"""The file in a trial's folder that holds the name of the lease it is given to."""


class LeaseLost(Exception):
    """This trial has been given to another worker, or has ended."""


def name_lease(trial: Path, lease: str) -> None:
    """Give the trial of this folder to a lease; whoever had it writes no more."""
    files.write_whole(trial / NAMED, lease)


def end_lease(trial: Path) -> None:
    """Give the trial of this folder to nobody."""
    (trial / NAMED).unlink(missing_ok=True)


def named_lease(trial: Path) -> str | None:
    """The lease that the trial of this folder is given to, if any."""
    try:
        return (trial / NAMED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


class Lease:
    """What a worker holds of a trial; `folder` is the lease's own, in the trial's."""

    def __init__(self, folder: Path, *, lease: str) -> None:
        self._trial = folder.parent
        self._lease = lease
        self._seen = False

    @property
    def held(self) -> bool:
        """Whether the trial is still given to this lease.

        A shared disk may show another node an older name for a while: until this lease has been
        seen in its place, it is held.
        """
        if named_lease(self._trial) == self._lease:
            self._seen = True
            return True
        return not self._seen

    def hold(self) -> None:
        """Raise LeaseLost unless the trial is still given to this lease."""
        if not self.held:
            raise LeaseLost(f"{self._trial} is no longer given to lease {self._lease}")
