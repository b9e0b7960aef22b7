"""All of Optuna: two studies a cell, the only memory of what was asked and how it ended."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mcl_bench.records import Stage
from mcl_bench.spec import Cell, SearchSpec, grid_point, num_grid_points
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.mirror import Mirror
from mcl_bench.sweep.plan import Standing
from mcl_bench.sweep.pruners import pruner_of
from mcl_bench.sweep.samplers import Rows, decide, distribution, sampler_of

STAGES: tuple[Stage, ...] = ("search", "confirm")
"""A study for each."""

STEP_STATES = {
    "complete": TrialState.COMPLETE,
    "duplicate": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "retried": TrialState.FAIL,
}
"""How each outcome is told to Optuna."""


@dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """One trial as Optuna holds it."""

    number: int
    state: str
    params: Mapping[str, Any]
    value: float | None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def standing(self) -> Standing:
        """The standing of a trial that has ended."""
        plain = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}[self.state]
        return Standing(outcome=self.attributes.get("state", plain), value=self.value)


class Studies:
    """The studies `<name>@<id>/<cell>/search` and `…/confirm` of every cell of one sweep.

    One writer: the driver. A trial is decided on first and then written whole, so that a kill
    leaves it there, running, with all its parameters, or not at all.
    """

    def __init__(
        self,
        storage: str | optuna.storages.BaseStorage,
        *,
        sweep: str,
        sweep_id: str,
        cells: Mapping[str, Cell],
        search: SearchSpec,
        seed: int,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._cells = cells
        self._search = search
        self._seed = seed
        self._distributions = {
            cell.id: {key: distribution(values) for key, values in cell.space.items()}
            for cell in cells.values()
        }
        self._storage = Mirror(
            optuna.storages.RDBStorage(storage) if isinstance(storage, str) else storage
        )
        self._prefix = f"{sweep}@{sweep_id}"
        self._studies: dict[tuple[str, Stage], optuna.Study] = {}
        self._condemned: set[tuple[str, int]] = set()
        self.pieces: dict[str, int] = {}
        """In how many pieces a cell's trials that are asked now train their batches.

        Cells that are not in it train as their settings say.
        """
        self._rows: dict[str, Rows] = {cell: {} for cell in cells}
        known = set(optuna.get_all_study_names(self._storage))
        for cell in cells:
            for stage in STAGES:
                if f"{self._prefix}/{cell}/{stage}" in known:
                    self._studies[cell, stage] = self._study(cell, stage)

    def open(self) -> None:
        """Make the studies that are not there yet."""
        for cell in self._cells:
            for stage in STAGES:
                if (cell, stage) not in self._studies:
                    self._studies[cell, stage] = self._study(cell, stage)

    def trials(self, cell: str, stage: Stage) -> Iterator[StudyTrial]:
        """Every trial of a study that has been asked, by number; waiting ones are left out."""
        for trial in self._known(cell, stage):
            if trial.state != TrialState.WAITING:
                yield _study_trial(trial)

    def count_unasked(self, cell: str) -> int:
        """How many settings of the cell's `enqueue` have not been asked yet."""
        asked = {trial.user_attrs.get("enqueue") for trial in self._known(cell, "search")}
        return sum(index not in asked for index in range(len(self._cells[cell].enqueue)))

    def ask(self, cell: str) -> StudyTrial:
        """The next search trial, with all its parameters; now RUNNING.

        First come trials that wait in the study, then the cell's `enqueue`, then a grid's points
        or what the sampler proposes.
        """
        known = self._known(cell, "search")
        waiting = next((trial for trial in known if trial.state == TrialState.WAITING), None)
        if waiting is not None:
            return self._ask_waiting(cell, waiting)
        fixed, attributes = self._next_fixed(cell)
        draft = self._storage.draft(len(known))
        params = self._decide(cell, draft, fixed)
        reach("in-ask")
        return self._add(
            cell, "search", params=params, attributes=attributes, notes=draft.system_attrs
        )

    def params(self, cell: str, number: int) -> Mapping[str, Any]:
        """The parameters of a search trial."""
        return self._known(cell, "search")[number].params

    def ask_again(self, cell: str, number: int) -> StudyTrial:
        """A new search trial with the parameters of a failed one, its `retry_of`; now RUNNING."""
        return self._add(
            cell, "search", params=self.params(cell, number), attributes={"retry_of": number}
        )

    def ask_confirm(
        self, cell: str, *, of: int, seed: int, key: str, retry_of: int | None = None
    ) -> StudyTrial:
        """A new confirm trial of search trial `of`, with its fixed parameters; now RUNNING.

        `retry_of` is the failed confirm trial whose place it takes, if there is one.
        """
        attributes = {"of": of, "seed": seed, "key": key}
        if retry_of is not None:
            attributes["retry_of"] = retry_of
        return self._add(cell, "confirm", params=self.params(cell, of), attributes=attributes)

    def adopt(self, cell: str, stage: Stage, number: int) -> StudyTrial:
        """A trial left RUNNING by an earlier driver, taken up with its number and parameters.

        What such a trial lacks, if someone else began it, its own seeded sampler decides now.
        """
        trial = self._known(cell, stage)[number]
        if trial.params.keys() < self._distributions[cell].keys():
            draft = self._storage.draft(number)
            fixed = trial.system_attrs.get("fixed_params", {})
            self._complete(cell, trial, self._decide(cell, draft, fixed), draft)
        return _study_trial(trial)

    def note(self, cell: str, stage: Stage, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial that has not been told."""
        trial = self._known(cell, stage)[number]
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial._trial_id, name, value)

    def report(self, cell: str, number: int, *, epoch: int, value: float) -> bool:
        """Report a search trial's metric after an epoch, once; True if it should be pruned.

        A trial that should be pruned stays so, also where its driver died before it was told.
        """
        trial = self._known(cell, "search")[number]
        if epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        study = self._studies[cell, "search"]
        if epoch == trial.last_step and study.pruner.prune(study, trial):
            self._condemned.add((cell, number))
        return (cell, number) in self._condemned

    def set_aside(self, cell: str, number: int) -> None:
        """Let samplers and pruners learn nothing from a search trial that has ended."""
        trial = self._known(cell, "search")[number]
        if trial.state.is_finished():
            self._storage.set_aside(trial._trial_id)

    def tell(
        self, cell: str, stage: Stage, number: int, *, outcome: str, value: float | None
    ) -> None:
        """Tell how a trial ended; telling a finished trial again changes nothing."""
        state = STEP_STATES[outcome]
        self._studies[cell, stage].tell(
            number,
            value if state is TrialState.COMPLETE else None,
            state=state,
            skip_if_finished=True,
        )
        self._condemned.discard((cell, number))

    def _known(self, cell: str, stage: Stage) -> list[FrozenTrial]:
        """The trials of a study by number, as they are held; none where it has not been made."""
        if (cell, stage) not in self._studies:
            return []
        return self._storage.known_trials(self._studies[cell, stage]._study_id)

    def _study(self, cell: str, stage: Stage) -> optuna.Study:
        minimise = stage == "search" and self._search.metric == "val/loss"
        pruner = pruner_of(self._search.pruner, epochs=self._cells[cell].most_epochs)
        return optuna.create_study(
            study_name=f"{self._prefix}/{cell}/{stage}",
            storage=self._storage,
            direction="minimize" if minimise else "maximize",
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner if stage == "search" else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )

    def _next_fixed(self, cell: str) -> tuple[Mapping[str, Any], dict[str, int]]:
        """What is fixed of the next trial, and the attribute that says why."""
        known, own = self._known(cell, "search"), self._cells[cell]
        asked = {trial.user_attrs.get("enqueue") for trial in known}
        for index, params in enumerate(own.enqueue):
            if index not in asked:
                return params, {"enqueue": index}
        if self._search.sampler != "grid":
            return {}, {}
        asked = {trial.user_attrs.get("grid") for trial in known}
        left = (place for place in range(num_grid_points(own.space)) if place not in asked)
        place = next(left, None)
        assert place is not None, "a cell has no more trials than its grid has points"
        return grid_point(own.space, place), {"grid": place}

    def _decide(self, cell: str, draft: FrozenTrial, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a trial that is about to be written."""
        study = optuna.load_study(
            study_name=self._studies[cell, "search"].study_name,
            storage=self._storage,
            sampler=sampler_of(
                self._search,
                self._cells[cell],
                seed=self._seed,
                number=draft.number,
                rows=self._rows[cell],
            ),
        )
        return decide(study, draft, distributions=self._distributions[cell], fixed=fixed)

    def _add(
        self,
        cell: str,
        stage: Stage,
        *,
        params: Mapping[str, Any],
        attributes: dict[str, Any],
        notes: Mapping[str, Any] | None = None,
    ) -> StudyTrial:
        """Write a trial whole, in one step; `notes` are the sampler's own."""
        known = self._known(cell, stage)
        number = len(known)
        if cell in self.pieces:
            attributes = {**attributes, "pieces": self.pieces[cell]}
        self._studies[cell, stage].add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=self._distributions[cell],
                user_attrs=attributes,
                system_attrs={
                    name: note
                    for name, note in (notes or {}).items()
                    if "relative_params" not in name  # they are for trials without parameters yet
                },
            )
        )
        return _study_trial(known[number])

    def _ask_waiting(self, cell: str, trial: FrozenTrial) -> StudyTrial:
        """A trial that waits in the study, with what is not fixed of it; now RUNNING."""
        draft = self._storage.draft(trial.number)
        params = self._decide(cell, draft, trial.system_attrs.get("fixed_params", {}))
        reach("in-ask")
        self._complete(cell, trial, params, draft)
        if cell in self.pieces:
            self._storage.set_trial_user_attr(trial._trial_id, "pieces", self.pieces[cell])
        self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        return _study_trial(trial)

    def _complete(
        self, cell: str, trial: FrozenTrial, params: Mapping[str, Any], draft: FrozenTrial
    ) -> None:
        """Write what a trial lacks of its parameters, and what the sampler noted beside them."""
        for name, values in self._distributions[cell].items():
            if name not in trial.params:
                self._storage.set_trial_param(
                    trial._trial_id, name, values.to_internal_repr(params[name]), values
                )
        for name, note in draft.system_attrs.items():
            self._storage.set_trial_system_attr(trial._trial_id, name, note)


def _study_trial(trial: FrozenTrial) -> StudyTrial:
    return StudyTrial(
        number=trial.number,
        state=trial.state.name,
        params=dict(trial.params),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        attributes=dict(trial.user_attrs),
    )
