"""Cells: every combination of the matrix with every arm, each resolved to one training."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mcl_bench.records import UserError
from mcl_bench.spec.defaults import resolve
from mcl_bench.spec.documents import AXES, BESIDE, find_section
from mcl_bench.spec.faults import form_fault, shown, suggestion
from mcl_bench.spec.overrides import entry_label
from mcl_bench.spec.schema import ArmSpec, ExperimentSpec, ResourcesSpec, StepSpec, TrialSpec
from mcl_bench.spec.settings import settings_of, trial_spec, with_params
from mcl_bench.spec.space import Range
from mcl_bench.spec.support import refuse_gpus, unsupported
from mcl_bench.spec.tree import (
    Node,
    find,
    is_mapping,
    items,
    locate,
    mapping,
    merge,
    nearest,
    plain,
)

ARM_MODEL_KEYS = ("head", "channels", "xi")
"""What an arm may override of the network; never backbone or weights."""

AnyModel = TypeVar("AnyModel", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One dataset × one model × one arm, with nothing left to resolve.

    `space` and `enqueue` name settings as the training does (`loss.mu`, `model.xi`). `unsearched`
    says of each key of the file's space that this cell does not search why. `equal_budget` is
    false where another arm of the same data × model searches a setting that this one does not.
    `trials` is the number of its search trials.
    """

    id: str
    arm: str
    data_label: str
    model_label: str
    spec: TrialSpec
    space: Mapping[str, Range]
    enqueue: tuple[Mapping[str, Any], ...]
    resources: ResourcesSpec
    trials: int = 1
    unsearched: Mapping[str, str] = field(default_factory=dict)
    equal_budget: bool = True

    @property
    def group(self) -> tuple[str, str]:
        """The data × model that this cell's arms share."""
        return (self.data_label, self.model_label)

    @property
    def most_epochs(self) -> int:
        """The epochs of this cell's longest possible trial."""
        searched = self.space.get("train.epochs")
        return self.spec.train.epochs if searched is None else max(searched.ends)

    def settings(self, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The flat dotted settings of one training of this cell, with `params` merged in."""
        flat = settings_of(self.spec)
        return settings_of(trial_spec(with_params(flat, params))) if params else flat


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the matrix: its axis, its label, what it says and its level of precedence."""

    axis: str
    label: str
    node: Node
    level: int
    written: bool = True

    @property
    def name(self) -> str:
        """The entry as messages and overrides call it."""
        return f"matrix.{self.axis}.{self.label}"

    @property
    def section(self) -> Node:
        """What it overrides in its own section."""
        own = {key: node for key, node in mapping(self.node).items() if key not in BESIDE}
        own.pop("label", None)
        return replace(self.node, value=own)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A cell before its search space: where it comes from and what it trains."""

    id: str
    arm: str
    entries: tuple[Entry, Entry]
    tree: Node
    arm_node: Node
    spec: TrialSpec
    resources: ResourcesSpec

    @property
    def labels(self) -> tuple[str, str]:
        """Its parts of the id: data and model."""
        data, model = (slug(entry.label) for entry in self.entries)
        return data, model


def slug(part: str) -> str:
    """A part of a cell's id: lower case, anything but a-z 0-9 _ . becomes _."""
    return re.sub(r"[^a-z0-9_.]", "_", part.lower())


def validate(
    tree: Node, model: type[AnyModel], prefix: Mapping[str, str] | None = None
) -> AnyModel:
    """The tree as a model; lists serve as tuples and null as what was not written."""
    try:
        return model.model_validate_json(json.dumps(plain(tree, nulls=False)))
    except ValidationError as error:
        raise form_fault(error, tree, model, prefix or {}) from error


def drafts(tree: Node, spec: ExperimentSpec) -> tuple[Draft, ...]:
    """All cells in the order of the file: data, model, arm. Raises UserError for a bad one."""
    made: dict[str, Draft] = {}
    for data in _entries(tree, "data"):
        for model in _entries(tree, "model"):
            for arm in spec.arms:
                draft = _draft(tree, arm, (data, model))
                if draft.id in made:
                    raise _same_id(draft, made[draft.id])
                made[draft.id] = draft
    _refuse_idle_head_scale(made.values())
    return tuple(made.values())


def _entries(tree: Node, axis: str) -> list[Entry]:
    level = 1 + AXES.index(axis)
    nodes = items(tree, "matrix", axis)
    if not nodes:
        empty = Node({}, nearest(tree, [axis]).place)
        label = entry_label(empty, axis, tree) or ""
        return [Entry(axis=axis, label=label, node=empty, level=level, written=False)]
    return [_entry(tree, axis, node, level) for node in nodes]


def _entry(tree: Node, axis: str, node: Node, level: int) -> Entry:
    label = find(node, ["label"])
    if label is not None and (not isinstance(label.value, str) or not label.value):
        rule = f"matrix.{axis}: a label is text, got {shown(label.value)}"
        raise UserError(rule, key=f"matrix.{axis}", place=label.place)
    arms = mapping(tree, "arms")
    for name, arm in mapping(node, "arms").items():
        key = f"matrix.{axis}: arms.{name}"
        if name not in arms:
            rule = f"{key}: there is no arm {name}{suggestion(name, arms)}"
            raise UserError(rule, key=f"matrix.{axis}", place=arm.place)
        if arm.value is None:
            rule = f"{key} is null, but an entry cannot take an arm away"
            raise UserError(rule, key=f"matrix.{axis}", place=arm.place)
    for key in BESIDE:
        beside = find(node, [key])
        if beside is not None and not is_mapping(beside):
            rule = f"matrix.{axis}: {key} must be a mapping, got {shown(beside.value)}"
            raise UserError(rule, key=f"matrix.{axis}", place=beside.place)
    return Entry(axis=axis, label=entry_label(node, axis, tree) or "", node=node, level=level)


def _draft(tree: Node, arm: str, entries: tuple[Entry, Entry]) -> Draft:
    data, model = entries
    arm_node = _layered(tree, entries, "arms", arm)
    validate(Node({"arms": Node({arm: arm_node}, arm_node.place)}, arm_node.place), _Arms)
    for key, node in mapping(arm_node, "model").items():
        if key not in ARM_MODEL_KEYS:
            raise UserError(
                f"arms.{arm}.model.{key}: an arm overrides only {', '.join(ARM_MODEL_KEYS)}",
                key=f"arms.{arm}.model.{key}",
                place=node.place,
                remedy=f"arms are compared on one network; write {key} in model or matrix.model",
            )
    sections = {
        "data": merge(find_section(tree, "data"), data.section, "data"),
        "model": merge(
            merge(find_section(tree, "model"), model.section, "model"),
            find_section(arm_node, "model"),
        ),
        "loss": find_section(arm_node, "loss"),
        "train": merge(_layered(tree, entries, "train"), find_section(arm_node, "train")),
        "confirm": Node(
            {k: v for k, v in mapping(tree, "confirm").items() if k in ("refit", "gap")},
            nearest(tree, ["confirm"]).place,
        ),
    }
    cell_tree = Node(sections, tree.place)
    spec = resolve(validate(cell_tree, TrialSpec, {"loss": f"arms.{arm}.loss"}))
    check_training(spec, cell_tree, arm)
    resources = _layered(tree, entries, "resources")
    validated = validate(Node({"resources": resources}, resources.place), _Resources).resources
    refuse_gpus(validated.gpus, nearest(resources, ["gpus"]).place)
    labels = "-".join(slug(entry.label) for entry in entries)
    return Draft(
        id=f"{labels}-{slug(arm)}",
        arm=arm,
        entries=entries,
        tree=cell_tree,
        arm_node=arm_node,
        spec=spec,
        resources=validated,
    )


class _Arms(BaseModel):
    arms: Mapping[str, ArmSpec]


class _Resources(BaseModel):
    resources: ResourcesSpec


def _layered(tree: Node, entries: tuple[Entry, Entry], *path: str) -> Node:
    """A section of the file with what the data entry, then the model entry, say of it."""
    layered = find_section(tree, *path)
    for entry in entries:
        above = find(entry.node, path)
        if is_mapping(above):
            layered = merge(layered, above)
    return layered


def check_training(spec: TrialSpec, tree: Node, arm: str) -> None:
    """Raise UserError for what this version cannot do, and for settings at odds with each other.

    ξ is looked at, which the channels must be able to take, and the schedule's milestones. `tree`
    gives the places; it is shaped like the training.
    """
    for key, value in settings_of(spec).items():
        name = f"arms.{arm}.{key}" if key.startswith("loss.") else key
        fault = unsupported(key, value, name=name, place=locate(tree, key)[0])
        if fault is not None:
            raise fault
    _check_milestones(spec, tree)
    native, xi = spec.model.channels == "native", spec.model.xi
    if native == (xi == "auto"):
        return
    must = "auto with channels: native" if native else "an integer with channels: "
    raise UserError(
        f"model.xi must be {must}{'' if native else spec.model.channels}, got {xi}",
        key="model.xi",
        place=locate(tree, "model.xi")[0],
        remedy="use channels: adapter to choose ξ" if native else "write a number, such as xi: 3",
    )


def _check_milestones(spec: TrialSpec, tree: Node) -> None:
    """Refuse a milestone that is not above the one before it, or that training never goes past."""
    if not isinstance(spec.train.schedule, StepSpec):
        return
    milestones = spec.train.schedule.milestones
    rising = list(milestones) == sorted(set(milestones))
    if rising and milestones[-1] < spec.train.epochs:
        return
    must = f"be less than train.epochs ({spec.train.epochs})" if rising else "rise"
    raise UserError(
        f"train.schedule.milestones must {must}, got {list(milestones)}",
        key="train.schedule.milestones",
        place=locate(tree, "train.schedule.milestones")[0],
    )


def _same_id(draft: Draft, other: Draft) -> UserError:
    for entry, before in zip(draft.entries, other.entries, strict=True):
        if entry.node is not before.node:
            return UserError(
                f"two cells have the id {draft.id}: {entry.name} stands twice in matrix."
                f"{entry.axis}",
                key=f"matrix.{entry.axis}",
                place=entry.node.place,
                remedy="give each entry a label of its own",
            )
    return UserError(
        f"two cells have the id {draft.id}: the arms {other.arm} and {draft.arm}",
        key=f"arms.{draft.arm}",
        place=draft.arm_node.place,
        remedy="rename one of the arms",
    )


def _refuse_idle_head_scale(made: Any) -> None:
    """Refuse a written `head_lr_scale` that no cell can use; 1 says what is so anyway."""
    path = ("train", "optimizer", "head_lr_scale")
    used: dict[str, bool] = {}
    for draft in made:
        node = find(draft.tree, path)
        if node is not None and node.value is not None and node.value != 1:
            loads = draft.spec.model.weights != "none"
            used[node.place] = used.get(node.place, False) or loads
    for place, loads in used.items():
        if not loads:
            raise UserError(
                f"{'.'.join(path)} has no effect with weights: none",
                key=".".join(path),
                place=place,
                remedy="remove it, or load weights",
            )
