"""Interpolation: `${oc.env:NAME,default}` and references to other keys, and nothing else."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mcl_bench.records import UserError
from mcl_bench.spec.documents import AXES
from mcl_bench.spec.tree import (
    Node,
    Path,
    find,
    is_list,
    is_mapping,
    items,
    plain,
    uniform,
)
from mcl_bench.spec.urls import masked

INSIDE = re.compile(r"(?<!\\)\$\{\s*([^:{}$]*?)\s*([:}])")
"""One interpolation: the name of a resolver (before a colon) or a key (before the brace)."""


def interpolated(tree: Node) -> Node:
    """The tree with every interpolation replaced by its value.

    A reference sees the file as merged and overridden, before the matrix; so one that the matrix
    would change is refused. Values of the environment are text. OmegaConf is loaded only where
    there is something to replace.
    """
    found = [(path, node) for path, node in _strings(tree, ()) if "${" in node.value]
    if not found:
        return tree
    from omegaconf import OmegaConf

    for path, node in found:
        _check(tree, path, node)
        with _told(path, node):
            OmegaConf.create([node.value])
    top = OmegaConf.create(plain(tree))
    values: dict[Path, Any] = {}
    for path, node in found:
        with _told(path, node):
            values[path] = _value(top, path)
    return _replaced(tree, (), values)


def _value(top: Any, path: Path) -> Any:
    from omegaconf import OmegaConf

    for step in path:
        top = top[step]
    return OmegaConf.to_container(top, resolve=True) if OmegaConf.is_config(top) else top


@contextmanager
def _told(path: Path, node: Node) -> Iterator[None]:
    """Tell OmegaConf's faults about one text as the user's."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except OmegaConfBaseException as error:
        raise _fault(path, node, error) from error


def _fault(path: Path, node: Node, error: Exception) -> UserError:
    key = ".".join(str(step) for step in path)
    said = str(error).splitlines()[0]
    unset = re.search(r"Environment variable '(.*)' not found", said)
    if unset is None:
        return UserError(f"{key}: {masked(f'{said}, got {node.value}')}", key=key, place=node.place)
    return UserError(
        f"{key}: the environment variable {unset[1]} is not set",
        key=key,
        place=node.place,
        remedy=f"set it, or give a default: ${{oc.env:{unset[1]},default}}",
    )


def escaped(value: Any) -> Any:
    """Plain values whose text says `${` literally when a file of them is loaded again."""
    if isinstance(value, dict):
        return {key: escaped(below) for key, below in value.items()}
    if isinstance(value, list):
        return [escaped(below) for below in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
    return value


def _strings(node: Node, path: Path) -> list[tuple[Path, Node]]:
    if is_mapping(node):
        below = [_strings(child, (*path, key)) for key, child in node.value.items()]
    elif is_list(node):
        below = [_strings(child, (*path, index)) for index, child in enumerate(node.value)]
    else:
        return [(path, node)] if isinstance(node.value, str) else []
    return [one for found in below for one in found]


def _check(tree: Node, path: Path, node: Node) -> None:
    """Refuse other resolvers, and references whose value the matrix changes."""
    key = ".".join(str(step) for step in path)
    for name, delimiter in INSIDE.findall(node.value):
        if delimiter == ":" and name != "oc.env":
            raise UserError(
                f"{key}: an interpolation is ${{oc.env:NAME,default}} or ${{key}}, "
                f"got the resolver {name}",
                key=key,
                place=node.place,
            )
        target = _target(name, path)
        if delimiter == ":" or path[0] == "matrix" or target[:1] == ("matrix",):
            continue
        for axis in AXES:
            for entry in items(tree, "matrix", axis):
                steps = target[1:] if target[:1] == (axis,) else target
                if steps and find(entry, steps) is not None:
                    raise UserError(
                        f"{key} refers to {'.'.join(target)}, which entries of the matrix change",
                        key=key,
                        place=node.place,
                        remedy=f"write {path[-1]} in every entry of matrix.{axis}",
                    )


def _target(name: str, path: Path) -> tuple[str, ...]:
    """The key that a reference means: `.name` is beside the text that refers to it."""
    dots = len(name) - len(name.lstrip("."))
    steps = tuple(step for step in name.lstrip(".").split(".") if step)
    if not dots:
        return steps
    return (*(str(step) for step in path[: len(path) - dots]), *steps)


def _replaced(node: Node, path: Path, values: Mapping[Path, Any]) -> Node:
    """The tree with the values of its interpolations, each at the place of its text."""
    if is_mapping(node):
        children = {
            key: _replaced(below, (*path, key), values) for key, below in node.value.items()
        }
        return replace(node, value=children)
    if is_list(node):
        elements = [
            _replaced(below, (*path, index), values) for index, below in enumerate(node.value)
        ]
        return replace(node, value=elements)
    return uniform(values[path], node.place) if path in values else node
