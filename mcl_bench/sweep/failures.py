"""What a failure means: its kind, and what follows from it. Pure; workers load it, so only Python.

A trial's cause is written `<kind>: <text>`.
"""

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from mcl_bench.records import DataError, RunError, Stage, UserError

Kind = Literal[
    "config", "diverged", "oom", "preempted", "lost", "hung", "data", "disk", "look", "bug"
]
"""Why a trial ended short.

`config`: settings that only the training itself could refuse. `diverged`: a loss or metric that is
not finite. `oom`: out of memory, of the GPU or of the machine. `preempted`: told to leave, or its
node was taken away. `lost`: its worker has gone. `hung`: it came to no next batch. `data`: its
images can't be read. `disk`: no space is left. `look`: its look at test is not the one that was
written down. `bug`: anything else.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

Verdict = Literal["again", "alone", "diverged", "failed"]
"""What becomes of the trial: launched again, launched again alone, or ended in this state."""

MAX_LOSSES = 3
"""So many lost workers in a row without a new epoch make a trial failed."""

MAX_TEXT = 500
"""A cause holds so many characters of what was said; the whole stands in the trial's log."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What follows a failure of one kind.

    `then` is `again` (from its checkpoint), `alone` (the same, once, with nothing beside it),
    `result` (an answer in search, a failure in confirm) or `failed`. A `counted` failure is one of
    the `MAX_LOSSES` that a trial survives. `repeats` is true where the same failure in trial
    after trial says that something is wrong with the sweep.
    """

    then: Literal["again", "alone", "result", "failed"]
    counted: bool = False
    repeats: bool = False


POLICIES: Mapping[Kind, Policy] = {
    "preempted": Policy(then="again"),
    "lost": Policy(then="again", counted=True),
    "hung": Policy(then="again", counted=True),
    "oom": Policy(then="alone"),
    "diverged": Policy(then="result"),
    "config": Policy(then="failed", repeats=True),
    "data": Policy(then="failed", repeats=True),
    "disk": Policy(then="failed", repeats=True),
    "look": Policy(then="failed"),
    "bug": Policy(then="failed", repeats=True),
}


def verdict(kind: Kind, *, stage: Stage, losses: int, ooms: int) -> Verdict:
    """What becomes of a trial after a failure of this kind.

    `losses` counts its lost workers in a row without a new epoch, `ooms` how often it has run out
    of memory; both with this one.
    """
    policy = POLICIES[kind]
    if policy.then == "again":
        return "failed" if policy.counted and losses >= MAX_LOSSES else "again"
    if policy.then == "alone":
        return "alone" if ooms <= 1 else "failed"
    return "diverged" if policy.then == "result" and stage == "search" else "failed"


def cause_text(kind: Kind, text: str) -> str:
    """A cause in one line: `<kind>: <text>`."""
    return f"{kind}: {' '.join(text.split())[:MAX_TEXT]}"


def kind_of(cause: str | None) -> Kind:
    """The kind of a cause; `bug` where it names none."""
    named = (cause or "").partition(":")[0]
    return next((kind for kind in KINDS if kind == named), "bug")


def cause_of(error: BaseException, *, opening: bool = False) -> str:
    """The cause of what a trial's code raised; `opening`: before its first step."""
    return cause_text(_kind(error, opening=opening), f"{type(error).__name__}: {error}")


def spoils(error: BaseException) -> bool:
    """Whether no other trial should train in the process that raised this.

    What filled the memory may still hold it, and after an error of CUDA's every call fails.
    """
    return any(_is_oom(each) or "CUDA error" in str(each) for each in _chain(error))


def signature(cause: str) -> str:
    """The cause without its numbers and addresses: equal for the same failure in two trials."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+(\.\d+)?", "#", cause)


def disk_fault(error: BaseException) -> RunError | None:
    """What to tell of an error that says that no space is left; None of any other."""
    found = next((each for each in _chain(error) if _is_disk(each)), None)
    if found is None:
        return None
    name = getattr(found, "filename", None)
    where = f" ({name})" if name else ""
    return RunError(
        f"the disk is full{where}: {str(found).partition(chr(10))[0][:200]}",
        remedy="nothing is lost or torn: when there is space again, the same command goes on",
    )


DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DISK_WORDS = ("database or disk is full", "No space left on device", "Disk quota exceeded")
OOM_WORDS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "DefaultCPUAllocator",
    "running low on memory",  # Ray's memory monitor
)


def _kind(error: BaseException, *, opening: bool) -> Kind:
    """The first kind that the error, or what it came from, is of."""
    errors = list(_chain(error))
    names = {base.__name__ for each in errors for base in type(each).__mro__}
    of_data = any(isinstance(each, DataError) for each in errors)
    told: Mapping[Kind, bool] = {
        "oom": any(_is_oom(each) for each in errors),
        "disk": any(_is_disk(each) for each in errors),
        "diverged": "Diverged" in names,
        "data": of_data or bool(names & {"ArrowException", "CheckpointError"}),
        "config": isinstance(error, UserError) or (opening and isinstance(error, ValueError)),
    }
    return next((kind for kind, found in told.items() if found), "bug")


def _is_oom(error: BaseException) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    told = bool(names & {"RuntimeError", "OSError", "RayError", "TuneError"})
    return told and any(words in str(error) for words in OOM_WORDS)


def _is_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in DISK_ERRNOS:
        return True
    return any(words in str(error) for words in DISK_WORDS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
