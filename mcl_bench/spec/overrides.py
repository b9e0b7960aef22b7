"""`key.sub=value` on the command line: the last word, over matrix entries and arms too."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mcl_bench.records import UserError
from mcl_bench.spec.documents import AXES, BESIDE, canonical, canonical_entry
from mcl_bench.spec.faults import shown, suggestion
from mcl_bench.spec.schema import foreign_keys
from mcl_bench.spec.source import read_value
from mcl_bench.spec.tree import (
    Node,
    change,
    child,
    find,
    is_list,
    is_mapping,
    is_null,
    items,
    leaves,
    mapping,
    merge,
    nearest,
    nested,
    plain,
)
from mcl_bench.spec.urls import masked


@dataclass(frozen=True, kw_only=True)
class Override:
    """One override: its text as shown, the place that messages give, its path and its value."""

    text: str
    path: tuple[str, ...]
    value: Node

    @property
    def place(self) -> str:
        """`override train.epochs=0`."""
        return self.value.place

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The paths of all that it sets."""
        return tuple((*self.path, *below) for below in leaves(self.value))


def apply_overrides(tree: Node, texts: Sequence[str]) -> tuple[Node, tuple[Override, ...]]:
    """The tree with all overrides in it, one after another, and the overrides."""
    done: list[Override] = []
    for text in texts:
        override = _parse(text, tree)
        tree = _apply(tree, override)
        done.append(override)
    return tree, tuple(done)


def entry_label(entry: Node, axis: str, tree: Node) -> str | None:
    """The label of a matrix entry: its own, or the name of its data set or backbone."""
    name = "name" if axis == "data" else "backbone"
    for found in (find(entry, ["label"]), find(entry, [name]), find(tree, [axis, name])):
        if found is not None and isinstance(found.value, str):
            return found.value
    return None


def refuse_searched(overrides: Iterable[Override], searched: Iterable[str]) -> None:
    """Refuse overrides of keys that the space searches; `searched` are its keys in the file."""
    for override in overrides:
        for path in override.keys:
            if path[0] in ("search", "matrix"):
                continue
            dotted = ".".join(path)
            for key in searched:
                shared = key.split(".", 2)[-1] if key.startswith("arms.") else key
                if any(one == dotted or one.startswith(f"{dotted}.") for one in (key, shared)):
                    raise UserError(
                        f"{dotted} is searched and cannot be set, got {override.text}",
                        key=dotted,
                        place=override.place,
                        remedy=f"take it out of the search first: search.space.{key}=null",
                    )


def _parse(text: str, tree: Node) -> Override:
    key, sign, value = text.partition("=")
    told = masked(text)
    place = f"override {told}"
    if not sign:
        raise UserError(f"an override is key.sub=value, got {shown(text)}", place=place)
    path = _path(key.strip(), tree)
    if not path or "" in path:
        raise UserError(f"an override is key.sub=value, got {shown(text)}", place=place)
    if path[0] == "extends":
        rule = "extends is read before the command line and cannot be set there"
        raise UserError(rule, key="extends", place=place)
    return Override(text=told, path=path, value=read_value(value, place))


def _path(key: str, tree: Node) -> tuple[str, ...]:
    """The steps of a dotted key; a label of the matrix is one step, whatever it holds."""
    for axis in AXES:
        start = f"matrix.{axis}."
        for entry in items(tree, "matrix", axis) if key.startswith(start) else ():
            label = entry_label(entry, axis, tree)
            if label is not None and key.startswith(f"{start}{label}."):
                rest = key[len(start) + len(label) + 1 :]
                return ("matrix", axis, label, *rest.split("."))
    return tuple(key.split("."))


def _apply(tree: Node, override: Override) -> Node:
    path = override.path
    if path[:2] in {("matrix", axis) for axis in AXES} and len(path) > 2:
        return _apply_to_entry(tree, override)
    _refuse_several(tree, override)
    above = canonical(nested(path, override.value))
    tree = _refuse_idle_null(tree, override)
    merged = merge(tree, above, stay=True)
    for key in _spoken_for(above):
        merged = _unshadow(merged, key, override)
    return merged


def _spoken_for(above: Node) -> Iterator[tuple[str, ...]]:
    """The keys that an override sets, and those that the kinds it names do not know."""
    for key in leaves(above):
        yield key
        if len(key) > 1 and key[-1] == "name":
            foreign = foreign_keys(key[-2], plain(nearest(above, key)))
            yield from ((*key[:-1], name) for name in sorted(foreign))


def _refuse_several(tree: Node, override: Override) -> None:
    """`data.name` and `data.root` say nothing where the matrix has several data."""
    entries = items(tree, "matrix", "data")
    refused = {("data", "name"), ("data", "root")}
    for key in override.keys:
        if len(entries) < 2 or key not in refused:
            continue
        labels = [entry_label(entry, "data", tree) or "?" for entry in entries]
        raise UserError(
            f"{'.'.join(key)} cannot be set where the matrix has several data",
            key=".".join(key),
            place=override.place,
            remedy=f"set matrix.data.LABEL.{key[-1]}=… with one of {', '.join(labels)}",
        )


