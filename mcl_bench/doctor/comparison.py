"""What the sides of a sweep believe, held against the record of its trials.

The last line of a trial in `records.jsonl` is the truth of how it ended. Optuna, MLflow, the
table, the events and the disk must say the same.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mcl_bench.records import NOT_SENT, Finding, Inventory, InventoryTrial, TrialId

OPEN = frozenset({"running", "waiting", "interrupted", "asked"})
"""What sides call a trial that has not ended."""

CLOSED = frozenset({"complete", "failed"})
"""The states of a sweep in which nothing is left to run."""

SHOWN = 3
"""So many differences are named in one line."""

NONE = InventoryTrial(trial=TrialId(sweep="", cell="", stage="search", number=-1), state="")
"""Stands for a trial that a side does not know."""

Truth = Mapping[TrialId, InventoryTrial]
Sides = Mapping[str, Inventory]


def _lost(_own: Inventory, truth: Truth, sides: Sides) -> Iterator[Finding]:
    """Trials that have ended for others, and have no record."""
    knowing: dict[TrialId, list[str]] = {}
    for side in ("optuna", "events", "table"):
        for entry in sides[side].trials if side in sides else ():
            if entry.trial not in truth and entry.state not in OPEN:
                knowing.setdefault(entry.trial, []).append(f"{side} says {entry.state}")
    for trial, said in knowing.items():
        tabled = any(one.startswith("table") for one in said)
        yield Finding(
            side="records",
            kind="lost",
            what=f"the trial has ended ({', '.join(said)}) and has no record",
            where=_at(trial),
            remedy="its row of the table is taken over"
            if tabled
            else "put records.jsonl back from a copy",
            mends=tabled,
            trial=trial,
        )


def _optuna(own: Inventory, truth: Truth, sides: Sides) -> Iterator[Finding]:
    known = _grouped(own.trials)
    gaps = _with_gaps([*known, *truth])
    for trial, entry in truth.items():
        whole = own.mendable and (trial.cell, trial.stage) not in gaps
        remedy = "the study is made anew from the records; the old file is kept beside it"
        remedy = remedy if whole else "put the Optuna storage back from a copy"
        (seen, *more) = known.get(trial, [NONE])
        if seen is NONE:
            kind, what = "missing", f"Optuna does not know the trial, which is {entry.state}"
        elif more:
            kind, what = "doubled", f"Optuna has {1 + len(more)} trials of this number"
        elif seen.state in OPEN:
            kind, what = "untold", f"{seen.state} in Optuna, {entry.state} in its record"
            whole, remedy = True, "Optuna is told how it ended"
        else:
            reports = map(int, entry.words["reported"].split())
            unlike = [
                *_unlike(_first_end(seen, entry), entry),
                *_lacking("reports of epochs", seen, reports),
            ]
            if not unlike:
                continue
            kind, what = "differs", f"Optuna: {_told(unlike)}"
        yield _of(trial, side="optuna", kind=kind, what=what, remedy=remedy, mends=whole)
    state = sides["lock"].state if "lock" in sides else None
    for trial, entries in known.items():
        if trial not in truth and entries[0].state == "running" and state in CLOSED:
            yield _of(
                trial,
                side="lock",
                kind="reopened",
                what=f"running in Optuna, though the sweep is {state}",
                remedy="the sweep counts as interrupted, and its command goes on with it",
                mends=True,
            )


def _mlflow(own: Inventory, truth: Truth, sides: Sides) -> Iterator[Finding]:
    runs = _grouped(own.trials)
    asked = {entry.trial: entry for entry in sides["optuna"].trials} if "optuna" in sides else {}
    disk = {entry.trial: entry for entry in sides["disk"].trials} if "disk" in sides else {}
    for trial in [*truth, *(trial for trial in runs if trial not in truth)]:
        entry = truth.get(trial) or asked.get(trial, NONE)
        found = runs.get(trial, [])
        keeper = _keeper(found, entry.run_id)
        for run in found:
            if run is not keeper or entry is NONE:
                named = "Optuna does not know its trial" if entry is NONE else "the trial has two"
                yield _of(
                    trial,
                    side="mlflow",
                    kind="apart" if entry is NONE else "doubled",
                    what=f"run {run.run_id}: {named}",
                    remedy="the run is set apart (mcl.kind = apart); nothing is deleted",
                    subject=run.run_id,
                )
        if trial in truth:
            kept = disk.get(trial, NONE).files
            yield from _run_of_ended(trial, keeper, entry, kept=kept)
        elif keeper is not None and entry is not NONE and keeper.state == "running":
            yield _of(
                trial,
                side="mlflow",
                kind="open",
                what=f"run {keeper.run_id} is open, and no driver runs",
                remedy="the run is closed as interrupted until its trial is taken up again",
                subject=keeper.run_id,
            )


def _run_of_ended(
    trial: TrialId, run: InventoryTrial | None, entry: InventoryTrial, *, kept: Sequence[str]
) -> Iterator[Finding]:
    """What is wrong with the one run of a trial that has ended."""
    again = "what is missing is sent again"
    if run is None and entry.words.get("run") == "not wanted":
        return
    if run is not None and not entry.run_id:
        yield _of(
            trial,
            side="records",
            kind="unnamed",
            what=f"the record does not name its run {run.run_id}, which MLflow took later",
            remedy="the run's id is added",
            subject=run.run_id,
        )
        run = replace(run, run_id=entry.run_id)
    if run is None:
        what = f"MLflow has no run of the trial, which is {entry.state}"
        yield _of(trial, side="mlflow", kind="missing", what=what, remedy=again)
        return
    uneven = sorted(set(run.uneven) & set(entry.steps))
    twice = [f"epochs {_listed(uneven)} stand there twice or in part"] if uneven else []
    fixed = {name: text for name, text in run.words.items() if name.startswith("params/") and text}
    unlike = [*twice, *_unlike(replace(NONE, words=fixed), replace(NONE, words=entry.words))]
    if unlike:
        yield _of(
            trial,
            side="mlflow",
            kind="anew",
            what=f"run {run.run_id}: {_told(unlike)}",
            remedy="the trial is sent again as a new run; this one is set apart, not deleted",
            subject=run.run_id,
        )
        return
    stands = run.words.get("replaces") == entry.run_id
    unlike = [
        *_unlike(replace(run, run_id=None) if stands else run, entry),
        *_lacking("epochs", run, entry.steps),
        *(f"lacks {name}" for name in _artifacts(kept) if name not in run.files),
    ]
    if unlike:
        what = f"run {run.run_id}: {_told(unlike)}"
        yield _of(trial, side="mlflow", kind="differs", what=what, remedy=again, subject=run.run_id)


def _table(own: Inventory, truth: Truth, _sides: Sides) -> Iterator[Finding]:
    rows = {entry.trial: entry for entry in own.trials}
    missing = [trial for trial in truth if trial not in rows]
    unlike = [
        trial
        for trial, row in rows.items()
        if trial in truth and row.words["row"] != truth[trial].words["row"]
    ]
    if own.faults or not (missing or unlike):
        return
    counted = {"no row": missing, "a row unlike their record": unlike}
    yield Finding(
        side="table",
        kind="behind",
        what=", ".join(
            f"{len(trials)} trials have {what} (first: {_at(trials[0])})"
            for what, trials in counted.items()
            if trials
        ),
        where="results.parquet",
        remedy="the table is made anew from the records",
        mends=True,
    )


def _events(own: Inventory, truth: Truth, _sides: Sides) -> Iterator[Finding]:
    told = {entry.trial: entry for entry in own.trials}
    for trial, entry in truth.items():
        seen = told.get(trial, NONE)
        if seen is NONE:
            what = "no event speaks of the trial"
        elif seen.state in OPEN or not (unlike := _unlike(_first_end(seen, entry), entry)):
            continue
        else:
            what = f"the event of its end: {_told(unlike)}"
        remedy = "its end is told once more, as its record says"
        yield _of(trial, side="events", kind="untold", what=what, remedy=remedy)


def _disk(own: Inventory, truth: Truth, sides: Sides) -> Iterator[Finding]:
    asked = {entry.trial for entry in sides["optuna"].trials} if "optuna" in sides else set()
    for entry in own.trials:
        leases = sorted({name.partition("/")[0] for name in entry.files if "/" in name})
        if not leases or (entry.trial in asked and entry.trial not in truth):
            continue
        whose = f"is {truth[entry.trial].state}" if entry.trial in truth else "is nobody's"
        yield _of(
            entry.trial,
            side="disk",
            kind="checkpoints",
            what=f"the trial {whose}, and has {len(leases)} folders of checkpoints",
            remedy="they are deleted; its log and what it left stay",
        )


COMPARED: Mapping[str, Any] = {
    "records": _lost,
    "optuna": _optuna,
    "mlflow": _mlflow,
    "table": _table,
    "events": _events,
    "disk": _disk,
}
"""How each side is held against the truth."""


def _of(trial: TrialId, *, mends: bool = True, **words: Any) -> Finding:
    return Finding(where=_at(trial), mends=mends, trial=trial, **words)


def _at(trial: TrialId) -> str:
    return f"{trial.cell}/{trial.stage}-{trial.number}"


def _grouped(entries: Iterable[InventoryTrial]) -> dict[TrialId, list[InventoryTrial]]:
    groups: dict[TrialId, list[InventoryTrial]] = {}
    for entry in entries:
        groups.setdefault(entry.trial, []).append(entry)
    return groups


def _with_gaps(trials: Iterable[TrialId]) -> set[tuple[str, str]]:
    """The studies whose numbers are not all known: they can't be made anew."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for trial in trials:
        numbers.setdefault((trial.cell, trial.stage), set()).add(trial.number)
    return {study for study, found in numbers.items() if found != set(range(max(found) + 1))}


