"""What each cell searches, what it does not and why, and which settings it tries first."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from mcl_bench.records import UserError
from mcl_bench.spec.cells import Cell, Draft, check_training
from mcl_bench.spec.documents import find_section
from mcl_bench.spec.faults import form_fault, shown, suggestion
from mcl_bench.spec.grid import num_grid_points
from mcl_bench.spec.loss import CustomLossSpec
from mcl_bench.spec.schema import ExperimentSpec, TrialSpec
from mcl_bench.spec.searchkeys import INTEGERS, OPTIONS, SearchKey, parse_key
from mcl_bench.spec.settings import nest, settings_of, trial_spec, with_params
from mcl_bench.spec.space import FloatRange, Range, is_range, parse_range
from mcl_bench.spec.tree import Node, items, mapping, plain, sets, uniform


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One key of one `space`: where it stands, at which level of precedence, what it means."""

    name: str
    key: str
    meaning: SearchKey
    level: int
    node: Node


@dataclass(kw_only=True)
class Fate:
    """Whether any cell searches a key of a space, and the first reason why one does not."""

    searched: Searched
    useful: bool = False
    reason: str = "no cell has its arm"


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """All spaces of a file: the key's fate by its full name."""

    tree: Node
    spec: ExperimentSpec
    fates: dict[str, Fate] = field(default_factory=dict)


def searched_keys(tree: Node) -> frozenset[str]:
    """Every key of the file's space and of its matrix entries' spaces."""
    spaces = [find_section(tree, "search", "space")]
    for axis in ("data", "model"):
        spaces += [find_section(entry, "space") for entry in items(tree, "matrix", axis)]
    return frozenset(
        key for space in spaces for key, node in mapping(space).items() if node.value is not None
    )


def finish(tree: Node, spec: ExperimentSpec, made: Sequence[Draft]) -> tuple[Cell, ...]:
    """The cells of these drafts with their spaces, queues and equality of budgets.

    Raises UserError for a range that is impossible in a cell, and for keys that no cell searches.
    """
    spaces = Spaces(tree=tree, spec=spec)
    cells = [_cell(draft, spaces) for draft in made]
    for fate in spaces.fates.values():
        if not fate.useful:
            raise UserError(
                f"{fate.searched.name} is searched by no cell: {fate.reason}",
                key=fate.searched.name,
                place=fate.searched.node.place,
                remedy="take it out of the space",
            )
    queued = _queues(tree, spec, cells)
    grid = spec.search.sampler == "grid"
    return tuple(
        replace(
            cell,
            enqueue=queue,
            equal_budget=_is_equal(cell, cells),
            trials=num_grid_points(cell.space) + len(queue) if grid else cell.trials,
        )
        for cell, queue in zip(cells, queued, strict=True)
    )


