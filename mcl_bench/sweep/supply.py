"""What starts next: what was left running, then what the plan asks for; never one key twice.

A trial whose effective key is complete is told that value; one whose key is running waits for it.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping, Set
from typing import Any

from mcl_bench.records import Stage, TrialName
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.pieces import Pieces
from mcl_bench.sweep.plan import Ask, CellPlan, Confirm, Finished, Plan, Standing, Wait
from mcl_bench.sweep.settings import Setting, Settings
from mcl_bench.sweep.studies import Studies, StudyTrial
from mcl_bench.sweep.trials import Running

Resources = Mapping[str, Mapping[str, float]]
"""What a trial of each cell is given: CPUs and GPUs."""


class Supply:
    """The trials of one sweep that are to start, in order."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        book: Book,
        studies: Studies,
        settings: Settings,
        pieces: Pieces,
    ) -> None:
        self._cells = {cell.id: cell for cell in experiment.cells}
        self._trials = experiment.spec.search.trials
        self._book = book
        self._studies = studies
        self._settings = settings
        self._pieces = pieces
        self._resources: Resources = {}
        self._ready: deque[Running] = deque()
        self._parked: dict[str, list[Running]] = {}
        self._left: list[tuple[str, Stage, StudyTrial]] = []
        self._retried: dict[str, deque[int]] = {cell: deque() for cell in self._cells}
        self._retried_confirm: dict[tuple[str, int, int], int] = {}
        self.plan = Plan(
            CellPlan(
                id=cell,
                trials=self._cells[cell].trials,
                seeds=experiment.spec.confirm.seeds,
                minimise=experiment.spec.search.metric == "val/loss",
            )
            for cell in self._cells
        )
        self._read_studies()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run."""
        return not self._left and isinstance(self.plan.next_step(), Finished)

    @property
    def totals(self) -> Mapping[str, Any]:
        """What of the experiment may grow and decides what is asked."""
        enqueue = {cell.id: len(cell.enqueue) for cell in self._cells.values()}
        return {"trials": self._trials, "enqueue": enqueue}

    @property
    def waiting(self) -> list[Running]:
        """The trials that have been asked and are not placed."""
        parked = [running for group in self._parked.values() for running in group]
        return [*self._ready, *parked]

    def begin(self, resources: Resources) -> list[Running]:
        """Take up what an earlier driver left running; returns what is not to start again.

        That is what has ended by its record, and what is to run again in smaller pieces.
        """
        self._resources = resources
        spent = self._book.folder.spent() if self._left else {}
        over = []
        for cell, stage, trial in self._left:
            running = self._take_up(cell, stage, trial, spent=spent)
            recorded = self._book.record_of(running.name) is not None
            if recorded or self._pieces.are_too_few(running):
                over.append(running)
            else:
                self.again(running)
        self._left = []
        return over

    def renew(self, cells: Set[str]) -> None:
        """Owe all trials of these cells once more; every one that was asked has ended."""
        for cell in cells:
            self.plan.cells[cell].renew()
        self._retried_confirm = {
            place: number
            for place, number in self._retried_confirm.items()
            if place[0] not in cells
        }
        self.owe_again(cells)

    def owe_again(self, cells: Set[str]) -> None:
        """Ask again for those search trials of these cells that are to run again."""
        for cell in cells:
            self._retried[cell] = deque(self._unanswered(cell))

    def withdraw(self, cells: Set[str]) -> list[Running]:
        """The trials of these cells that wait to start, which they do no more."""
        withdrawn = [running for running in self.waiting if running.cell in cells]
        self._ready = deque(running for running in self._ready if running.cell not in cells)
        for key, group in list(self._parked.items()):
            self._parked[key] = [running for running in group if running.cell not in cells]
        return withdrawn

    def next(self) -> Running | Wait | Finished:
        """The next trial; `Wait` while only running trials are left."""
        if self._ready:
            return self._ready.popleft()
        step = self.plan.next_step()
        if isinstance(step, Wait | Finished):
            return step
        return self._ask(step) if isinstance(step, Ask) else self._confirm(step)

    def again(self, running: Running) -> None:
        """Let a trial start once more; before all others where it is to be alone."""
        if running.alone:
            self._ready.appendleft(running)
        else:
            self._ready.append(running)

    def park(self, running: Running) -> None:
        """Let a trial wait for the end of another with its key."""
        self._parked.setdefault(running.setting.key, []).append(running)

    def unpark(self, key: str) -> list[Running]:
        """The trials that have waited for the end of one with this key."""
        return self._parked.pop(key, [])

    def device(self, cell: str) -> str:
        """Where the cell's trials train: `cuda` if they are given a GPU, else `cpu`."""
        return "cuda" if self._resources[cell]["GPU"] > 0 else "cpu"

    def _read_studies(self) -> None:
        """Fill the plan with what the studies hold; note what was left running."""
        for cell in self._cells:
            for trial in self._studies.trials(cell, "search"):
                self.plan.asked(cell, trial.number)
                if trial.state == "RUNNING":
                    self._left.append((cell, "search", trial))
                else:
                    self.plan.searched(cell, trial.number, self._standing(cell, "search", trial))
            self._retried[cell].extend(self._unanswered(cell))
            for trial in self._studies.trials(cell, "confirm"):
                of = trial.attributes["of"]
                # Nobody asks for the seeds of a search trial that is to run again.
                if self.plan.cells[cell].search[of].outcome == "retried":
                    if trial.state == "RUNNING":
                        self._left.append((cell, "confirm", trial))
                    continue
                k = self._settings.confirm_number(trial.attributes["seed"])
                if self._is_retried(cell, "confirm", trial):
                    self._retried_confirm[cell, of, k] = trial.number
                self.plan.confirming(cell, of, k)
                if trial.state == "RUNNING":
                    self._left.append((cell, "confirm", trial))
                else:
                    self.plan.confirmed(cell, of, k, self._standing(cell, "confirm", trial))

    def _standing(self, cell: str, stage: Stage, trial: StudyTrial) -> Standing:
        """How a trial has ended; Optuna can't be told that a failed one is to run again."""
        retried = self._is_retried(cell, stage, trial)
        return Standing(outcome="retried") if retried else trial.standing

    def _is_retried(self, cell: str, stage: Stage, trial: StudyTrial) -> bool:
        record = self._book.record_of((cell, stage, trial.number))
        return record is not None and record.state == "retried"

    def _unanswered(self, cell: str) -> list[int]:
        """The search trials that are to run again and have no second yet, by number."""
        trials = list(self._studies.trials(cell, "search"))
        answered = {trial.attributes.get("retry_of") for trial in trials}
        return [
            trial.number
            for trial in trials
            if trial.number not in answered and self._is_retried(cell, "search", trial)
        ]

    def _take_up(
        self,
        cell: str,
        stage: Stage,
        trial: StudyTrial,
        *,
        spent: Mapping[TrialName, tuple[float, float]],
    ) -> Running:
        trial = self._studies.adopt(cell, stage, trial.number)
        confirm = stage == "confirm"
        k = self._settings.confirm_number(trial.attributes["seed"]) if confirm else 0
        pieces = trial.attributes.get("pieces", 1)
        setting = self._setting(cell, trial.params, stage, k, pieces=pieces)
        # The key it was launched with: a library may have been upgraded since, which is no fault.
        key = trial.attributes.get("key", setting.key)
        started, seconds = spent.get((cell, stage, trial.number), (0.0, 0.0))
        return Running(
            cell=cell,
            stage=stage,
            number=trial.number,
            setting=dataclasses.replace(setting, key=key),
            of=trial.attributes.get("of"),
            k=k,
            retry_of=trial.attributes.get("retry_of"),
            ooms=trial.attributes.get("ooms", 0),
            run_id=trial.attributes.get("run_id") or None,
            started=started,
            seconds=seconds,
        )

    def _setting(
        self,
        cell: str,
        params: Mapping[str, Any],
        stage: Stage,
        k: int,
        *,
        pieces: int | None = None,
    ) -> Setting:
        return self._settings.setting(
            self._cells[cell],
            params,
            stage=stage,
            k=k,
            device=self.device(cell),
            pieces=self._pieces.of(cell) if pieces is None else pieces,
        )

    def _ask(self, step: Ask) -> Running:
        reach("before-ask")
        again = self._retried[step.cell]
        number = again.popleft() if again else None
        trial = (
            self._studies.ask(step.cell)
            if number is None
            else self._studies.ask_again(step.cell, number)
        )
        reach("after-ask")
        self.plan.asked(step.cell, trial.number)
        running = Running(
            cell=step.cell,
            stage="search",
            number=trial.number,
            setting=self._setting(step.cell, trial.params, "search", 0),
            retry_of=number,
        )
        self._say_asked(running, params=trial.params)
        return running

    def _confirm(self, step: Confirm) -> Running:
        params = self._studies.params(step.cell, step.of)
        setting = self._setting(step.cell, params, "confirm", step.k)
        retry_of = self._retried_confirm.pop((step.cell, step.of, step.k), None)
        reach("before-confirm")
        trial = self._studies.ask_confirm(
            step.cell, of=step.of, seed=setting.seed, key=setting.key, retry_of=retry_of
        )
        reach("after-confirm")
        self.plan.confirming(step.cell, step.of, step.k)
        running = Running(
            cell=step.cell,
            stage="confirm",
            number=trial.number,
            setting=setting,
            of=step.of,
            k=step.k,
            retry_of=retry_of,
        )
        self._say_asked(running, of=step.of, seed=setting.seed)
        return running

    def _say_asked(self, running: Running, **details: Any) -> None:
        if running.retry_of is not None:
            details["retry_of"] = running.retry_of
        self._book.say("ask", running, **details)
