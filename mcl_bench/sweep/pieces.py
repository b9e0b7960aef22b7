"""In how many pieces the batches of each data × model are trained, after one ran out of memory.

The decision is an event, `pieces`, written before anything follows from it. What follows is derived
from it, at once and by every later driver: no trial that was trained in fewer pieces counts any
more. One that has ended is marked `retried` by a line of `records.jsonl`, as `mcl-bench retry` does
it, and is asked again under a new number; a running one is ended in that state.
"""

from collections.abc import Mapping, Set
from typing import Any

from mcl_bench.records import TrialRecord
from mcl_bench.spec import Cell, Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Running
from mcl_bench.training import SMALLEST_PIECE

SETTING = "train.micro_batches"
"""The setting that says in how many pieces a trial's batches are trained; absent where in one."""


class Pieces:
    """The decisions of one sweep, and what they have done to its trials."""

    def __init__(self, experiment: Experiment, *, book: Book, studies: Studies) -> None:
        self._cells = {cell.id: cell for cell in experiment.cells}
        self._book = book
        self._studies = studies
        for event in book.folder.events():
            if event["event"] == "pieces":
                self._take(event)
        self.set_aside()

    def of(self, cell: str) -> int:
        """In how many pieces the cell's trials are trained that are asked now."""
        return self._studies.pieces.get(cell, self._cells[cell].spec.train.micro_batches)

    def cause(self, cell: str) -> str:
        """Why a trial of this cell is run again."""
        return f"run again with batches in {self.of(cell)} pieces"

    def are_too_few(self, running: Running) -> bool:
        """Whether this trial was asked before it was decided on smaller pieces."""
        return _pieces(running) < self.of(running.cell)

    def smaller(self, running: Running) -> int | None:
        """Into how many pieces to cut what this trial had no memory for; None if that can't be.

        Every arm of its data × model must allow it, and a piece must hold two images.
        """
        count = 2 * _pieces(running)
        allowed = all(cell.spec.train.allow_micro_batch for cell in self._group(running.cell))
        fits = running.setting.spec.train.batch_size // count >= SMALLEST_PIECE
        return count if allowed and fits else None

    def decide(self, running: Running, count: int, *, cause: str) -> Set[str]:
        """Train all arms of this trial's data × model in so many pieces from now on: their cells.

        It is written down; the trials that are there stay as they are until they are set aside.
        """
        group = self._group(running.cell)
        name = f"{running.cell}/{running.stage}-{running.number}"
        cells = [cell.id for cell in group]
        event: dict[str, Any] = {
            "data": group[0].data_label,
            "model": group[0].model_label,
            "cells": cells,
            "pieces": count,
            "by": name,
            "cause": cause,
        }
        reach("before-pieces")
        self._book.say("pieces", **event)
        reach("after-pieces")
        self._take(event)
        self._book.note(
            f"{name} has run out of memory twice: every batch of {', '.join(cells)} is "
            f"trained in {count} pieces from now on, and what was trained in fewer is run again"
        )
        return frozenset(cells)

    def set_aside(self) -> list[TrialRecord]:
        """Let no trial count that was trained in too few pieces; returns the records it marked.

        Samplers and pruners learn nothing from them any more.
        """
        marked = []
        for record in list(self._book.records):
            if record.config.get(SETTING, 1) >= self._studies.pieces.get(record.cell, 1):
                continue
            if record.state != "retried":
                cause = self.cause(record.cell)
                marked.append(self._book.set_aside(record, cause=cause))
                reach("in-pieces")
            if record.stage == "search":
                self._studies.set_aside(record.cell, record.trial)
        return marked

    def _take(self, event: Mapping[str, Any]) -> None:
        for cell in self._cells.values():
            if cell.group == (event["data"], event["model"]):
                self._studies.pieces[cell.id] = event["pieces"]

    def _group(self, cell: str) -> list[Cell]:
        """All arms of a cell's data × model."""
        group = self._cells[cell].group
        return [one for one in self._cells.values() if one.group == group]


def _pieces(running: Running) -> int:
    return running.setting.spec.train.micro_batches
