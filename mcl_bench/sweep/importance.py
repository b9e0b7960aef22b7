"""Which settings mattered in each cell's search: Optuna's analyses of the studies, as records."""

import json
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from mcl_bench.records import Importance, UserError
from mcl_bench.spec import Experiment
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.storage import SQLITE, storage_at

FANOVA_TRIALS = 300
"""Above this many trials fANOVA takes seconds to minutes, and PED-ANOVA is taken: O(trials)."""

FEWEST_TRIALS = 10
"""With fewer complete trials the shares would be noise, and nothing is worked out."""

LIMIT_SECONDS = 30.0
"""Once so much has gone by, no further cell is begun."""

NOTHING_YET = "nothing has been searched yet"
"""Why there is nothing to tell of a cell before its first search trial."""


def importances(
    folder: Path, experiment: Experiment, *, limit_seconds: float = LIMIT_SECONDS
) -> tuple[Importance, ...]:
    """The importance of each cell's searched settings, from the Optuna storage of this sweep.

    Nothing is written. fANOVA with a fixed seed, or PED-ANOVA above `FANOVA_TRIALS` trials; a cell
    that they can't be worked out for says why.
    """
    url, database = experiment.spec.search.storage, folder / "study.db"
    if url is None and not database.exists():
        return _absent(experiment, "the sweep's Optuna storage is not there")
    sweep_id = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["id"]
    prefix = f"{experiment.name}@{sweep_id}"
    storage = storage_at(url or f"{SQLITE}{database}", sweep=experiment.name, sweep_id=sweep_id)
    try:
        with closing(storage):
            if not storage.count_trials():
                return _absent(experiment, NOTHING_YET)
            aside = _run_again(folder, experiment)
            return tuple(_every(aside, prefix, storage.open(), limit_seconds))
    except UserError as error:  # the page tells it, and is written all the same
        return _absent(experiment, error.rule)


def _run_again(folder: Path, experiment: Experiment) -> dict[str, set[int]]:
    """The search trials of each cell that were run again, whose values do not count."""
    states = {
        (record.cell, record.trial): record.state
        for record in SweepFolder(folder).records()
        if record.stage == "search"
    }
    again = [trial for trial, state in states.items() if state == "retried"]
    return {cell.id: {number for of, number in again if of == cell.id} for cell in experiment.cells}


def _absent(experiment: Experiment, why: str) -> tuple[Importance, ...]:
    return tuple(Importance(cell=cell.id, absent=why) for cell in experiment.cells)


def _every(
    aside: Mapping[str, Collection[int]],
    prefix: str,
    storage: BaseStorage,
    limit_seconds: float,
) -> Iterator[Importance]:
    began = time.monotonic()
    known = set(optuna.get_all_study_names(storage))
    for cell, numbers in aside.items():
        name = f"{prefix}/{cell}/search"
        if name not in known:
            yield Importance(cell=cell, absent=NOTHING_YET)
        elif time.monotonic() - began > limit_seconds:
            yield Importance(
                cell=cell, absent=f"left out: {limit_seconds:g} s went on the cells before it"
            )
        else:
            study = optuna.load_study(study_name=name, storage=storage)
            yield _of_study(cell, _without(study, numbers) if numbers else study)


def _without(study: optuna.Study, numbers: Collection[int]) -> optuna.Study:
    """A study in memory of all trials but those of these numbers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rest = optuna.create_study(direction=study.direction)
    rest.add_trials(
        trial for trial in study.get_trials(deepcopy=False) if trial.number not in numbers
    )
    return rest


def _of_study(cell: str, study: optuna.Study) -> Importance:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_TRIALS:
        return Importance(
            cell=cell,
            trials=len(complete),
            absent=f"{len(complete)} complete trials are too few (at least {FEWEST_TRIALS})",
        )
    few = len(complete) <= FANOVA_TRIALS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = FanovaImportanceEvaluator(seed=0) if few else PedAnovaImportanceEvaluator()
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError) as error:
        return Importance(cell=cell, trials=len(complete), absent=str(error))
    if not shares:
        return Importance(
            cell=cell, trials=len(complete), absent="no setting is searched by all of its trials"
        )
    return Importance(
        cell=cell,
        method="fANOVA" if few else "PED-ANOVA",
        trials=len(complete),
        shares={name: float(share) for name, share in shares.items()},
    )
