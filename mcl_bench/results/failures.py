"""Trials without a result, counted by their cause, with an example of each."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mcl_bench.records import TrialRecord

WITHOUT = ("failed", "retried", "diverged")
"""The states of trials that left no result; pruned ones were stopped on purpose."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One cause: how many trials ended by it, in which cells, and one of them."""

    state: str
    cause: str
    count: int
    cells: tuple[str, ...]
    example: str


def failures(records: Iterable[TrialRecord]) -> list[Failure]:
    """The causes, the most frequent first; those that differ in numbers only are one."""
    found: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in records:
        if record.state in WITHOUT:
            cause = record.cause or "not recorded"
            found.setdefault((record.state, re.sub(r"\d+", "0", cause)), []).append(record)
    return [
        Failure(
            state=state,
            cause=known[0].cause or "not recorded",
            count=len(known),
            cells=tuple(dict.fromkeys(record.cell for record in known)),
            example=f"{known[0].cell}/{known[0].stage}-{known[0].trial}",
        )
        for (state, _), known in sorted(found.items(), key=lambda entry: -len(entry[1]))
    ]
