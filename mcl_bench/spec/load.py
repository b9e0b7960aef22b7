"""From an experiment file and overrides to an Experiment; every fault of the form is told here."""

import re
from collections.abc import Sequence
from pathlib import Path

from mcl_bench.records import UserError
from mcl_bench.spec.cells import drafts, validate
from mcl_bench.spec.cellspace import finish, searched_keys
from mcl_bench.spec.documents import find_section, read_document, settled
from mcl_bench.spec.experiment import Experiment, baseline_of, resolved_file
from mcl_bench.spec.faults import shown, suggestion
from mcl_bench.spec.interpolate import interpolated
from mcl_bench.spec.overrides import apply_overrides, refuse_searched
from mcl_bench.spec.schema import ExperimentSpec
from mcl_bench.spec.support import refuse_gpus, refuse_remote_files
from mcl_bench.spec.tree import Node, find, items, locate, mapping
from mcl_bench.spec.urls import refuse_storage

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
RESERVED = frozenset({"leaderboard"})

MOST_TRIALS = {"gp": 500, "cmaes": 500}
"""The samplers whose model of a cell grows too slow, or whose steps too small, with more trials."""


def load(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment that a file and `key.sub=value` overrides describe.

    Raises UserError, with the place `file:line` or the override, for every fault of their form.
    """
    path = Path(path)
    tree, applied = apply_overrides(read_document(path), overrides)
    tree = _with_base_names(interpolated(settled(tree)))
    spec = validate(tree, ExperimentSpec)
    _check_names(spec, tree)
    _check_support(spec, tree)
    refuse_searched(applied, sorted(searched_keys(tree)))
    made = drafts(tree, spec)
    cells = finish(tree, spec, made)
    return Experiment(
        spec=spec,
        path=path,
        cells=cells,
        resolved=resolved_file(tree, spec, cells),
        baseline=baseline_of(spec),
        tree=tree,
        cell_trees={draft.id: draft.tree for draft in made},
    )


def _with_base_names(tree: Node) -> Node:
    """The tree with `data.name` and `model.backbone`, the first entry's where only entries say."""
    children = dict(tree.value)
    for axis, name in (("data", "name"), ("model", "backbone")):
        named = [find(entry, [name]) for entry in items(tree, "matrix", axis)]
        if not named or named[0] is None or None in named or find(tree, [axis, name]) is not None:
            continue
        section = find_section(tree, axis)
        children[axis] = Node({name: named[0], **mapping(section)}, section.place)
    return Node(children, tree.place)


def _check_names(spec: ExperimentSpec, tree: Node) -> None:
    _check_name("name", spec.name, tree)
    if spec.tracking.experiment is not None:
        _check_name("tracking.experiment", spec.tracking.experiment, tree)
    for arm in spec.arms:
        if not arm or "." in arm:
            raise UserError(
                f"arms: an arm's name is text without dots, got {shown(arm)}",
                key=f"arms.{arm}",
                place=locate(tree, f"arms.{arm}")[0],
            )
    if spec.baseline is not None and spec.baseline not in spec.arms:
        raise UserError(
            f"baseline: there is no arm {spec.baseline}{suggestion(spec.baseline, spec.arms)}",
            key="baseline",
            place=locate(tree, "baseline")[0],
        )


def _check_name(key: str, value: str, tree: Node) -> None:
    place = locate(tree, key)[0]
    if value in RESERVED:
        raise UserError(f"{key}: {value} is reserved", key=key, place=place, remedy="rename it")
    if NAME.fullmatch(value) is None:
        raise UserError(
            f"{key} is made of A-Z a-z 0-9 . _ - and begins with no dot, got {shown(value)}",
            key=key,
            place=place,
            remedy="the folder of a sweep is MCL_HOME's, so a name holds no path",
        )


def _check_support(spec: ExperimentSpec, tree: Node) -> None:
    _check_model_size(spec, tree)
    refuse_storage(spec.search.storage, locate(tree, "search.storage")[0])
    refuse_gpus(spec.resources.gpus, locate(tree, "resources.gpus")[0])
    refuse_remote_files(spec.files, locate(tree, "files")[0])


def _check_model_size(spec: ExperimentSpec, tree: Node) -> None:
    sampler, trials = spec.search.sampler, spec.search.trials
    if trials > MOST_TRIALS.get(sampler, trials):
        raise UserError(
            f"search.trials: sampler: {sampler} takes {MOST_TRIALS[sampler]} trials at most, "
            f"got {trials}",
            key="search.trials",
            place=locate(tree, "search.trials")[0],
            remedy="ask for fewer, or take sampler: tpe",
        )
