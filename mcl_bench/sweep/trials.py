"""One trial as the driver holds it, from its ask to its record; and what it leaves on disk."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcl_bench.records import (
    WEIGHTS,
    CellWords,
    EpochRecord,
    Stage,
    TestGrant,
    TrialConfig,
    TrialId,
    TrialName,
    TrialRecord,
    TrialState,
)
from mcl_bench.sweep.lease import end_lease, name_lease, named_lease
from mcl_bench.sweep.settings import Setting

TOLD = ("predictions.parquet", "confusion.json", "channels.json", "channels.png")
"""What a finished trial leaves beside its log for people, who find it with its run too."""

CHECKPOINT = "checkpoint.pt"
"""The file that a lease writes its checkpoint to."""


MEASURED = {
    "val_top1": "val/top1",
    "val_macro_top1": "val/macro_top1",
    "val_loss": "val/loss",
    "test_top1": "test/top1",
    "test_top5": "test/top5",
    "test_macro_top1": "test/macro_top1",
}
"""The columns of a record that are metrics of the last epoch, and those metrics' names."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A trial to place now; `checkpoint` is where an earlier lease of it got to.

    `alone` says that it goes into a process that no other trial has trained in.
    """

    trial: TrialConfig
    resources: Mapping[str, float]
    checkpoint: str | None
    alone: bool = False


@dataclass(kw_only=True)
class Running:
    """A trial that has been asked and has not ended.

    `weight` is how many devices it holds, `losses` counts lost workers in a row without a new
    epoch, `ooms` how often it has run out of memory; `heard` is the last epoch that its present
    lease has told.
    """

    cell: str
    stage: Stage
    number: int
    setting: Setting
    of: int | None = None
    k: int = 0
    retry_of: int | None = None
    run_id: str | None = None
    grant: TestGrant | None = None
    started: float = 0.0
    seconds: float = 0.0
    weight: float = 1.0
    losses: int = 0
    ooms: int = 0
    heard: int = 0
    epochs: dict[int, EpochRecord] = field(default_factory=dict)

    @property
    def keeps_weights(self) -> bool:
        """Whether it leaves its weights: the first seed that a cell is confirmed with."""
        return self.of is not None and self.k == 0

    @property
    def name(self) -> TrialName:
        """What names this trial in its sweep."""
        return self.cell, self.stage, self.number

    @property
    def alone(self) -> bool:
        """Whether it is to run with nothing beside it: it has run out of memory once."""
        return self.ooms > 0


def trial_config(
    running: Running,
    *,
    sweep: str,
    lease: str,
    device: str,
    threads: int,
    folder: Path,
    store: Path,
) -> TrialConfig:
    """What the worker of a trial is given with this lease; `folder` is the trial's own."""
    setting = running.setting
    return TrialConfig(
        id=TrialId(sweep=sweep, cell=running.cell, stage=running.stage, number=running.number),
        settings=setting.settings,
        seed=setting.seed,
        key=setting.key,
        lease=lease,
        device=device,
        threads=threads,
        folder=str(folder / lease),
        digest=setting.digest,
        store=str(store),
        grant=running.grant,
        keep_weights=running.keeps_weights,
    )


def trial_record(
    running: Running,
    *,
    sweep: str,
    cell: CellWords,
    metric: str,
    state: TrialState,
    cause: str | None,
    twin: TrialRecord | None,
    versions: Mapping[str, str],
) -> TrialRecord:
    """The record of a trial that has ended; a duplicate takes the values of its `twin`.

    Whatever the clock did meanwhile, it has not ended before it began.
    """
    epochs = tuple(running.epochs[epoch] for epoch in sorted(running.epochs))
    last: Mapping[str, float] = epochs[-1].metrics if epochs else {}
    measured = (
        {column: last.get(name) for column, name in {**MEASURED, "value": metric}.items()}
        if twin is None
        else {column: getattr(twin, column) for column in (*MEASURED, "value")}
    )
    network = running.setting.network
    return TrialRecord(
        sweep=sweep,
        cell=running.cell,
        dataset=cell.dataset,
        backbone=cell.backbone,
        weights=cell.weights,
        arm=cell.arm,
        xi=network.xi,
        maps=network.maps,
        parameters=network.parameters,
        stage=running.stage,
        trial=running.number,
        of=running.of,
        seed=running.setting.seed,
        state=state,
        key=running.setting.key,
        duplicate_of=None if twin is None else _twin_name(twin, sweep),
        retry_of=running.retry_of,
        config=dict(running.setting.settings),
        epochs=epochs,
        device_seconds=running.seconds * running.weight,
        wait_seconds=sum(epoch.metrics.get("time/data_wait_s", 0.0) for epoch in epochs),
        started=running.started,
        finished=max(time.time(), running.started),
        run_id=running.run_id or "",
        cause=cause,
        versions=versions,
        **measured,
    )


def _twin_name(twin: TrialRecord, sweep: str) -> str:
    """CELL/STAGE-NUMBER, after the name of the sweep where that is another one."""
    name = f"{twin.cell}/{twin.stage}-{twin.trial}"
    return name if twin.sweep == sweep else f"{twin.sweep}/{name}"


def hand_over(folder: Path, lease: str) -> Path | None:
    """Give the trial of this folder to a new lease; returns the newest checkpoint there is.

    From then on no earlier lease writes one. All that earlier ones left but that is deleted.
    """
    last = named_lease(folder)
    name_lease(folder, lease)
    found = [path for path in folder.glob(f"*/{CHECKPOINT}") if path.is_file()]
    # Whoever had the trial last wrote the newest, whatever the nodes' clocks say.
    newest = max(
        found, key=lambda path: (path.parent.name == last, path.stat().st_mtime), default=None
    )
    for earlier in [path for path in folder.glob("*") if path.is_dir()]:
        if newest is None or earlier != newest.parent:
            shutil.rmtree(earlier)
    return newest


def tidy(folder: Path) -> None:
    """Keep what the last lease of a finished trial leaves; delete the leases' folders."""
    last = named_lease(folder)
    for lease in [path for path in folder.glob("*") if path.is_dir()]:
        for name in (*TOLD, WEIGHTS):
            if lease.name == last and (lease / name).exists():
                (lease / name).replace(folder / name)
        shutil.rmtree(lease)
    end_lease(folder)


def kept(folder: Path) -> list[Path]:
    """The files for people that a finished trial has left."""
    return [folder / name for name in TOLD if (folder / name).exists()]
