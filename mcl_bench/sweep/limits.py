"""What a sweep may not exceed: its hours, its device-hours, the room of its checkpoints."""

import time
from collections.abc import Collection, Iterable, Mapping

from mcl_bench.spec import BudgetSpec, Cell
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.budget import Budget
from mcl_bench.sweep.plan import Plan
from mcl_bench.sweep.quota import Quota
from mcl_bench.sweep.trials import Running


class Limits:
    """Closes the search while there is enough left to confirm all cells, and says when to leave.

    `spent` is true once the budget has run out in this drive.
    """

    def __init__(self, spec: BudgetSpec, *, cells: Iterable[Cell], book: Book, plan: Plan) -> None:
        self._book = book
        self._plan = plan
        self._weights: Mapping[str, float] = {}
        self._budget = Budget(spec, cells=cells, ledger=book.ledger)
        self.quota = Quota(
            spec.checkpoint_gb,
            files=book.folder.files,
            note=lambda text: book.say("note", text=text),
        )
        self.spent = False
        if self._budget.closed:
            plan.close()

    @property
    def over(self) -> bool:
        """Whether nothing was left of the budget when the last driver ended."""
        return self._budget.over()

    def begin(self, *, slots: int, weights: Mapping[str, float]) -> None:
        """A drive begins; `weights` are the devices that a trial of each cell holds."""
        self._weights = weights
        closed = self._plan.short and not self._plan.asks
        self._book.say("drive", slots=slots, devices=weights, closed=closed)
        self.quota.open()

    def look(self, *, live: Collection[Running], waiting: Collection[Running]) -> bool:
        """Whether the budget is spent; checkpoints are kept within their quota."""
        unfinished = [*waiting, *live]
        self.quota.tend(self._book.folder.trial(*running.name) for running in unfinished)
        self.spent = self.spent or self._budget.over(time.monotonic())
        return self.spent

    def close_search(self, live: Collection[Running]) -> None:
        """Ask no more search trials, if what is left of the budget is for confirming all cells."""
        if self._plan.asks and self._budget.closes(
            self._plan, live, weights=self._weights, clock=time.monotonic()
        ):
            self._plan.close()
            self._book.say("close", limits=self._budget.limits)
