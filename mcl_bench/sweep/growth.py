"""What changed between the file a sweep was started with and the file it is run with now.

Resources, budgets, places and the MLflow that is told may change freely; more trials, seeds, arms
and matrix entries are growth. Anything else would put unlike numbers under one name, and is refused
with a diff.
"""

import re
from collections.abc import Mapping
from typing import Any

from mcl_bench.records import UserError
from mcl_bench.spec import Cell, Choice, Experiment, FloatRange, IntRange, without_password

FREE = frozenset({"data.root"})
"""Settings of a cell that can't change its results: the data's digest decides."""

_ABSENT = object()


def refuse_changes(old: Experiment, new: Experiment) -> None:
    """Refuse a file that is not the old one or its growth.

    Raises:
        UserError: with one line for each difference.
    """
    lines = _compare("", _sweep_words(old), _sweep_words(new))
    grown = new.spec.baseline is None and new.baseline not in old.spec.arms
    if new.baseline != old.baseline and not grown:
        lines.append(f"baseline: {old.baseline} -> {new.baseline}")
    cells = {cell.id: cell for cell in new.cells}
    for cell in old.cells:
        if cell.id not in cells:
            lines.append(f"cell {cell.id}: taken away")
            continue
        lines += _compare(f"cell {cell.id}: ", _cell_words(cell), _cell_words(cells[cell.id]))
        lines += _lost_enqueue(cell, cells[cell.id])
    if lines:
        diff = "\n".join(f"  {line}" for line in lines)
        raise UserError(
            f"sweep {new.name} has trials of another experiment file:\n{diff}",
            remedy="undo the change, start afresh with --new (what is there is kept), or give the "
            "changed experiment a name of its own (name=OTHER)",
        )


def is_moved(old: Experiment, new: Experiment) -> bool:
    """Whether the studies are looked for elsewhere than where they are."""
    return _address(old.spec.search.storage) != _address(new.spec.search.storage)


def is_tracked_elsewhere(old: Experiment, new: Experiment) -> bool:
    """Whether the record for people goes to another MLflow than before."""
    return _address(old.spec.tracking.uri) != _address(new.spec.tracking.uri)


def _sweep_words(experiment: Experiment) -> dict[str, Any]:
    spec = experiment.spec
    return {
        "search.metric": spec.search.metric,
        "search.storage": _address(spec.search.storage),
        "search.sampler": spec.search.sampler,
        "search.pruner": spec.search.pruner.model_dump(),
        "train.seed": spec.train.seed,
        "tracking": spec.tracking.model_dump(exclude={"uri"}),
    }


def _address(url: str | None) -> str | None:
    """Where something is kept, whoever comes to it: credentials may change."""
    return None if url is None else re.sub(r"://[^/?#]*@", "://", without_password(url))


def _cell_words(cell: Cell) -> dict[str, Any]:
    settings = {key: value for key, value in cell.settings().items() if key not in FREE}
    return {**settings, **{f"space {key}": values for key, values in cell.space.items()}}


def _lost_enqueue(old: Cell, new: Cell) -> list[str]:
    kept = tuple(new.enqueue[: len(old.enqueue)]) == tuple(old.enqueue)
    return [] if kept else [f"cell {old.id}: search.enqueue may only grow at its end"]


def _compare(place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if before != after:
            lines.append(f"{place}{key}: {_shown(before)} -> {_shown(after)}")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, Choice):
        return f"{{choice: {list(value.values)}}}"
    if isinstance(value, FloatRange | IntRange):
        kind = "log" if value.log else "int" if isinstance(value, IntRange) else "float"
        step = "" if value.step in {None, 1} else f", step: {value.step}"
        points = "" if value.points is None else f", points: {value.points}"
        return f"{{{kind}: [{value.low}, {value.high}]{step}{points}}}"
    if value is None:
        return "null"
    return "absent" if value is _ABSENT else str(value)
