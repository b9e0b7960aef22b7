"""An Optuna storage of which one process is the only writer: what it holds is read once.

Optuna reads a database again for every question, since others may have written to it. A sweep has
one driver, so the trials stand in memory beside the database. Every change goes to the database
first; one that fails there changes nothing here.
"""

import copy
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

DRAFT = -1
"""The id of a trial that has not been written yet."""


class Mirror(BaseStorage):
    """The trials of a storage in memory, and every write in both.

    A draft is a trial of which the database knows nothing: what a sampler notes about a trial while
    it decides on it is kept there until the trial is written, whole.
    """

    def __init__(self, backend: BaseStorage) -> None:
        self._backend = backend
        self._ids: dict[str, int] = {}
        self._directions: dict[int, list[StudyDirection]] = {}
        self._trials: dict[int, list[FrozenTrial]] = {}
        self._by_id: dict[int, FrozenTrial] = {}
        self._shared: dict[BaseDistribution, BaseDistribution] = {}

    def draft(self, number: int) -> FrozenTrial:
        """A running trial of this number that is not in the database; the one before is dropped."""
        self._by_id[DRAFT] = FrozenTrial(
            number=number,
            trial_id=DRAFT,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        return self._by_id[DRAFT]

    def known_trials(self, study_id: int) -> list[FrozenTrial]:
        """Every trial of a study by its number; neither the list nor its trials are a copy."""
        if study_id not in self._trials:
            found = self._backend.get_all_trials(study_id, deepcopy=False)
            self._trials[study_id] = []
            for trial in sorted(found, key=lambda trial: trial.number):
                self._keep(study_id, trial)
        return self._trials[study_id]

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Make a study; returns its id."""
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study and its trials."""
        self._backend.delete_study(study_id)
        self._ids = {name: one for name, one in self._ids.items() if one != study_id}
        for trial in self._trials.pop(study_id, []):
            del self._by_id[trial._trial_id]

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study."""
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set one of Optuna's own attributes of a study."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """The id of the study of this name."""
        if study_name not in self._ids:
            self._ids[study_name] = self._backend.get_study_id_from_name(study_name)
        return self._ids[study_name]

    def get_study_name_from_id(self, study_id: int) -> str:
        """The name of the study with this id."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Which way each value of a study is better."""
        if study_id not in self._directions:
            self._directions[study_id] = self._backend.get_study_directions(study_id)
        return self._directions[study_id]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes of a study."""
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Optuna's own attributes of a study."""
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        """Every study of the database."""
        return self._backend.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Write a trial, whole, in one transaction; returns its id."""
        number = len(self.known_trials(study_id))
        trial_id = self._backend.create_new_trial(study_id, template_trial)
        if template_trial is None:
            trial = self._backend.get_trial(trial_id)
        else:
            trial = copy.copy(template_trial)
            for own in ("params", "user_attrs", "system_attrs", "intermediate_values"):
                setattr(trial, own, dict(getattr(template_trial, own)))
            trial.number, trial._trial_id = number, trial_id
        assert trial.number == number, "a sweep's studies have one writer"
        self._keep(study_id, trial)
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter of a trial."""
        self._backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        trial = self._by_id[trial_id]
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions = {**trial.distributions, param_name: distribution}

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The id of a study's trial of this number; a KeyError where there is none."""
        trials = self.known_trials(study_id)
        if trial_number >= len(trials):
            raise KeyError(f"study {study_id} has no trial {trial_number}")
        return trials[trial_number]._trial_id

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state and values; False if it could not be set running."""
        if not self._backend.set_trial_state_values(trial_id, state, values):
            return False
        trial = self._by_id[trial_id]
        trial.state = state
        if values is not None:
            trial.values = list(values)
        if state == TrialState.RUNNING:
            trial.datetime_start = datetime.now()
        elif state.is_finished():
            trial.datetime_complete = datetime.now()
        return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set what a trial reported at a step."""
        self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._by_id[trial_id].intermediate_values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of a trial."""
        self._backend.set_trial_user_attr(trial_id, key, value)
        self._by_id[trial_id].user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set one of Optuna's own attributes of a trial; a draft's stays in memory."""
        if trial_id != DRAFT:
            self._backend.set_trial_system_attr(trial_id, key, value)
        self._by_id[trial_id].system_attrs[key] = value

    def set_aside(self, trial_id: int) -> None:
        """Hold a trial as one that failed before its first report; the database is as it was."""
        trial = self._by_id[trial_id]
        trial.state = TrialState.FAIL
        trial.values = None
        trial.intermediate_values = {}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial with this id, no copy."""
        return self._by_id[trial_id]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The trials of a study in these states, by number."""
        trials = self.known_trials(study_id)
        found = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _keep(self, study_id: int, trial: FrozenTrial) -> None:
        """Hold a trial; the ranges of its parameters are those of all the others."""
        trial.distributions = {
            name: self._shared.setdefault(values, values)
            for name, values in trial.distributions.items()
        }
        self._trials[study_id].append(trial)
        self._by_id[trial._trial_id] = trial
