"""Which rows of one table were made by unlike protocols, and what is unlike about them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcl_bench.results.protocol import Protocol, Unlike, unlike
from mcl_bench.results.row import Row

MARK = "†"
"""Marks a row whose data set and backbone another sweep of the table scored in another way."""


@dataclass(frozen=True, kw_only=True)
class UnlikeRows:
    """The rows of one table that are marked, as (sweep, cell), and a note for each data × model."""

    marked: frozenset[tuple[str, str]]
    notes: tuple[str, ...]

    def mark(self, row: Row) -> str:
        """What stands behind the row's name: the mark, or nothing."""
        return MARK if (row.sweep, row.cell) in self.marked else ""


def unlike_rows(rows: Sequence[Row]) -> UnlikeRows:
    """The rows that can't be compared with those of another sweep in this table.

    A row is marked where another sweep has rows of its data set and backbone, and none of them has
    its protocol.
    """
    groups: dict[tuple[str, str], dict[str, dict[str, Protocol]]] = {}
    for row in rows:
        if row.aside.protocol is not None:
            of_sweep = groups.setdefault((row.dataset, row.backbone), {}).setdefault(row.sweep, {})
            of_sweep[_identity(row.aside.protocol)] = row.aside.protocol
    faults = {group: _faults(sweeps.values()) for group, sweeps in groups.items()}
    return UnlikeRows(
        marked=frozenset(
            (row.sweep, row.cell)
            for row in rows
            if row.aside.protocol is not None
            and _identity(row.aside.protocol) in faults[row.dataset, row.backbone]
        ),
        notes=tuple(
            _note(group, [fault for unlike_ones in found.values() for fault in unlike_ones])
            for group, found in faults.items()
            if found
        ),
    )


def _identity(protocol: Protocol) -> str:
    return json.dumps(protocol, sort_keys=True)


def _faults(sweeps: Iterable[Mapping[str, Protocol]]) -> dict[str, tuple[Unlike, ...]]:
    """What is unlike of each protocol that some sweep has none of: against its nearest there."""
    # Sweeps by the protocols that they have: of a thousand sweeps there are a few kinds.
    kinds = {frozenset(protocols): protocols for protocols in sweeps}
    every = {name: protocol for protocols in kinds.values() for name, protocol in protocols.items()}
    found = {}
    for name, protocol in every.items():
        for protocols in kinds.values():
            if name not in protocols:
                differences = [unlike(protocol, other) for other in protocols.values()]
                found[name] = min(differences, key=len)
                break
    return found


def _note(group: tuple[str, str], faults: Iterable[Unlike]) -> str:
    values: dict[str, dict[str, None]] = {}
    for fault in faults:
        values.setdefault(fault.key, {}).update(dict.fromkeys([fault.a, fault.b]))
    what = "; ".join(f"{key} ({' / '.join(found)})" for key, found in values.items())
    return (
        f"{MARK} {' × '.join(group)}: sweeps with unlike protocols, which can't be compared as "
        f"losses. Unlike: {what}."
    )