def _is_equal(cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether no other arm of its data × model searches a common setting that this one lacks."""
    others = (other for other in cells if other.group == cell.group)
    common = {key for other in others for key in other.space if not key.startswith("loss.")}
    return common <= set(cell.space)


def _cell(draft: Draft, spaces: Spaces) -> Cell:
    space: dict[str, Range] = {}
    unsearched: dict[str, str] = {}
    taken: set[str] = set()
    found = _space(draft, spaces)
    for one in sorted(found, key=lambda one: one.meaning.arm is None):
        fate, setting = spaces.fates[one.name], one.meaning.setting
        if setting in taken:
            fate.useful = True
            continue
        reason = _reason(draft, one)
        if reason is not None:
            unsearched[one.key] = fate.reason = reason
            continue
        taken.add(setting)
        fate.useful = True
        space[setting] = _range(draft, one, spaces.spec)
    _check_pairs(draft, found, space)
    order = [one.meaning.setting for one in found]
    return Cell(
        id=draft.id,
        arm=draft.arm,
        data_label=draft.labels[0],
        model_label=draft.labels[1],
        spec=draft.spec,
        space={key: space[key] for key in dict.fromkeys(order) if key in space},
        enqueue=(),
        resources=draft.resources,
        trials=spaces.spec.search.trials,
        unsearched=unsearched,
    )


def _space(draft: Draft, spaces: Spaces) -> list[Searched]:
    """The keys that stand for this cell: the file's, then the data entry's, then the model's."""
    sources = [("search.space", find_section(spaces.tree, "search", "space"), 0)]
    sources += [
        (f"{entry.name}.space", find_section(entry.node, "space"), entry.level)
        for entry in draft.entries
    ]
    standing: dict[str, Searched] = {}
    for source, node, level in sources:
        for key, below in mapping(node).items():
            name = f"{source}.{key}"
            if below.value is None:
                for old in [old for old in standing if old == key or old.startswith(f"{key}.")]:
                    spaces.fates[standing.pop(old).name].useful = True
                continue
            if key in standing:
                spaces.fates[standing[key].name].useful = True
            standing[key] = _searched(name, key, below, level, spaces)
    return [one for one in standing.values() if one.meaning.arm in (None, draft.arm)]


def _searched(name: str, key: str, node: Node, level: int, spaces: Spaces) -> Searched:
    if name in spaces.fates:
        return spaces.fates[name].searched
    meaning = parse_key(key, arms=spaces.spec.arms, name=name, place=node.place)
    if not is_range(node):
        got = shown(plain(node))
        raise UserError(
            f"{name} must be a range, got {got}",
            key=name,
            place=node.place,
            remedy="write {log: [a, b]}, {float: [a, b]}, {int: [a, b]} or {choice: [..]}",
        )
    searched = Searched(name=name, key=key, meaning=meaning, level=level, node=node)
    spaces.fates[name] = Fate(searched=searched)
    return searched


def _reason(draft: Draft, one: Searched) -> str | None:
    """Why this cell does not search a key, or None if it does."""
    setting, spec = one.meaning.setting, draft.spec
    if setting.startswith(OPTIONS):
        return None if isinstance(spec.loss, CustomLossSpec) else f"{spec.loss.name} has no options"
    if setting not in settings_of(spec):
        kinds = {
            "loss": spec.loss.name,
            "loss.plus": f"{spec.loss.name} without plus",
            "train.optimizer": spec.train.optimizer.name,
            "train.schedule": spec.train.schedule.name,
        }
        section, _, key = setting.rpartition(".")
        dialect = settings_of(spec).get(f"{section}.dialect")
        if dialect is not None:
            return f"dialect: {dialect} has its own {key}"
        return f"{kinds[section]} has no {key}"
    if setting == "model.xi" and spec.model.channels == "native":
        return "channels: native takes the ξ that the backbone's maps give"
    if setting == "train.optimizer.head_lr_scale" and spec.model.weights == "none":
        return "weights: none has no head apart from the rest"
    return _set_by(draft, one)


def _set_by(draft: Draft, one: Searched) -> str | None:
    """What sets a key with more right than the space that searches it."""
    path = one.meaning.setting.split(".")
    if one.meaning.arm is None and sets(draft.arm_node, path):
        return f"arms.{draft.arm} sets it"
    for entry in reversed(draft.entries):
        own = path[1:] if path[0] == entry.axis else path
        if one.meaning.arm is not None:
            own = ["arms", one.meaning.arm, *path]
        elif path[0] in ("data", "model") and path[0] != entry.axis:
            continue
        if entry.level > one.level and sets(entry.node, own):
            return f"{entry.name} sets it"
    return None


def _range(draft: Draft, one: Searched, spec: ExperimentSpec) -> Range:
    """The range of a key, with every value at its ends known to be possible in this cell."""
    setting = one.meaning.setting
    parsed = parse_range(
        one.node, name=one.name, integer=setting in INTEGERS, sampler=spec.search.sampler
    )
    for end in parsed.ends:
        fault = _fault(draft.spec, draft.arm, {setting: end}, one.node.place)
        if fault is not None:
            rule = f"{one.name} reaches {shown(end)}, but {fault.rule}"
            raise UserError(rule, key=one.name, place=one.node.place) from fault
    return parsed


def _fault(spec: TrialSpec, arm: str, params: Mapping[str, Any], place: str) -> UserError | None:
    """What is wrong with these parameters together, if anything is.

    Raises UserError for what this version cannot do.
    """
    settings = with_params(settings_of(spec), params)
    tree = uniform(nest(settings), place)
    try:
        trial = trial_spec(settings)
    except ValidationError as error:
        return form_fault(error, tree, TrialSpec, {"loss": f"arms.{arm}.loss"})
    check_training(trial, tree, arm)
    return None


def _check_pairs(draft: Draft, found: Sequence[Searched], space: Mapping[str, Range]) -> None:
    """Refuse two searched settings of a loss whose values are possible, but not together."""
    own = [one for one in found if one.meaning.setting.startswith("loss.")]
    own = [one for one in own if one.meaning.setting in space]
    for one, other in itertools.combinations(own, 2):
        keys = (one.meaning.setting, other.meaning.setting)
        for pair in itertools.product(*(space[key].ends for key in keys)):
            fault = _fault(
                draft.spec, draft.arm, dict(zip(keys, pair, strict=True)), other.node.place
            )
            if fault is not None:
                reached = " and ".join(shown(value) for value in pair)
                rule = f"{one.name} and {other.name} reach {reached}, but {fault.rule}"
                raise UserError(rule, key=other.name, place=other.node.place) from fault


def _queues(
    tree: Node, spec: ExperimentSpec, cells: Sequence[Cell]
) -> list[tuple[Mapping[str, Any], ...]]:
    """For every cell, the settings it tries first: what it searches of every `enqueue` entry."""
    queues: list[list[Mapping[str, Any]]] = [[] for _ in cells]
    for position, entry in enumerate(items(tree, "search", "enqueue")):
        name = f"search.enqueue.{position}"
        keys = [
            (key, node, parse_key(key, arms=spec.arms, name=f"{name}.{key}", place=node.place))
            for key, node in mapping(entry).items()
            if node.value is not None
        ]
        for key, node, meaning in keys:
            if not any(_has(cell, meaning) for cell in cells):
                known = searched_keys(tree)
                rule = f"{name}: no cell searches {key}{suggestion(key, known)}"
                raise UserError(rule, key=f"{name}.{key}", place=node.place)
        keys.sort(key=lambda one: one[2].arm is not None)
        for cell, queue in zip(cells, queues, strict=True):
            kept = {
                meaning.setting: _queued(cell, meaning.setting, node, f"{name}.{key}")
                for key, node, meaning in keys
                if _has(cell, meaning)
            }
            if kept:
                fault = _fault(cell.spec, cell.arm, kept, entry.place)
                if fault is not None:
                    raise UserError(f"{name}: {fault.rule}", key=name, place=entry.place)
                queue.append(kept)
    return [tuple(queue) for queue in queues]


def _has(cell: Cell, meaning: SearchKey) -> bool:
    return meaning.arm in (None, cell.arm) and meaning.setting in cell.space


def _queued(cell: Cell, setting: str, node: Node, name: str) -> Any:
    """The value of a queued setting, which must lie in the cell's range."""
    value, values = plain(node), cell.space[setting]
    if value not in values:
        bounds = ", ".join(str(end) for end in values.ends)
        rule = f"{name}: {shown(value)} is not in the range of {cell.id}, [{bounds}]"
        raise UserError(rule, key=name, place=node.place)
    return float(value) if isinstance(values, FloatRange) else value
