"""A file as a tree of values that know the place they come from, and how two trees merge."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeGuard

from mcl_bench.spec.schema import KINDS, foreign_keys

Path: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead from the top to a node."""


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a mapping of nodes or a list of nodes, with its place (`file:line`).

    A `whole` node (a range of the search space) is replaced in a merge, never merged into.
    """

    value: Any
    place: str
    whole: bool = False


def is_mapping(node: Node | None) -> TypeGuard[Node]:
    """Whether this node is there and is a mapping."""
    return node is not None and isinstance(node.value, dict)


def is_list(node: Node | None) -> TypeGuard[Node]:
    """Whether this node is there and is a list."""
    return node is not None and isinstance(node.value, list)


def is_null(node: Node | None) -> bool:
    """Whether this node is there and says null."""
    return node is not None and node.value is None


def plain(node: Node, *, nulls: bool = True) -> Any:
    """The plain values of a tree; with `nulls` false, keys whose value is null are left out."""
    if isinstance(node.value, dict):
        return {
            key: plain(child, nulls=nulls)
            for key, child in node.value.items()
            if nulls or child.value is not None
        }
    if isinstance(node.value, list):
        return [plain(child, nulls=nulls) for child in node.value]
    return node.value


def child(node: Node | None, step: str | int) -> Node | None:
    """The node under one key or list position, or None."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return node.value.get(step)
    if isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
        found: Node = node.value[step]
        return found
    return None


def find(node: Node | None, path: Sequence[str | int]) -> Node | None:
    """The node at a path, or None."""
    for step in path:
        node = child(node, step)
    return node


def nearest(node: Node, path: Sequence[str | int]) -> Node:
    """The node at a path, or its nearest parent that is there."""
    for step in path:
        below = child(node, step)
        if below is None:
            return node
        node = below
    return node


def mapping(node: Node | None, *path: str) -> dict[str, Node]:
    """The children of the mapping at a path; none where there is no mapping."""
    found = find(node, path)
    return dict(found.value) if is_mapping(found) else {}


def items(node: Node | None, *path: str) -> list[Node]:
    """The elements of the list at a path; none where there is no list."""
    found = find(node, path)
    return list(found.value) if is_list(found) else []


def uniform(value: Any, place: str) -> Node:
    """The tree of plain values that all stand at one place."""
    if isinstance(value, dict):
        return Node({key: uniform(below, place) for key, below in value.items()}, place)
    if isinstance(value, list):
        return Node([uniform(below, place) for below in value], place)
    return Node(value, place)


def sets(node: Node | None, path: Sequence[str]) -> bool:
    """Whether a tree says anything of a path: a value or null there, or in place of a parent."""
    for step in path:
        if node is None:
            return False
        if not is_mapping(node):
            return True
        node = child(node, step)
    return node is not None


def nested(path: Sequence[str], leaf: Node) -> Node:
    """A tree of mappings whose only leaf stands at a path."""
    for key in reversed(path):
        leaf = Node({key: leaf}, leaf.place)
    return leaf


def leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of everything that is no mapping; ranges and lists count as one leaf."""
    if not is_mapping(node) or node.whole:
        yield path
        return
    for key, below in node.value.items():
        yield from leaves(below, (*path, key))


def change(node: Node, path: Sequence[str], edit: Callable[[Node], Node | None]) -> Node:
    """The tree with the node at a path edited (None takes it away); as it was without that node."""
    if not path:
        raise ValueError("a change needs a path")
    below = child(node, path[0])
    if below is None:
        return node
    edited = edit(below) if len(path) == 1 else change(below, path[1:], edit)
    if edited is below:
        return node
    children = dict(node.value)
    if edited is None:
        del children[path[0]]
    else:
        children[path[0]] = edited
    return replace(node, value=children)


def merge(below: Node | None, above: Node, key: str = "", *, stay: bool = False) -> Node:
    """Deep merge, `above` wins: lists and ranges replace, null deletes.

    A null that has nothing to delete stays, so that it can delete in a later merge. Where a
    loss, an optimizer, a schedule or a pruner changes its name, what only its old kind knows is
    left behind. `key` is the key that both stand under. A merged mapping has the place of the one
    above, or with `stay` of the one below.
    """
    if not is_mapping(below) or not is_mapping(above) or below.whole or above.whole:
        return above
    if not above.value:
        return below
    children = dict(below.value)
    if key in KINDS:
        children = _kept_by_kind(children, above, key)
    for name, value in above.value.items():
        if value.value is not None:
            children[name] = merge(children.get(name), value, name, stay=stay)
            continue
        gone = [old for old in children if old == name or old.startswith(f"{name}.")]
        for old in gone:
            del children[old]
        if not gone:
            children[name] = value
    return Node(children, below.place if stay else above.place)


def _kept_by_kind(children: dict[str, Node], above: Node, key: str) -> dict[str, Node]:
    """What a mapping keeps when the one above it may name another kind."""
    old, new = children.get("name"), above.value.get("name")
    if new is None or (old is not None and old.value == new.value):
        return children
    foreign = foreign_keys(key, new.value)
    return {name: value for name, value in children.items() if name not in foreign}


def locate(node: Node, dotted: str) -> tuple[str, bool]:
    """The place of a dotted key or of its nearest parent, and whether the key itself was found.

    Keys with dots in them (those of `search.space`) and entries of the matrix, by their label or
    position, are found too.
    """
    if not dotted:
        return node.place, True
    for key, below in _steps(node):
        if dotted == key:
            return below.place, True
        if dotted.startswith(f"{key}."):
            return locate(below, dotted[len(key) + 1 :])
    return node.place, False


def _steps(node: Node) -> list[tuple[str, Node]]:
    """The names by which a node's children are reached, longest first."""
    if isinstance(node.value, dict):
        steps = list(node.value.items())
    elif isinstance(node.value, list):
        steps = [(str(position), below) for position, below in enumerate(node.value)]
        for below in node.value:
            for name in ("label", "name", "backbone"):
                label = child(below, name)
                if label is not None and isinstance(label.value, str):
                    steps.append((label.value, below))
    else:
        steps = []
    return sorted(steps, key=lambda step: -len(step[0]))
