"""How long trials of a cell have taken before, in any sweep of this home; nothing is guessed.

Alike are trials of one dataset, as it is read, cropped and cut, one backbone, as many epochs, and
one kind of device.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench.records import DataError, Stage, TrialName, TrialRecord
from mcl_bench.results.folder import read_events, read_records, sweep_folders
from mcl_bench.spec import Cell

NO_MATTER = frozenset({"data.root", "data.store", "data.split_seed", "data.max_faults"})
"""Settings of the data that leave the time of an epoch as it is."""

TIMED = frozenset({"complete", "pruned", "diverged"})
"""The states of trials whose time counts: they trained, and did not fail."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast earlier trials like a cell's were.

    `trials` counts them. `search` and `confirm` are seconds of the device for an epoch, as the
    lower quartile, the median and the upper quartile. `run_share` is the mean share of its epochs
    that a search trial ran, `pruned_share` how many of them were pruned; None without any.
    """

    trials: int
    search: tuple[float, float, float] | None
    confirm: tuple[float, float, float] | None
    run_share: float | None
    pruned_share: float | None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the record of a home says of earlier trials, and which sweeps could not be read."""

    paces: Mapping[str, Pace | None]
    unread: tuple[str, ...]


def known_paces(home: Path, cells: Iterable[Cell], *, device: str) -> Known:
    """The pace of each cell on this kind of device; None where there is no history of it."""
    by_kind: dict[str, list[TrialRecord]] = {}
    unread = []
    for folder in sweep_folders(home):
        try:
            for record, used in _timed(folder):
                if used == device:
                    by_kind.setdefault(_kind(record.config, record.backbone), []).append(record)
        except DataError as error:
            unread.append(f"the history of sweep {folder.name} can't be read: {error.rule}")
    paces = {}
    for cell in cells:
        alike = by_kind.get(_kind(cell.settings(), cell.spec.model.backbone))
        paces[cell.id] = _pace(alike) if alike else None
    return Known(paces=paces, unread=tuple(unread))


def _timed(folder: Path) -> Iterator[tuple[TrialRecord, str]]:
    """The trials of one sweep whose time counts, each with its kind of device."""
    records = [
        record
        for record in read_records(folder)
        if record.state in TIMED and record.epochs and record.device_seconds > 0
    ]
    devices: dict[TrialName, str] = {}
    for event in read_events(folder) if records else ():
        if event["event"] == "launch":
            name = (event["cell"], event["stage"], event["trial"])
            devices[name] = event.get("device", "cpu")  # before it was written, none had a GPU
    for record in records:
        yield record, devices.get((record.cell, record.stage, record.trial), "cpu")


def _kind(settings: Mapping[str, Any], backbone: str) -> str:
    """What the time of an epoch and the number of epochs depend on most, as one text."""
    data = {
        key: value
        for key, value in settings.items()
        if key.startswith("data.") and key not in NO_MATTER
    }
    return json.dumps([data, backbone, settings["train.epochs"]], sort_keys=True)


def _pace(alike: Sequence[TrialRecord]) -> Pace:
    search = [record for record in alike if record.stage == "search"]
    shares = [len(record.epochs) / record.config["train.epochs"] for record in search]
    pruned = sum(record.state == "pruned" for record in search)
    return Pace(
        trials=len(alike),
        search=_quartiles(alike, "search"),
        confirm=_quartiles(alike, "confirm"),
        run_share=statistics.fmean(shares) if shares else None,
        pruned_share=pruned / len(search) if search else None,
    )


def _quartiles(alike: Iterable[TrialRecord], stage: Stage) -> tuple[float, float, float] | None:
    seconds = [
        record.device_seconds / len(record.epochs) for record in alike if record.stage == stage
    ]
    if not seconds:
        return None
    if len(seconds) == 1:
        return seconds[0], seconds[0], seconds[0]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, middle, high
