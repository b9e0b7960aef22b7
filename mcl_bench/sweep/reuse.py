"""What other sweeps of this `MCL_HOME` know: the complete search trials, by effective key.

Their `records.jsonl` are read once, without being parsed: where a key stands is noted, and a line
is read whole only when its key is asked for. Nothing in them can fail a sweep: a line that is
damaged, or of a newer mcl_bench, is skipped with a note.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mcl_bench.records import TrialRecord
from mcl_bench.sweep.trials import MEASURED

HEAD = re.compile(
    rb'\{"sweep": "[^"]*", "cell": "([^"]+)", .*?"stage": "(search|confirm)", "trial": (\d+), '
    rb'"seed": -?\d+, "state": "([a-z]+)", "key": "([0-9a-f]+)"'
)
"""The head of a record's line, as far as its key."""

Note = Callable[[str], None]
"""Told what was skipped, in words."""


class Place(NamedTuple):
    """Where a record stands."""

    path: Path
    offset: int


class KnownTrials:
    """Complete search trials of all sweeps but one, by effective key."""

    def __init__(self, sweeps: Path, *, without: str, metric: str, note: Note) -> None:
        self._column = next(column for column, name in MEASURED.items() if name == metric)
        self._note = note
        self._places: dict[str, Place] = {}
        for path in sorted(sweeps.glob("*/records.jsonl")):
            if path.parent.name != without:
                for key, place in self._read(path):
                    self._places.setdefault(key, place)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> TrialRecord | None:
        """The known trial with this key, its value being that of the metric asked for.

        Its `sweep` is the name of the folder that it stands in.
        """
        place = self._places.get(key)
        if place is None:
            return None
        record = self._record(place)
        value = None if record is None else getattr(record, self._column)
        if record is None or record.key != key or not isinstance(value, float):
            del self._places[key]
            return None
        return dataclasses.replace(record, sweep=place.path.parent.name, value=value)

    def _record(self, place: Place) -> TrialRecord | None:
        try:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                return TrialRecord.from_json(file.readline().decode())
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = str(error).partition("\n")[0][:120]
            self._note(f"search.reuse: a record of {place.path} is skipped: {reason}")
            return None

    def _read(self, path: Path) -> Iterator[tuple[str, Place]]:
        """The keys of the search trials that are complete by their last line, and where it is."""
        found: dict[tuple[bytes, bytes, bytes], tuple[bytes, bytes, int]] = {}
        damaged = 0
        try:
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    head = HEAD.match(line)
                    if head is not None and line.endswith(b"}\n"):
                        cell, stage, trial, state, key = head.groups()
                        found[cell, stage, trial] = (state, key, offset)
                    elif line.endswith(b"\n"):  # else its driver is writing it, or has died
                        damaged += 1
                    offset += len(line)
        except OSError as error:
            self._note(f"search.reuse: {path} is skipped: {error.strerror or error}")
            return
        if damaged:
            self._note(
                f"search.reuse: {path} has lines that can't be read, {damaged} in all: skipped"
            )
        for (_, stage, _), (state, key, offset) in found.items():
            if (stage, state) == (b"search", b"complete"):
                yield key.decode(), Place(path, offset)
