"""What somebody has changed in a sweep's studies by hand, held against what the sweep wrote.

A trial's line in `records.jsonl` is written before Optuna is told, so a trial that has ended stands
in both, with the same settings, state and value; one that is running stands in the study alone. A
study that says otherwise is not the one that this sweep made, and no result is built upon it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mcl_bench.records import DataError, Stage, TrialRecord
from mcl_bench.spec import Cell, Choice, Range
from mcl_bench.sweep.storage import EDITED
from mcl_bench.sweep.studies import STAGES, STEP_STATES

SHOWN = 5
"""So many edits are told one by one."""

ROUNDING = 1e-9
"""How far beyond its range a value may lie that was rounded on its way."""


def refuse_edits(
    storage: BaseStorage,
    prefix: str,
    *,
    cells: Iterable[Cell],
    records: Iterable[TrialRecord],
) -> None:
    """Refuse studies `<prefix>/<cell>/<stage>` that are not as the sweep left them.

    Raises:
        DataError: with what has been changed.
    """
    found = list(find_edits(storage, prefix, cells=cells, records=records))
    if not found:
        return
    lines = [f"  {edit}" for edit in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN} more")
    raise DataError(
        "the Optuna storage has been changed by hand since this sweep wrote it:\n"
        + "\n".join(lines),
        remedy=EDITED,
    )


def find_edits(
    storage: BaseStorage,
    prefix: str,
    *,
    cells: Iterable[Cell],
    records: Iterable[TrialRecord],
) -> Iterator[str]:
    """What has been changed by hand in the studies of a sweep, a line for each change."""
    written: dict[tuple[str, str], dict[int, TrialRecord]] = {}
    for record in records:
        written.setdefault((record.cell, record.stage), {})[record.trial] = record
    for cell in cells:
        searched: Sequence[FrozenTrial] = ()
        for stage in STAGES:
            name, of_study = f"{prefix}/{cell.id}/{stage}", written.get((cell.id, stage), {})
            try:
                trials = storage.get_all_trials(
                    storage.get_study_id_from_name(name), deepcopy=False
                )
            except KeyError:
                if of_study:
                    yield f"{name} is gone, {len(of_study)} trials of it have ended"
                continue
            except (ValueError, IndexError) as error:
                yield f"{name} can't be read: {error}"
                continue
            if stage == "search":
                searched = trials
            for edit in _of_study(trials, of_study, cell=cell, stage=stage, searched=searched):
                yield f"{name}: {edit}"


def _of_study(
    trials: Sequence[FrozenTrial],
    records: Mapping[int, TrialRecord],
    *,
    cell: Cell,
    stage: Stage,
    searched: Sequence[FrozenTrial],
) -> Iterator[str]:
    by_number = {trial.number: trial for trial in trials}
    count = max([-1, *by_number, *records]) + 1
    for number in range(count):
        trial, record = by_number.get(number), records.get(number)
        if trial is None:
            ended = "" if record is None else f", which ended {record.state}"
            yield f"trial {number}{ended}, is gone"
            continue
        edits = [*_of_params(trial, record, cell), *_of_end(trial, record)]
        if stage == "confirm":
            edits += _of_confirm(trial, record, searched)
        for edit in edits:
            yield f"trial {number} {edit}"


def _of_params(trial: FrozenTrial, record: TrialRecord | None, cell: Cell) -> Iterator[str]:
    """Settings that the space does not have, or that are not those which were trained."""
    for name, value in trial.params.items():
        if name not in cell.space:
            yield f"has {name}, which is not searched"
        elif not _is_inside(value, cell.space[name]):
            yield f"has {name}: {value}, outside of its range"
        elif record is not None and name in record.config and record.config[name] != value:
            yield f"has {name}: {value}, and was trained with {record.config[name]}"
    lacking = sorted(set(cell.space) - set(trial.params))
    if trial.state.is_finished() and lacking:
        yield f"has no {', '.join(lacking)}"


def _of_end(trial: FrozenTrial, record: TrialRecord | None) -> Iterator[str]:
    """A state or value that is not the one which was recorded."""
    if trial.state is TrialState.WAITING and not trial.user_attrs:
        yield "waits to be asked, and the experiment file does not have its settings"
    if not trial.state.is_finished():
        return
    if record is None:
        yield f"is {trial.state.name}, and records.jsonl has no record of it"
        return
    # What is to run again may have ended in any way: Optuna can't be told that it does not count.
    told = None if record.state == "retried" else STEP_STATES.get(record.state)
    if told is not None and told is not trial.state:
        yield f"is {trial.state.name}, and ended {record.state}"
    elif trial.state is TrialState.COMPLETE and trial.value != record.value:
        yield f"has the value {trial.value}, and ended with {record.value}"


def _of_confirm(
    trial: FrozenTrial, record: TrialRecord | None, searched: Sequence[FrozenTrial]
) -> Iterator[str]:
    """A search trial or seed that a confirm trial can't be of."""
    of, seed = trial.user_attrs.get("of"), trial.user_attrs.get("seed")
    if not isinstance(seed, int) or of not in {one.number for one in searched}:
        yield f"confirms search trial {of} with seed {seed}, which is none"
    elif record is not None and (of, seed) != (record.of, record.seed):
        yield (
            f"confirms search trial {of} with seed {seed}, and was trained for {record.of} "
            f"with {record.seed}"
        )


def _is_inside(value: Any, values: Range) -> bool:
    if isinstance(values, Choice):
        return value in values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    inside = values.low <= value <= values.high
    near = (values.low, values.high)
    return inside or any(math.isclose(value, end, rel_tol=ROUNDING) for end in near)
