"""All of Optuna: two studies a cell, the only memory of what was asked and how it ended."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from mcl_bench.records import DataError, Stage
from mcl_bench.spec import (
    AshaSpec,
    Cell,
    Choice,
    IntRange,
    MedianSpec,
    Range,
    SearchSpec,
    named_seed,
)
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.plan import Standing

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


def distribution(values: Range) -> BaseDistribution:
    """The Optuna distribution of one range of the search space."""
    if isinstance(values, Choice):
        return CategoricalDistribution(values.values)
    if isinstance(values, IntRange):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def count_trials(url: str) -> int:
    """How many trials of any study a SQLite storage holds; 0 where there is none yet."""
    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return int(database.execute("select count(*) from trials").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return 0
        raise DataError(
            f"the Optuna storage {path} is damaged: {error}",
            remedy="put the file back from a copy, or start the sweep afresh with --new",
        ) from error


class Studies:
    """The studies `<name>@<id>/<cell>/search` and `…/confirm` of every cell of one sweep.

    One writer: the driver. Every ask uses a fresh sampler seeded by the cell and the trial's
    number, so that a search that was interrupted asks what an undisturbed one asks.
    """

    def __init__(
        self,
        url: str,
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
        self._storage = optuna.storages.get_storage(url)
        self._prefix = f"{sweep}@{sweep_id}"
        self._studies: dict[tuple[str, Stage], optuna.Study] = {}
        self._handles: dict[tuple[str, Stage, int], optuna.Trial] = {}
        self._reported: dict[tuple[str, int], set[int]] = {}
        known = set(optuna.get_all_study_names(self._storage))
        for cell in cells:
            for stage in STAGES:
                if f"{self._prefix}/{cell}/{stage}" in known:
                    self._studies[cell, stage] = self._study(cell, stage)

    def open(self) -> None:
        """Make the studies that are not there yet, and enqueue what is to be tried first."""
        for cell in self._cells.values():
            for stage in STAGES:
                if (cell.id, stage) not in self._studies:
                    self._studies[cell.id, stage] = self._study(cell.id, stage)
            self._enqueue_first(cell)

    def trials(self, cell: str, stage: Stage) -> Iterator[StudyTrial]:
        """Every trial of a study that has been asked, by number; waiting ones are left out."""
        if (cell, stage) not in self._studies:
            return
        for trial in self._studies[cell, stage].get_trials(deepcopy=False):
            if trial.state != TrialState.WAITING:
                yield _study_trial(trial)

    def count_unasked(self, cell: str) -> int:
        """How many settings of the cell's `enqueue` have not been asked yet."""
        asked = {trial.attributes.get("enqueue") for trial in self.trials(cell, "search")}
        return sum(index not in asked for index in range(len(self._cells[cell].enqueue)))

    def ask(self, cell: str) -> StudyTrial:
        """The next search trial, its parameters all suggested; now RUNNING."""
        study = self._studies[cell, "search"]
        study.sampler = self._sampler(cell, self._next_number(study))
        trial = study.ask()
        for name, values in self._distributions[cell].items():
            _suggest(trial, name, values)
            reach("in-ask")
        self._handles[cell, "search", trial.number] = trial
        return StudyTrial(
            number=trial.number, state="RUNNING", params=dict(trial.params), value=None
        )

    def params(self, cell: str, number: int) -> Mapping[str, Any]:
        """The parameters of a search trial."""
        return self._studies[cell, "search"].get_trials(deepcopy=False)[number].params

    def ask_again(self, cell: str, number: int) -> StudyTrial:
        """A new search trial with the parameters of a failed one, its `retry_of`; now RUNNING."""
        return self._add(cell, "search", self.params(cell, number), {"retry_of": number})

    def ask_confirm(
        self, cell: str, *, of: int, seed: int, key: str, retry_of: int | None = None
    ) -> StudyTrial:
        """A new confirm trial of search trial `of`, with its fixed parameters; now RUNNING.

        `retry_of` is the failed confirm trial whose place it takes, if there is one.
        """
        attributes = {"of": of, "seed": seed, "key": key}
        if retry_of is not None:
            attributes["retry_of"] = retry_of
        return self._add(cell, "confirm", self.params(cell, of), attributes)

    def _add(
        self, cell: str, stage: Stage, params: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> StudyTrial:
        """A trial written whole, in one step: after a crash it is RUNNING or not there at all."""
        study = self._studies[cell, stage]
        number = len(study.get_trials(deepcopy=False))
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=dict(self._distributions[cell]),
                user_attrs=dict(attributes),
            )
        )
        return self.adopt(cell, stage, number)

    def adopt(self, cell: str, stage: Stage, number: int) -> StudyTrial:
        """A trial left RUNNING by an earlier driver, taken up with its number and parameters.

        What a kill in the middle of an ask left unsuggested is suggested now, by the trial's own
        seeded sampler.
        """
        study = self._studies[cell, stage]
        study.sampler = self._sampler(cell, number)
        frozen = study.get_trials(deepcopy=False)[number]
        trial = optuna.Trial(study, frozen._trial_id)
        fixed = frozen.system_attrs.get("fixed_params", {})
        for name, values in self._distributions[cell].items():
            if name not in frozen.params:
                _suggest(trial, name, values)
            elif name not in trial.relative_params and name not in fixed:
                # Drawn again and dropped, so that the rest is drawn as it would have been.
                study.sampler.sample_independent(study, frozen, name, values)
        self._handles[cell, stage, number] = trial
        if stage == "search":
            self._reported[cell, number] = set(frozen.intermediate_values)
        return StudyTrial(
            number=number,
            state="RUNNING",
            params=dict(trial.params),
            value=None,
            attributes=dict(frozen.user_attrs),
        )

    def note(self, cell: str, stage: Stage, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial that has not been told."""
        trial = self._handles[cell, stage, number]
        for name, value in attributes.items():
            trial.set_user_attr(name, value)

    def report(self, cell: str, number: int, *, epoch: int, value: float) -> bool:
        """Report a search trial's metric after an epoch, once; True if it should be pruned."""
        trial = self._handles[cell, "search", number]
        reported = self._reported.setdefault((cell, number), set())
        if epoch not in reported:
            trial.report(value, step=epoch)
            reported.add(epoch)
        return self._search.pruner.name != "none" and trial.should_prune()

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
        self._handles.pop((cell, stage, number), None)
        if stage == "search":
            self._reported.pop((cell, number), None)

    def _study(self, cell: str, stage: Stage) -> optuna.Study:
        minimise = stage == "search" and self._search.metric == "val/loss"
        return optuna.create_study(
            study_name=f"{self._prefix}/{cell}/{stage}",
            storage=self._storage,
            direction="minimize" if minimise else "maximize",
            pruner=self._pruner() if stage == "search" else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )

    def _enqueue_first(self, cell: Cell) -> None:
        study = self._studies[cell.id, "search"]
        known = {trial.user_attrs.get("enqueue") for trial in study.get_trials(deepcopy=False)}
        for index, params in enumerate(cell.enqueue):
            if index not in known:
                study.enqueue_trial(dict(params), user_attrs={"enqueue": index})

    @staticmethod
    def _next_number(study: optuna.Study) -> int:
        trials = study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        return min(waiting) if waiting else len(trials)

    def _sampler(self, cell: str, number: int) -> optuna.samplers.BaseSampler:
        seed = named_seed(self._seed, cell, number, bits=32)
        if self._search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        startup = min(10, max(3, self._search.trials // 3)) + len(self._cells[cell].enqueue)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)

    def _pruner(self) -> optuna.pruners.BasePruner:
        spec = self._search.pruner
        if isinstance(spec, MedianSpec):
            return optuna.pruners.MedianPruner(n_warmup_steps=spec.grace)
        if isinstance(spec, AshaSpec):
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=spec.grace, reduction_factor=spec.reduction
            )
        assert spec.name == "none", "the file's check lets no other pruner pass"
        return optuna.pruners.NopPruner()


def _suggest(trial: optuna.Trial, name: str, values: BaseDistribution) -> None:
    if isinstance(values, CategoricalDistribution):
        trial.suggest_categorical(name, values.choices)
    elif isinstance(values, IntDistribution):
        trial.suggest_int(name, values.low, values.high, step=values.step, log=values.log)
    elif isinstance(values, FloatDistribution):
        trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)


def _study_trial(trial: FrozenTrial) -> StudyTrial:
    return StudyTrial(
        number=trial.number,
        state=trial.state.name,
        params=trial.params,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        attributes=trial.user_attrs,
    )
