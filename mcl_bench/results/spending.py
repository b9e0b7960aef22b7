"""What each cell took of the devices, by how its trials ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mcl_bench.results.story import CellStory, Group

ENDS = ("search complete", "search not finished", "confirm", "superseded", "failed")
"""What device time went into, in the order of the bars."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One cell's device seconds by what they went into, and its share of the dearest cell's."""

    cell: str
    data: str
    model: str
    arm: str
    seconds: dict[str, float]
    total: float
    percent: dict[str, float]


def spending(groups: Sequence[Group]) -> list[Spent]:
    """What every cell took, in the order of the groups."""
    found = [(group, cell, _seconds(cell)) for group in groups for cell in group.cells]
    dearest = max((math.fsum(seconds.values()) for _, _, seconds in found), default=0.0) or 1.0
    return [
        Spent(
            cell=cell.cell.id,
            data=group.data,
            model=group.model,
            arm=cell.arm,
            seconds=seconds,
            total=math.fsum(seconds.values()),
            percent={end: round(100 * value / dearest, 2) for end, value in seconds.items()},
        )
        for group, cell, seconds in found
    ]


def _seconds(cell: CellStory) -> dict[str, float]:
    seconds = dict.fromkeys(ENDS, 0.0)
    for record in cell.records:
        if math.isfinite(record.device_seconds):
            seconds[_end(record.stage, record.state)] += record.device_seconds
    return seconds


def _end(stage: str, state: str) -> str:
    if state in {"failed", "retried"}:
        return "failed"
    if state == "superseded":
        return "superseded"
    if stage == "confirm":
        return "confirm"
    return "search complete" if state in {"complete", "duplicate"} else "search not finished"
