"""The sides of a sweep: all looked at together, and each mended by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mcl_bench.doctor.comparison import COMPARED
from mcl_bench.records import Finding, Inventory

SETTLE_SECONDS = 60.0
"""While a driver runs, a trial is looked at so long after its end: it may still be written."""

ROUNDS = 3
"""What is mended can bring another fault to light; so often it is looked again."""


class Side(Protocol):
    """One place where a sweep is recorded: what it believes, and how it is mended."""

    @property
    def name(self) -> str:
        """What findings that are this side's to mend call it."""
        ...

    def inventory(self) -> Inventory:
        """What this side believes exists."""
        ...

    def mend(self, findings: Sequence[Finding]) -> None:
        """Mend these findings, which are this side's; each can be mended again."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What was found and is gone, and what is left."""

    mended: tuple[Finding, ...]
    left: tuple[Finding, ...]


def mend(sides: Sequence[Side]) -> Mended:
    """Mend what can be mended, in the order of the sides, and look again."""
    found = examine([side.inventory() for side in sides])
    seen = {_identity(one): one for one in found}
    for _ in range(ROUNDS):
        wanted = [one for one in found if one.mends]
        if not wanted:
            break
        for side in sides:
            own = [one for one in wanted if one.side == side.name]
            if own:
                side.mend(own)
        found = examine([side.inventory() for side in sides])
        seen |= {_identity(one): one for one in found}
    left = {_identity(one) for one in found}
    mended = tuple(one for key, one in seen.items() if key not in left)
    return Mended(mended=mended, left=tuple(found))


def examine(inventories: Sequence[Inventory]) -> list[Finding]:
    """Everything that is wrong, in the order of the sides.

    The side `records` is held to be true; one that is not among the inventories is not looked at.
    """
    sides = {inventory.side: inventory for inventory in inventories}
    found = [fault for inventory in inventories for fault in inventory.faults]
    if "records" in sides:
        truth = {entry.trial: entry for entry in sides["records"].trials}
        for inventory in inventories:
            compare = COMPARED.get(inventory.side)
            if compare is not None:
                found += compare(inventory, truth, sides)
    return found


def settled(inventories: Iterable[Inventory], *, now: float) -> list[Inventory]:
    """What can be looked at while a driver writes: trials that ended some time ago, and no table.

    `now` is Unix time in seconds. Faults of the sides themselves are left out.
    """
    known = {inventory.side: inventory for inventory in inventories}
    quiet = {
        entry.trial
        for entry in known["records"].trials
        if float(entry.words["finished"]) < now - SETTLE_SECONDS
    }
    return [
        replace(
            inventory,
            trials=tuple(entry for entry in inventory.trials if entry.trial in quiet),
            faults=(),
        )
        for inventory in inventories
        if inventory.side not in {"table", "lock", "temp"}
    ]


def _identity(finding: Finding) -> tuple[str, str, str, str | None]:
    return finding.side, finding.kind, finding.where, finding.subject
