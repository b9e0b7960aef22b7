"""The words that the rooms share: frozen values, the seam to a trial, and user errors."""

import dataclasses
import getpass
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Stage = Literal["search", "confirm"]
"""`search` is judged on a validation split of train; `confirm` on test."""

Word = Literal["go", "save", "leave"]
"""What a trial is told between batches: go on, write a checkpoint, or write one and leave."""

Decision = Literal["go", "stop"]
"""What a trial is told after an epoch."""

Report = Callable[["EpochRecord"], Decision]
"""Called with each epoch's record; answers whether the trial goes on."""

TrialName = tuple[str, Stage, int]
"""What names a trial in its sweep: cell, stage and number."""

WEIGHTS = "weights.safetensors"
"""What the confirm trial of a cell's first seed leaves in its folder."""

NOT_SENT = frozenset({"log.txt", "lease", WEIGHTS})
"""What lies in a trial's folder and is not for its run."""

TrialState = Literal[
    "complete", "pruned", "diverged", "failed", "retried", "duplicate", "superseded"
]
"""How a trial ended."""


Owner = Literal[
    "training",
    "startup",
    "data_wait",
    "evaluation",
    "failure",
    "preemption",
    "pruned",
    "duplicate",
    "idle",
    "open",
]
"""Whom a slot-second of a sweep belongs to; `open` is what running steps have not told yet."""


class UserError(Exception):
    """Something the user can mend: told in one message, without a traceback.

    `rule` says what must hold and what was found. `key` is the dotted key of the experiment file
    it is about; whoever holds the file turns it into `place` (file:line). `remedy` says what to do.
    """

    exit_code = 2

    def __init__(
        self,
        rule: str,
        *,
        key: str | None = None,
        place: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(rule)
        self.rule = rule
        self.key = key
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.place}: " if self.place else ""
        tail = f"\n  {self.remedy}" if self.remedy else ""
        return f"{head}{self.rule}{tail}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_error, (type(self), self.rule, self.key, self.place, self.remedy))


class DataError(UserError):
    """Data that is missing or damaged."""

    exit_code = 3


class RunError(UserError):
    """Something failed while running that no change of the file mends; the sweep can go on."""

    exit_code = 1


def whose() -> str:
    """Who runs this process, and where: `USER on HOST`. Others read it where a name is taken."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}"


def _rebuild_error(
    kind: type[UserError], rule: str, key: str | None, place: str | None, remedy: str | None
) -> UserError:
    return kind(rule, key=key, place=place, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class TrialId:
    """Names one trial: its sweep, cell, stage and Optuna's number within that cell and stage."""

    sweep: str
    cell: str
    stage: Stage
    number: int

    def __str__(self) -> str:
        return f"{self.sweep}/{self.cell}/{self.stage}-{self.number}"


@dataclass(frozen=True, kw_only=True)
class TestGrant:
    """Opens the test set for one training.

    `entry` is the hash of the line in `looks.jsonl` that recorded this look before the launch.
    """

    __test__ = False

    cell: str
    key: str
    seed: int
    entry: str


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that one training needs; crosses processes as plain values.

    `settings` is the resolved flat dotted configuration (`data.*`, `model.*`, `loss.*`,
    `train.*`, `confirm.*`). `digest` is the source digest of the data and `store` the folder that
    holds the packed files on this node, so a worker need not read the source again. `folder` is
    where this lease writes its checkpoint and predictions. `device` is `cpu` or `cuda`; `threads`
    the CPU threads of torch. With `keep_weights` the training leaves its weights in `folder`.
    """

    id: TrialId
    settings: Mapping[str, Any]
    seed: int
    key: str
    lease: str
    device: str
    threads: int
    folder: str
    digest: str
    store: str
    grant: TestGrant | None = None
    keep_weights: bool = False

    def to_dict(self) -> dict[str, Any]:
        """This config as plain nested values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The config that `to_dict` wrote."""
        grant = plain["grant"]
        return cls(
            **{
                **plain,
                "id": TrialId(**plain["id"]),
                "grant": None if grant is None else TestGrant(**grant),
            }
        )


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch of one trial left: `epoch` counts from 1 (epochs done).

    The timestamp is part of the record, so that sending it again changes nothing.
    """

    epoch: int
    timestamp_ms: int
    metrics: Mapping[str, float]
    last: bool = False

    def to_dict(self) -> dict[str, Any]:
        """This record as plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One row of the results table: everything a finished trial leaves."""

    sweep: str
    cell: str
    dataset: str
    backbone: str
    weights: str
    arm: str
    xi: str
    maps: int
    parameters: int
    stage: Stage
    trial: int
    seed: int
    state: TrialState
    key: str
    config: Mapping[str, Any]
    started: float
    finished: float
    run_id: str
    of: int | None = None
    duplicate_of: str | None = None
    retry_of: int | None = None
    epochs: Sequence[EpochRecord] = field(default_factory=tuple)
    value: float | None = None
    val_top1: float | None = None
    val_macro_top1: float | None = None
    val_loss: float | None = None
    test_top1: float | None = None
    test_top5: float | None = None
    test_macro_top1: float | None = None
    device_seconds: float = 0.0
    wait_seconds: float = 0.0
    cause: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """This record as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=True)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The record that `to_json` wrote."""
        plain = json.loads(line)
        plain["epochs"] = tuple(EpochRecord(**epoch) for epoch in plain["epochs"])
        return cls(**plain)


