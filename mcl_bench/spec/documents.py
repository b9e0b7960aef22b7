"""Experiment files as trees: reading, `extends`, and the one way in which keys are then written."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mcl_bench.records import UserError
from mcl_bench.spec.faults import shown
from mcl_bench.spec.source import read_text
from mcl_bench.spec.space import is_range
from mcl_bench.spec.tree import (
    Node,
    child,
    find,
    is_list,
    is_mapping,
    is_null,
    mapping,
    merge,
    plain,
)

VERSION = 1
AXES = ("data", "model")
ARM_PARTS = ("loss", "train", "model")

BESIDE = ("train", "arms", "space", "resources")
"""What a matrix entry may hold besides keys of its own section."""


def read_document(path: Path) -> Node:
    """The tree of an experiment file, merged over all that it extends."""
    return _read(path, str(path), ())


def _read(path: Path, named_at: str, chain: tuple[Path, ...]) -> Node:
    """The tree of one file; `named_at` is where it was named, `chain` the files that led to it."""
    shown_path = os.path.normpath(path)
    here = Path(os.path.realpath(path))
    if here in chain:
        files = " -> ".join(os.path.relpath(one) for one in (*chain[chain.index(here) :], here))
        raise UserError(f"extends leads back to the same file: {files}", place=named_at)
    tree = read_text(_text(path, shown_path, named_at), shown_path)
    if tree is None or is_null(tree):
        raise UserError("the file is empty", place=f"{shown_path}:1", remedy="see mcl-bench schema")
    if not is_mapping(tree):
        rule = f"an experiment file is a mapping, got {shown(plain(tree))}"
        raise UserError(rule, place=tree.place)
    _check_version(tree)
    below: Node | None = None
    for name in _extended(tree):
        base = _read(path.parent / name.value, name.place, (*chain, here))
        below = merge(below, base)
    own = {key: value for key, value in tree.value.items() if key != "extends"}
    return merge(below, canonical(replace(tree, value=own)))


def _text(path: Path, shown_path: str, named_at: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"the file is not UTF-8: {error}", place=shown_path) from error
    except OSError as error:
        why = error.strerror or str(error)
        if named_at == str(path):
            raise UserError(f"cannot read {shown_path}: {why}", place=shown_path) from error
        raise UserError(
            f"extends names {shown_path}, which cannot be read: {why}",
            key="extends",
            place=named_at,
        ) from error


def _check_version(tree: Node) -> None:
    """Refuse a file of a later format before complaining about keys that it may know."""
    version = child(tree, "version")
    if version is None or not isinstance(version.value, int) or version.value <= VERSION:
        return
    raise UserError(
        f"version {version.value} is of a later mcl_bench; this one reads version {VERSION}",
        key="version",
        place=version.place,
        remedy="update mcl_bench (pip install -U mcl-bench)",
    )


def _extended(tree: Node) -> list[Node]:
    extends = child(tree, "extends")
    if extends is None or is_null(extends):
        return []
    names: list[Node] = extends.value if is_list(extends) else [extends]
    for name in names:
        if not isinstance(name.value, str) or not name.value or "${" in name.value:
            rule = f"extends is a file or a list of files, got {shown(name.value)}"
            raise UserError(rule, key="extends", place=name.place)
    return names


def canonical(tree: Node) -> Node:
    """The tree with a pruner's name as a mapping, and space keys joined with dots.

    After it, one key has one way of being written, so that files and overrides merge.
    """
    children = dict(tree.value)
    search = child(tree, "search")
    if is_mapping(search):
        parts = dict(search.value)
        pruner = parts.get("pruner")
        if pruner is not None and isinstance(pruner.value, str):
            parts["pruner"] = Node({"name": pruner}, pruner.place)
        if "space" in parts:
            parts["space"] = join_space(parts["space"])
        if is_list(parts.get("enqueue")):
            entries = [join_keys(entry) for entry in parts["enqueue"].value]
            parts["enqueue"] = replace(parts["enqueue"], value=entries)
        children["search"] = replace(search, value=parts)
    if is_mapping(child(tree, "matrix")):
        children["matrix"] = _canonical_matrix(children["matrix"])
    return replace(tree, value=children)


def _canonical_matrix(matrix: Node) -> Node:
    axes = dict(matrix.value)
    for axis in AXES:
        if is_list(axes.get(axis)):
            entries = [canonical_entry(entry) for entry in axes[axis].value]
            axes[axis] = replace(axes[axis], value=entries)
    return replace(matrix, value=axes)


def canonical_entry(entry: Node) -> Node:
    """A matrix entry with its space keys joined."""
    space = child(entry, "space")
    if space is None:
        return entry
    return replace(entry, value={**entry.value, "space": join_space(space)})


def join_space(space: Node) -> Node:
    """A space whose keys are all dotted and whose ranges are whole."""
    if not is_mapping(space):
        return space
    joined = _joined(space)
    return replace(
        space,
        value={
            key: replace(node, whole=True) if is_mapping(node) else node
            for key, node in joined.items()
        },
    )


def join_keys(entry: Node) -> Node:
    """An `enqueue` entry whose keys are all dotted."""
    return replace(entry, value=_joined(entry)) if is_mapping(entry) else entry


def _joined(node: Node) -> Mapping[str, Node]:
    """Dotted and nested keys, both as dotted ones; the same key twice is refused."""
    joined: dict[str, Node] = {}
    for key, leaf in _walk(node, ""):
        if key in joined:
            rule = f"the key {key} stands here twice, dotted and nested"
            raise UserError(rule, key=f"search.space.{key}", place=leaf.place)
        joined[key] = leaf
    return joined


def _walk(node: Node, prefix: str) -> Iterable[tuple[str, Node]]:
    for key, below in mapping(node).items():
        if is_mapping(below) and below.value and not is_range(below):
            yield from _walk(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", below


def settled(tree: Node) -> Node:
    """The merged tree without sections of arms and entries that are null: they say nothing."""
    children = dict(tree.value)
    if is_mapping(child(tree, "arms")):
        children["arms"] = _settled_arms(children["arms"])
    if is_mapping(child(tree, "matrix")):
        axes = dict(children["matrix"].value)
        for axis in AXES:
            if is_list(axes.get(axis)):
                entries = [_settled_entry(entry) for entry in axes[axis].value]
                axes[axis] = replace(axes[axis], value=entries)
        children["matrix"] = replace(children["matrix"], value=axes)
    return replace(tree, value=children)


def _settled_arms(arms: Node) -> Node:
    return replace(
        arms, value={name: _without_nulls(arm, ARM_PARTS) for name, arm in arms.value.items()}
    )


def _settled_entry(entry: Node) -> Node:
    entry = _without_nulls(entry, BESIDE)
    arms = child(entry, "arms")
    if not is_mapping(arms):
        return entry
    return replace(entry, value={**entry.value, "arms": _settled_arms(arms)})


def _without_nulls(node: Node, names: Sequence[str]) -> Node:
    if not is_mapping(node):
        return node
    kept = {key: one for key, one in node.value.items() if key not in names or not is_null(one)}
    return replace(node, value=kept)


def find_section(node: Node | None, *path: str) -> Node:
    """The mapping at a path, or an empty one."""
    found = find(node, path)
    return found if is_mapping(found) else Node({}, node.place if node is not None else "")
