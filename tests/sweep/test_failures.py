"""What a failure means, alone: its kind, what follows from it, and when the sweep gives up."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel, ValidationError
from ray.exceptions import ActorDiedError
from ray.exceptions import OutOfMemoryError as RayOutOfMemoryError

from mcl_bench.records import DataError, Stage, TrialRecord, UserError
from mcl_bench.sweep.breaker import ALIKE, Breaker
from mcl_bench.sweep.cluster import alone
from mcl_bench.sweep.failures import (
    KINDS,
    MAX_LOSSES,
    POLICIES,
    Kind,
    cause_of,
    cause_text,
    disk_fault,
    kind_of,
    spoils,
    verdict,
)
from mcl_bench.sweep.lost import LostWorkers, count_kernel_kills
from mcl_bench.sweep.places import Node
from mcl_bench.sweep.worker import Leaving
from mcl_bench.training import CheckpointError, Diverged


def host_memory() -> None:
    torch.empty(2**50)


def invalid() -> None:
    class Form(BaseModel):
        xi: int

    Form(xi="three")  # type: ignore[arg-type]


def full_disk() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


def from_memory() -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise DataError("the packed file can't be read") from error


def raised(what: object) -> Exception:
    if isinstance(what, Exception):
        return what
    with pytest.raises(Exception) as found:
        what()  # type: ignore[operator]
    return found.value


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (host_memory, "oom"),
        (MemoryError(), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "oom"),
        (RayOutOfMemoryError("Task was killed due to the node running low on memory."), "oom"),
        (from_memory, "oom"),
        (full_disk, "disk"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "disk"),
        (Diverged("train/loss", epoch=1, step=2), "diverged"),
        (DataError("the packed file is damaged"), "data"),
        (pa.ArrowInvalid("not an Arrow file"), "data"),
        (CheckpointError("it is damaged"), "data"),
        (UserError("no such loss"), "config"),
        (ValueError("the loss wants 3 classes"), "bug"),
        (RuntimeError("CUDA error: device-side assert triggered"), "bug"),
        (KeyError("x"), "bug"),
    ],
)
def test_an_error_of_a_trial_has_its_kind(what: object, kind: Kind) -> None:
    assert kind_of(cause_of(raised(what))) == kind


def test_a_value_refused_before_the_first_step_is_a_bad_configuration() -> None:
    assert kind_of(cause_of(ValueError("the loss wants 3 classes"), opening=True)) == "config"
    assert kind_of(cause_of(raised(invalid), opening=True)) == "config"
    assert issubclass(ValidationError, ValueError)


def test_a_cause_is_one_line_with_its_kind_before_it() -> None:
    found = cause_of(RuntimeError("a\n  b " + "c" * 1000))
    assert found.startswith("bug: RuntimeError: a b ccc")
    assert len(found) < 600
    assert "\n" not in found
    for kind in KINDS:
        assert kind_of(cause_text(kind, "oom: in the text says nothing")) == kind
    assert kind_of("KeyError: of an older version") == kind_of(None) == "bug"


def test_only_what_fills_the_memory_or_breaks_cuda_spoils_a_process() -> None:
    assert spoils(raised(host_memory))
    assert spoils(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not spoils(ValueError("bad"))
    assert not spoils(raised(full_disk))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_every_kind_ends_or_goes_on_as_its_policy_has_it(kind: Kind, stage: Stage) -> None:
    def after(losses: int, ooms: int) -> str:
        return verdict(kind, stage=stage, losses=losses, ooms=ooms)

    if kind == "preempted":  # never counted, however often
        assert after(100, 100) == "again"
    elif kind in {"lost", "hung"}:
        assert [after(losses, 0) for losses in (1, MAX_LOSSES - 1)] == ["again", "again"]
        assert after(MAX_LOSSES, 0) == "failed"
    elif kind == "oom":
        assert (after(0, 1), after(0, 2)) == ("alone", "failed")
    elif kind == "diverged":
        assert after(0, 0) == ("diverged" if stage == "search" else "failed")
    else:
        assert after(0, 0) == "failed"


def test_the_docs_have_a_row_for_every_kind() -> None:
    docs = (Path(__file__).parents[2] / "docs/failures.md").read_text()
    rows = {line.split("|")[1].strip(" `") for line in docs.splitlines() if line.startswith("| `")}
    assert rows == set(KINDS) == set(POLICIES)


def record(state: str, cause: str | None = None) -> TrialRecord:
    words = dict.fromkeys(("sweep", "cell", "dataset", "backbone", "weights", "arm", "xi"), "x")
    numbers = dict.fromkeys(("maps", "parameters", "trial", "seed"), 0)
    return TrialRecord(
        **words,  # type: ignore[arg-type]
        **numbers,  # type: ignore[arg-type]
        stage="search",
        state=state,  # type: ignore[arg-type]
        key="k",
        config={},
        started=0.0,
        finished=0.0,
        run_id="",
        cause=cause,
    )


def failures(*texts: str, kind: Kind = "bug") -> list[TrialRecord]:
    return [record("failed", cause_text(kind, text)) for text in texts]


def heard(records: list[TrialRecord]) -> list[bool]:
    breaker = Breaker()
    return [breaker.hear(one, log=Path("log.txt")) is not None for one in records]


def test_the_same_failure_in_five_trials_in_a_row_stops_the_sweep_whatever_its_numbers() -> None:
    alike = failures(*(f"KeyError: {number} at 0x{number:08x}f" for number in range(ALIKE)))
    assert heard(alike) == [False] * (ALIKE - 1) + [True]
    fault = None
    breaker = Breaker()
    for one in alike:
        fault = breaker.hear(one, log=Path("/x/log.txt"))
    assert fault is not None
    assert fault.exit_code == 1
    assert "5 trials in a row failed alike" in str(fault)
    assert "bug: KeyError: 4 at" in str(fault)
    assert "/x/log.txt" in str(fault)
    assert "mcl-bench retry x" in str(fault)


def test_another_failure_or_a_trial_that_ends_well_begins_the_row_anew() -> None:
    four = failures(*["same"] * (ALIKE - 1))
    assert not any(heard([*four, *failures("other"), *four]))
    for state in ("complete", "pruned", "diverged"):
        assert not any(heard([*four, record(state), *four]))


def test_lost_workers_and_lack_of_memory_neither_break_nor_lengthen_the_row() -> None:
    four = failures(*["same"] * (ALIKE - 1))
    aside = [*failures("gone", kind="lost"), *failures("full", kind="oom")]
    assert heard([*four, *aside, *failures("same")])[-1]
    assert not any(heard(failures(*["gone"] * 9, kind="lost")))
    assert not any(heard(failures(*["full"] * 9, kind="oom")))


def test_alone_is_a_whole_gpu_or_the_biggest_node() -> None:
    small, big = (
        Node(id=name, address=name, name=name, cpus=cpus, gpus=gpus)
        for name, cpus, gpus in (("a", 4.0, 0), ("b", 16.0, 8))
    )
    nodes = [small, big]
    assert alone({"CPU": 2.0, "GPU": 0.25}, nodes) == {"CPU": 2.0, "GPU": 1.0}
    assert alone({"CPU": 1.0, "GPU": 0.0}, nodes) == {"CPU": 16.0, "GPU": 0.0}


def test_a_full_disk_is_told_wherever_it_is_met() -> None:
    fault = disk_fault(raised(full_disk))
    assert fault is not None
    assert "the disk is full" in str(fault)
    assert "the same command goes on" in str(fault)
    assert disk_fault(RuntimeError("(sqlite3.OperationalError) database or disk is full"))
    assert disk_fault(OSError(errno.EACCES, "Permission denied")) is None


def test_a_lost_worker_is_sorted_by_what_ray_and_the_kernel_say() -> None:
    lost = LostWorkers()
    assert kind_of(lost.cause(ActorDiedError())) == "lost"
    assert kind_of(lost.cause(Leaving("this worker has had SIGTERM"))) == "preempted"
    assert kind_of(lost.cause(RayOutOfMemoryError("node running low on memory"))) == "oom"
    taken = ActorDiedError()
    taken._preempted = True
    assert kind_of(lost.cause(taken)) == "preempted"
    lost._kills -= 1  # as if the kernel had killed one since
    assert kind_of(lost.cause(ActorDiedError())) == "oom"
    assert kind_of(lost.cause(ActorDiedError())) == "lost"


def test_what_the_kernel_killed_is_counted_in_the_control_group_or_on_the_machine(
    tmp_path: Path,
) -> None:
    assert count_kernel_kills(tmp_path) == 0
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 9\noom_kill 7\n")
    assert count_kernel_kills(tmp_path) == 7
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/mine\n")
    group = tmp_path / "sys/fs/cgroup/user.slice/mine"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\noom 5\noom_kill 3\noom_group_kill 0\n")
    assert count_kernel_kills(tmp_path) == 3