def _refuse_idle_null(tree: Node, override: Override) -> Node:
    """Refuse `search.space.KEY=null` without such a key; take KEY out of `enqueue` otherwise."""
    if override.path[:2] != ("search", "space") or not is_null(override.value):
        return tree
    prefix = ".".join(override.path[2:])
    spaces = [find(tree, ["search", "space"])]
    spaces += [child(entry, "space") for axis in AXES for entry in items(tree, "matrix", axis)]
    known = {key for space in spaces for key in mapping(space)}
    if prefix and not any(_is_under(key, prefix) for key in known):
        raise UserError(
            f"{prefix} is not searched{suggestion(prefix, known)}",
            key=f"search.space.{prefix}",
            place=override.place,
        )

    def without(enqueue: Node) -> Node:
        return replace(enqueue, value=[_without_keys(entry, prefix) for entry in enqueue.value])

    if not is_list(find(tree, ["search", "enqueue"])):
        return tree
    return change(tree, ["search", "enqueue"], without)


def _without_keys(entry: Node, prefix: str) -> Node:
    if not is_mapping(entry):
        return entry
    kept = {key: node for key, node in entry.value.items() if not _is_under(key, prefix)}
    return replace(entry, value=kept)


def _is_under(key: str, prefix: str) -> bool:
    return not prefix or key == prefix or key.startswith(f"{prefix}.")


def _apply_to_entry(tree: Node, override: Override) -> Node:
    _, axis, label, *rest = override.path
    entries = items(tree, "matrix", axis)
    labels = [entry_label(entry, axis, tree) for entry in entries]
    if label not in labels or not rest:
        known = [one for one in labels if one is not None]
        raise UserError(
            f"matrix.{axis} has no entry {label}{suggestion(label, known)}",
            key=f"matrix.{axis}",
            place=override.place,
        )
    above = canonical_entry(nested(rest, override.value))
    for key in leaves(above):
        _refuse_overruled(tree, axis, key, override)
    position = labels.index(label)
    entries[position] = merge(entries[position], above, stay=True)
    return _with_entries(tree, axis, entries)


def _refuse_overruled(tree: Node, axis: str, key: tuple[str, ...], override: Override) -> None:
    """Refuse an entry's word that a later entry or an arm overrules: it would not be the last."""
    later: list[tuple[str, Node]] = []
    if axis == "data" and key[0] in BESIDE:
        later += [
            (f"matrix.model.{entry_label(entry, 'model', tree)}", entry)
            for entry in items(tree, "matrix", "model")
        ]
    if key[0] == "train":
        later += [(f"arms.{name}", arm) for name, arm in mapping(tree, "arms").items()]
    if axis == "model" and key[0] not in BESIDE:
        key = ("model", *key)
        later += [(f"arms.{name}", arm) for name, arm in mapping(tree, "arms").items()]
    for name, node in later:
        if find(node, key) is not None:
            raise UserError(
                f"{override.text} would not reach every cell: {name} sets {'.'.join(key)} after it",
                key=".".join(key),
                place=override.place,
                remedy=f"set {name}.{'.'.join(key)} instead",
            )


def _unshadow(tree: Node, key: tuple[str, ...], override: Override) -> Node:
    """The tree without what would overrule a key that the command line has set."""
    section, *rest = key
    in_arms: tuple[str, ...] | None = None
    in_entries: dict[str, tuple[str, ...]] = {}
    if section in AXES:
        in_entries[section] = tuple(rest)
    if section in ("train", "model"):
        in_arms = key
    if section in ("train", "arms", "resources"):
        in_entries = dict.fromkeys(AXES, key)
    if key[:2] == ("search", "space"):
        in_entries = dict.fromkeys(AXES, ("space", *rest[1:]))
    if in_arms is not None:
        tree = _without_in_arms(tree, in_arms, override)
    for axis in AXES:
        entries = items(tree, "matrix", axis)
        if in_arms is not None:
            entries = [_without_in_arms(entry, in_arms, override) for entry in entries]
        if axis in in_entries:
            entries = [_without(entry, in_entries[axis], override) for entry in entries]
        tree = _with_entries(tree, axis, entries)
    return tree


def _with_entries(tree: Node, axis: str, entries: list[Node]) -> Node:
    def replaced(node: Node) -> Node:
        return replace(node, value=entries) if is_list(node) else node

    return change(tree, ["matrix", axis], replaced)


def _without_in_arms(node: Node, path: tuple[str, ...], override: Override) -> Node:
    for name in mapping(node, "arms"):
        node = _without(node, ("arms", name, *path), override)
    return node


def _without(node: Node, path: tuple[str, ...], override: Override) -> Node:
    """The node without all at a path; a scalar on the way stands for the whole mapping and goes.

    A null on the way deletes what the override sets, and cannot be split: it is refused.
    """
    if not path:
        return node
    for depth in range(1, len(path) + 1):
        found = find(node, path[:depth])
        if found is None:
            break
        if is_null(found) and depth < len(path):
            raise _overruled_by_null(override, path, found)
        if depth == len(path) or not is_mapping(found):
            return change(node, path[:depth], lambda _: None)
    if path[0] == "space" and len(path) > 1:
        return change(node, ["space"], lambda space: _without_in_space(space, path[1], override))
    return node


def _without_in_space(space: Node, key: str, override: Override) -> Node:
    for other, below in mapping(space).items():
        if is_null(below) and key.startswith(f"{other}."):
            raise _overruled_by_null(override, (key,), below)
    return _without_keys(space, key)


def _overruled_by_null(override: Override, path: tuple[str, ...], null: Node) -> UserError:
    return UserError(
        f"{override.text} cannot overrule the null at {null.place}",
        key=".".join(path),
        place=override.place,
        remedy="take that null out of the file first",
    )
