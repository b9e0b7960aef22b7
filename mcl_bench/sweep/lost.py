"""Why a worker has gone, as far as Ray and the kernel know."""

import pickle
from pathlib import Path

from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.tune.experiment import Trial

from mcl_bench.sweep.failures import Kind, cause_of, cause_text, kind_of
from mcl_bench.sweep.worker import Leaving

KILLED_BY_KERNEL = "the kernel killed it, for this machine ran out of memory"


def read_error(trial: Trial) -> Exception | None:
    """What Tune has written down of a trial's error beside it; what a worker raised, as it was."""
    if trial.pickled_error_file is not None:
        error: Exception = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error.cause if isinstance(error, RayTaskError) else error
    if trial.error_file is None:
        return None
    _, _, told = Path(trial.error_file).read_text().partition("\n")  # after a line of Tune's own
    return RayError(told)


class LostWorkers:
    """Sorts lost workers; counts what the kernel has killed on this machine for want of memory."""

    def __init__(self) -> None:
        self._kills = count_kernel_kills()

    def cause(self, error: Exception) -> str:
        """The cause of what Tune was told when a worker was lost."""
        if isinstance(error, Leaving):
            return cause_text("preempted", str(error))
        kind: Kind = "oom" if kind_of(cause_of(error)) == "oom" else "lost"
        if not isinstance(error, ActorDiedError):
            return cause_text(kind, _first_line(error))
        if error.preempted:
            return cause_text("preempted", "its node was taken away")
        kills, self._kills = self._kills, count_kernel_kills()
        if self._kills > kills:
            return cause_text("oom", KILLED_BY_KERNEL)
        return cause_text("lost", _first_line(error))


def count_kernel_kills(root: Path = Path("/")) -> int:
    """How many processes the kernel has killed here for want of memory; 0 where it doesn't say.

    Here: in this process's control group, or where there is none, on this machine.
    """
    group = _read(root / "proc/self/cgroup").rpartition("::/")[2].strip()
    for path in (
        root / "sys/fs/cgroup" / group / "memory.events",
        root / "sys/fs/cgroup/memory.events",
        root / "proc/vmstat",
    ):
        for line in _read(path).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not this kind of system
        return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
