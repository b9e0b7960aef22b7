"""An experiment: its file as loaded, its cells, and the place of every key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcl_bench.spec.cells import Cell
from mcl_bench.spec.interpolate import escaped
from mcl_bench.spec.schema import ExperimentSpec
from mcl_bench.spec.tree import Node, find, locate, mapping, plain
from mcl_bench.spec.urls import SECRET_KEYS, without_password

PER_CELL = (
    ("data", "resize"),
    ("data", "crop"),
    ("data", "validation"),
    ("model", "weights"),
    ("model", "xi"),
    ("train", "optimizer", "head_lr_scale"),
)
"""Keys whose default depends on the cell."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment file with its overrides: what a sweep is.

    `spec` is the file as the schema sees it, `cells` what is to be run, `resolved` the plain
    values of a file that loads as the same cells again.
    """

    spec: ExperimentSpec
    path: Path
    cells: tuple[Cell, ...]
    resolved: Mapping[str, Any]
    baseline: str
    tree: Node = field(repr=False, compare=False)
    cell_trees: Mapping[str, Node] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.spec.name

    def place(self, key: str, cell: str | None = None) -> str | None:
        """Where a dotted key was written (`file:line` or the override), or its nearest parent.

        A setting of one cell is looked for where that cell has it from, if its id is given; else
        in the file, then in the matrix and the arms. None for an empty key.
        """
        if not key:
            return None
        if cell is not None and key.split(".", 1)[0] in self.cell_trees[cell].value:
            return locate(self.cell_trees[cell], key)[0]
        place, found = locate(self.tree, key)
        if found:
            return place
        for tree in self.cell_trees.values():
            other, found = locate(tree, key)
            if found:
                return other
        return place


def baseline_of(spec: ExperimentSpec) -> str:
    """The arm that the others are compared with."""
    return spec.baseline or ("ce" if "ce" in spec.arms else next(iter(spec.arms)))


def resolved_file(tree: Node, spec: ExperimentSpec, cells: Sequence[Cell]) -> dict[str, Any]:
    """The plain values of a file with all defaults filled in; matrix and arms as they are written.

    A default that differs from cell to cell stays null, so that every cell finds its own again.
    Passwords are left out: this is what is kept and shown.
    """
    resolved: dict[str, Any] = spec.model_dump(mode="json", by_alias=True)
    for path in PER_CELL:
        _fill(resolved, path, cells)
    for dotted in SECRET_KEYS:
        section, key = dotted.split(".")
        url = resolved[section][key]
        resolved[section][key] = None if url is None else without_password(url)
    resolved["baseline"] = baseline_of(spec)
    if spec.search.sampler == "grid":
        del resolved["search"]["trials"]  # no part of it: the grid's points are the trials
    for name in spec.arms:
        for part in ("train", "model"):
            written = find(tree, ["arms", name, part])
            resolved["arms"][name][part] = {} if written is None else plain(written) or {}
    matrix = mapping(tree, "matrix")
    resolved["matrix"] = {
        axis: plain(matrix[axis]) or [] if axis in matrix else [] for axis in ("data", "model")
    }
    result: dict[str, Any] = escaped(resolved)
    return result


def _fill(resolved: dict[str, Any], path: tuple[str, ...], cells: Sequence[Cell]) -> None:
    *parents, last = path
    place = resolved
    for key in parents:
        place = place[key]
    if place[last] is not None:
        return
    values = []
    for cell in cells:
        value: Any = cell.spec.model_dump(mode="json", by_alias=True)
        for key in path:
            value = value[key]
        if value not in values:
            values.append(value)
    if len(values) == 1:
        place[last] = values[0]
