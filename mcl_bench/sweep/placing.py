"""Gives out trials as the cluster has room for them. It knows no Ray.

A trial is asked for only when there is room for it, so no setting waits in Optuna while others
run. Cells of small trials take the turns of one whose trials do not fit, until they are ahead of
it by more than the plan has patience for: then the next trial given out is one of that cell's,
and the node that it is to run on takes no other until it has room.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set

from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.places import Need, Node, Places
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.trials import Launch

FOLLOW_SECONDS = 1.0
"""How often it is looked which nodes there are."""

Watch = Callable[[], Iterable[Node]]
"""The nodes that trials may run on now."""


class Placer:
    """The driver's trials, one at a time, as nodes have room for them.

    `needs` are what a trial of each cell is given, `limits` how many of a cell's run at once, and
    `limit` how many of all cells do (None: as many as fit). `tell` is told what people should know.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        watch: Watch,
        needs: Mapping[str, Need],
        limits: Mapping[str, int | None],
        limit: int | None,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._watch = watch
        self._needs = needs
        self._limits = limits
        self._limit = limit
        self._tell = tell
        self._clock = clock
        self._cells: dict[str, str] = {}
        self._live: Counter[str] = Counter()
        self._held: list[Launch] = []
        self._places = Places(watch())
        self._followed = clock()
        self._told: set[str] = set()

    def next(self) -> Launch | Finished | None:
        """The next trial to place; None while there is no room, or nothing can start yet."""
        self._follow()
        if self._limit is not None and len(self._places) >= self._limit:
            return None
        for launch in self._held:
            if self._below_limit(launch.trial.id.cell):
                self._held.remove(launch)
                return self._place(launch)
        room = {cell for cell in self._needs if self._has_room(cell)}
        if not room and self._cells:
            return None
        self._bar(room)
        step = self._driver.next()
        if not isinstance(step, Launch):
            return step
        if not self._below_limit(step.trial.id.cell):  # one that ran before the limit was lowered
            self._held.append(step)
            return None
        return self._place(step)

    def stands(self, lease: str, address: str) -> None:
        """A trial has been heard from, on the node of this address."""
        self._places.stands(lease, address)

    def free(self, lease: str) -> None:
        """A trial has left its place."""
        self._places.free(lease)
        cell = self._cells.pop(lease, None)
        if cell is not None:
            self._live[cell] -= 1

    def _place(self, launch: Launch) -> Launch:
        cell, lease = launch.trial.id.cell, launch.trial.lease
        self._cells[lease] = cell
        self._live[cell] += 1
        self._places.take(lease, launch.resources)
        return launch

    def _bar(self, room: Set[str]) -> None:
        """Let the plan ask only cells that there is room for, or the one that has waited enough."""
        plan = self._driver.plan
        plan.barred = set(self._needs) - room
        overdue = plan.overdue() if plan.barred and room else None
        if overdue is not None and self._below_limit(overdue) and self._can_hold(overdue):
            plan.barred = set(self._needs) - {overdue}

    def _follow(self) -> None:
        now = self._clock()
        if now - self._followed >= FOLLOW_SECONDS:
            self._followed = now
            self._places.follow(self._watch())
            self._tell_homeless()

    def _tell_homeless(self) -> None:
        """Say once that the nodes are gone which could hold a cell's trials, or one run alone."""
        cells = {cell for cell in self._needs if not self._can_hold(cell)}
        lone = {self._cells[lease] for lease in self._places.homeless()} - cells
        said = {f"{cell}: no node can hold its trials now; they wait for one" for cell in cells} | {
            f"{cell}: no node can hold its trial that is to run alone now; it waits for one"
            for cell in lone
        }
        for text in sorted(said - self._told):
            self._tell(text)
        self._told = said

    def _has_room(self, cell: str) -> bool:
        return self._below_limit(cell) and self._places.fits(self._needs[cell])

    def _can_hold(self, cell: str) -> bool:
        return self._places.can_hold(self._needs[cell])

    def _below_limit(self, cell: str) -> bool:
        limit = self._limits[cell]
        return limit is None or self._live[cell] < limit