def kept_weights(trials: Path, records: Iterable[TrialRecord]) -> dict[int, Path]:
    """The weights that the confirm trials among these, of one cell, have left, by their number.

    `trials` is the folder that holds CELL/STAGE-NUMBER.
    """
    files = {
        record.trial: trials / record.cell / f"{record.stage}-{record.trial}" / WEIGHTS
        for record in records
        if record.stage == "confirm"
    }
    return {number: path for number, path in files.items() if path.exists()}


@dataclass(frozen=True, kw_only=True)
class CellWords:
    """What the record says of a cell: its names, and the network that all its trials share."""

    id: str
    dataset: str
    backbone: str
    weights: str
    arm: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: what, where, what mends it, and whether `doctor --fix` does.

    `side` is whose it is to mend, `kind` one word for what is wrong, `subject` what of that side it
    is about (a run's id, a file) where neither trial nor place says so.
    """

    side: str
    kind: str
    what: str
    where: str
    remedy: str
    mends: bool
    trial: TrialId | None = None
    subject: str | None = None


def setting_word(value: Any) -> str:
    """A setting's value as one word, the same for equal numbers of whatever kind."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Where a sweep's time went, over all its drives.

    A slot is a place for one trial. `slot_seconds` are those of every owner and add up to
    `driven_seconds`: slots × the time that drivers ran trials, which is `wall_seconds`. A
    device-second is a slot-second times the GPUs of the trial that held the slot (a fraction
    counts as a fraction), or once where it has none; a slot without a trial holds no device.
    `saved_seconds` are the device-seconds that the known values of `duplicates` trials took once.
    `closed` tells that a budget has ended the search early.
    """

    slot_seconds: Mapping[Owner, float]
    device_seconds: Mapping[Owner, float]
    driven_seconds: float
    wall_seconds: float
    duplicates: int = 0
    saved_seconds: float = 0.0
    closed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """These costs as plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much of the variation of a cell's search values each searched setting explains.

    `shares` sum to 1, by setting, over `trials` complete trials; `method` says how they were found.
    Where they were not, `absent` says why.
    """

    cell: str
    method: str = ""
    trials: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class InventoryTrial:
    """One trial as one side (Optuna, MLflow, the table) believes it to be.

    `steps` are the epochs it has whole and once, `uneven` those that stand there twice or in part.
    `words` are what else it says, by names that the sides share; a side that has no say leaves a
    name out.
    """

    trial: TrialId
    state: str
    steps: tuple[int, ...] = ()
    uneven: tuple[int, ...] = ()
    run_id: str | None = None
    value: float | None = None
    files: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What one side believes exists, and what it finds wrong with itself.

    `state` is that of the sweep, where the side says so. `mendable` is false where the side can't
    be made anew from the trials' records.
    """

    side: str
    trials: tuple[InventoryTrial, ...] = ()
    faults: tuple[Finding, ...] = ()
    state: str | None = None
    mendable: bool = True


@dataclass(frozen=True, kw_only=True)
class News:
    """What a tracker has learnt since it was last asked: run ids by trial, and words for people."""

    run_ids: Mapping[TrialName, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
