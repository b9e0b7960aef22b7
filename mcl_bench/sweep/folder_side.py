"""What a sweep's folder says: its events, its lock, and what lies on disk; and how it is mended."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcl_bench import files
from mcl_bench.records import (
    WEIGHTS,
    Finding,
    Inventory,
    InventoryTrial,
    TrialId,
    TrialName,
    TrialRecord,
)
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.looks import read_object
from mcl_bench.sweep.studies import STAGES
from mcl_bench.sweep.study_side import Records
from mcl_bench.sweep.trials import TOLD

WRITTEN_WHOLE = ("results.parquet", "sweep.json", "driver.json", "experiment.yaml", "stop-request")
"""The files that are written beside their place first: a kill leaves the unfinished one."""


class EventsSide:
    """`events.jsonl`: how each trial's end was told."""

    name = "events"

    def __init__(self, folder: SweepFolder, *, sweep: str, records: Records) -> None:
        self._folder = folder
        self._sweep = sweep
        self._records = records

    def inventory(self) -> Inventory:
        """Every trial that an event speaks of; `asked` where its end has not been told."""
        told: dict[TrialName, tuple[str, float | None]] = {}
        for event in _events(self._folder):
            if "trial" not in event:
                continue
            name: TrialName = (event["cell"], event["stage"], event["trial"])
            if event["event"] == "tell":
                told[name] = (event["state"], event.get("value"))
            else:
                told.setdefault(name, ("asked", None))
        path = self._folder.path / "events.jsonl"
        return Inventory(
            side=self.name,
            trials=tuple(
                InventoryTrial(
                    trial=TrialId(sweep=self._sweep, cell=cell, stage=stage, number=number),
                    state=state,
                    value=value,
                )
                for (cell, stage, number), (state, value) in told.items()
            ),
            faults=tuple(_torn(path)),
        )

    def mend(self, findings: Sequence[Finding]) -> None:
        """Tell the end of trials once more, as their records say."""
        files.mend_tail(self._folder.path / "events.jsonl")
        records = self._records()
        for trial in [one.trial for one in findings if one.trial is not None]:
            record = records[trial.cell, trial.stage, trial.number]
            self._folder.event("tell", **_told(record), by="doctor")


class LockSide:
    """How the last driver ended; `running` while one runs."""

    name = "lock"

    def __init__(self, folder: SweepFolder, *, running: bool) -> None:
        self._folder = folder
        self._running = running

    def inventory(self) -> Inventory:
        """The sweep's state, and that its driver is gone without a word."""
        last: Mapping[str, Any] = {}
        for event in _events(self._folder):
            if event["event"] in {"start", "end"}:
                last = event
        faults = []
        if last.get("event") == "start" and not self._running:
            who = f"process {last.get('pid')} on {last.get('host')}"
            faults.append(
                Finding(
                    side=self.name,
                    kind="gone",
                    what=f"its driver ({who}) is gone without having ended",
                    where="lock",
                    remedy="the sweep counts as interrupted, and its command goes on with it",
                    mends=True,
                )
            )
        state = "running" if self._running else last.get("state", "interrupted")
        return Inventory(side=self.name, state=state, faults=tuple(faults))

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - one word mends all
        """Write that the sweep has been interrupted."""
        self._folder.event("end", state="interrupted", by="doctor")


class DiskSide:
    """The folders of trials, and unfinished files; `running` while a driver writes them."""

    name = "disk"

    def __init__(self, folder: SweepFolder, *, sweep: str, running: bool) -> None:
        self._folder = folder
        self._sweep = sweep
        self._running = running

    def inventory(self) -> Inventory:
        """The files of every trial's folder, by their paths within it."""
        faults = [] if self._running else list(self._leftovers())
        return Inventory(side=self.name, trials=tuple(self._entries()), faults=tuple(faults))

    def mend(self, findings: Sequence[Finding]) -> None:
        """Delete checkpoints that nobody goes on from, and files that nobody finishes."""
        for finding in findings:
            if finding.trial is not None:
                trial = finding.trial
                clear(self._folder.trial(trial.cell, trial.stage, trial.number))
            else:
                assert finding.subject is not None
                Path(finding.subject).unlink(missing_ok=True)

    def _entries(self) -> Iterator[InventoryTrial]:
        for path in sorted((self._folder.files / "trials").glob("*/*-*")):
            named, _, number = path.name.rpartition("-")
            stage = next((stage for stage in STAGES if stage == named), None)
            if stage is None or not number.isdigit():
                continue
            own = sorted(found for found in path.rglob("*") if found.is_file())
            yield InventoryTrial(
                trial=TrialId(
                    sweep=self._sweep, cell=path.parent.name, stage=stage, number=int(number)
                ),
                state="",
                files=tuple(found.relative_to(path).as_posix() for found in own),
            )

    def _leftovers(self) -> Iterator[Finding]:
        unfinished = [
            path for name in WRITTEN_WHOLE for path in self._folder.path.glob(f".{name}.*")
        ]
        words = [self._folder.stop_file, self._folder.stop_request]
        for path, what in [
            *((path, "a file that a killed process did not finish") for path in unfinished),
            *((path, "a word to stop, and no driver") for path in words if path.is_file()),
        ]:
            yield Finding(
                side=self.name,
                kind="leftover",
                what=what,
                where=path.name,
                remedy="it is deleted",
                mends=True,
                subject=str(path),
            )


def clear(folder: Path) -> None:
    """Delete the checkpoints in a trial's folder; what it left is kept, the first one there."""
    for lease in [path for path in folder.glob("*") if path.is_dir()]:
        for name in (*TOLD, WEIGHTS):
            if (lease / name).exists() and not (folder / name).exists():
                (lease / name).replace(folder / name)
        shutil.rmtree(lease)


def _told(record: TrialRecord) -> dict[str, Any]:
    """A trial's end as an event tells it."""
    return {
        "cell": record.cell,
        "stage": record.stage,
        "trial": record.trial,
        "state": record.state,
        "value": record.value,
        "cause": record.cause,
    }


def _events(folder: SweepFolder) -> Iterator[Mapping[str, Any]]:
    path = folder.path / "events.jsonl"
    for number, line in enumerate(files.read_lines(path), 1):
        yield read_object(path, number, line)


def _torn(path: Path) -> Iterator[Finding]:
    if files.has_torn_tail(path):
        yield Finding(
            side="events",
            kind="torn",
            what="its last line is unfinished",
            where=path.name,
            remedy="the unfinished line is cut off",
            mends=True,
        )