def _unlike(seen: InventoryTrial, entry: InventoryTrial) -> list[str]:
    """How a side differs from the truth, each in a few words; where it has no say it does not."""
    unlike = [] if seen.state == entry.state else [f"{seen.state}, not {entry.state}"]
    if seen.value is not None and not _same(seen.value, entry.value):
        unlike.append(f"value {seen.value}, not {entry.value}")
    if seen.run_id not in {None, entry.run_id}:
        unlike.append(f"run {seen.run_id or 'unknown'}, not {entry.run_id}")
    unlike += [
        f"{name} {text or 'unknown'}, not {entry.words[name]}"
        for name, text in seen.words.items()
        if text != entry.words.get(name, text)
    ]
    return unlike


def _first_end(seen: InventoryTrial, entry: InventoryTrial) -> InventoryTrial:
    """What a side says that is told an end once: a trial that is to run again had ended before."""
    return replace(seen, state=entry.state) if entry.state == "retried" else seen


def _same(first: float, second: float | None) -> bool:
    return first == second or (second is not None and math.isnan(first) and math.isnan(second))


def _told(unlike: Sequence[str]) -> str:
    rest = len(unlike) - SHOWN
    return "; ".join(unlike[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def _lacking(what: str, seen: InventoryTrial, wanted: Iterable[int]) -> list[str]:
    """Which of the wanted epochs a side lacks."""
    missing = sorted(set(wanted) - {*seen.steps, *seen.uneven})
    return [f"lacks {what} {_listed(missing)}"] if missing else []


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))


def _artifacts(kept: Sequence[str]) -> list[str]:
    """The files of a trial that its run keeps too."""
    return [name for name in kept if "/" not in name and name not in NOT_SENT]


def _keeper(runs: Sequence[InventoryTrial], run_id: str | None) -> InventoryTrial | None:
    """The run that stands for a trial: the named one, or the one with the most epochs."""
    named = [run for run in runs if run_id and run_id in {run.run_id, run.words.get("replaces")}]
    most = sorted(runs, key=lambda run: -len(run.steps))
    return next(iter([*named, *most]), None)
