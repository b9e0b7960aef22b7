"""Where a sweep's time went, as people are told: read from its folder, and put into words."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mcl_bench.records import Costs, DataError, Owner

NAMES: Mapping[Owner, str] = {
    "training": "training",
    "startup": "start-up",
    "data_wait": "waiting for data",
    "evaluation": "evaluation",
    "failure": "lost to failures",
    "preemption": "lost to pre-emption",
    "pruned": "pruned",
    "duplicate": "duplicates",
    "idle": "idle",
    "open": "under way",
}
"""What people call each owner."""


def read_costs(folder: Path) -> Costs | None:
    """The costs that the sweep's driver last wrote down; None where none has.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / "costs.json"
    if not path.exists():
        return None
    try:
        return Costs(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} is damaged: {error}",
            remedy="delete it; the driver writes it again from events.jsonl",
        ) from error


def costs_words(costs: Costs) -> str:
    """One sentence: the device-hours by owner, the idle slots, and what known values saved."""
    total = math.fsum(costs.device_seconds.values())
    names = {**NAMES, "idle": "waiting for the driver"}
    parts = ", ".join(
        f"{names[owner]} {share:.0%}" for owner, share in _shares(costs.device_seconds, total)
    )
    words = f"{hours(total)} device-hours" + (f" ({parts})" if parts else "")
    idle = costs.slot_seconds["idle"]
    if costs.driven_seconds > 0:
        words += f"; slots idle {idle / costs.driven_seconds:.0%} of {hours(costs.wall_seconds)} h"
    if costs.duplicates:
        words += f"; {costs.duplicates} duplicates saved {hours(costs.saved_seconds)} device-hours"
    return words


def costs_rows(costs: Costs) -> list[tuple[str, str, str, str]]:
    """A row for each owner that has anything: its name, slot-hours, their share, device-hours."""
    return [
        (
            NAMES[owner],
            hours(seconds),
            f"{seconds / costs.driven_seconds:.1%}" if costs.driven_seconds else "–",
            hours(costs.device_seconds[owner]),
        )
        for owner, seconds in costs.slot_seconds.items()
        if seconds > 0
    ]


def hours(seconds: float) -> str:
    """Hours with three significant digits."""
    return f"{seconds / 3600:.3g}"


def _shares(seconds: Mapping[Owner, float], total: float) -> list[tuple[Owner, float]]:
    """The owners' shares of the total, the largest first; those of less than 0.5 % are left out."""
    if total <= 0:
        return []
    found = [(owner, own / total) for owner, own in seconds.items() if own / total >= 0.005]
    return sorted(found, key=lambda entry: -entry[1])
