"""Faults of the form, told with the place, the rule and the nearest known name."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from mcl_bench.records import UserError
from mcl_bench.spec.loss import AT_ODDS, CUSTOM, loss_kind
from mcl_bench.spec.tree import Node, Path, find, is_mapping, nearest, plain
from mcl_bench.spec.urls import masked

CLOSE = 0.6
"""A name at least this similar is a likely slip of the pen."""


def shown(value: Any, limit: int = 60) -> str:
    """A value as a message shows it: text in quotes, null as null, no passwords, long ones cut."""
    names = {None: "null", True: "true", False: "false"}
    text = names[value] if value is None or isinstance(value, bool) else masked(repr(value))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; the nearest known one is …`, or nothing where nothing is known."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"; the nearest known one is {found[0]}" if found else ""


def form_fault(
    error: ValidationError, tree: Node, model: type[BaseModel], prefix: Mapping[str, str]
) -> UserError:
    """What the first fault of a validated tree says to its user.

    `model` is what the tree was validated as; `prefix` maps a top key to the name that the file
    has for it (`loss` to `arms.mc.loss`).
    """
    faults = error.errors(include_url=False)
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    path = _path(fault, tree)
    if fault["type"] == AT_ODDS:
        path = (*path, fault["ctx"]["key"])
    place = nearest(tree, path).place
    key = _dotted(path, prefix)
    if fault["type"] == "extra_forbidden":
        return _unknown_key(path, key, place, model, tree)
    if fault["type"] in ("missing", AT_ODDS):
        rule = "is missing" if fault["type"] == "missing" else fault["ctx"]["rule"]
        return UserError(f"{key} {rule}", key=key, place=place)
    if fault["type"] == "union_tag_not_found" and is_mapping(find(tree, path)):
        return UserError(f"{key}.name is missing", key=f"{key}.name", place=place)
    if fault["type"] == "union_tag_invalid":
        return _unknown_kind(path, key, tree, model)
    if fault["type"] == "too_short" and path == ("arms",):
        rule = "arms must name at least one arm, with its loss"
        return UserError(rule, key=key, place=place, remedy="write arms: {ce: {loss: {name: ce}}}")
    if fault["loc"][-1:] == ("[key]",):
        rule = f"{key}: a key here is a name of A-Z a-z 0-9 _, got {shown(path[-1])}"
    else:
        found = find(tree, path)
        wanted = _wanted(_schema_at(model, path, tree), model)
        got = shown(None if found is None else plain(found))
        rule = f"{key} must be {wanted}, got {got}"
    return UserError(rule, key=key, place=place)


def _path(fault: Any, tree: Node) -> Path:
    """The fault's path in the file: pydantic's, without the names of union members."""
    path: list[str | int] = []
    for step in fault["loc"]:
        if find(tree, [*path, step]) is not None:
            path.append(step)
    last = fault["loc"][-1] if fault["loc"] else None
    if fault["type"] == "missing" and last is not None:
        path.append(last)
    return tuple(path)


def _dotted(path: Path, prefix: Mapping[str, str]) -> str:
    if not path:
        return "the file"
    head, *rest = (str(step) for step in path)
    return ".".join([prefix.get(head, head), *rest])


def _unknown_key(path: Path, key: str, place: str, model: type[BaseModel], tree: Node) -> UserError:
    name = str(path[-1])
    known = set(_properties(_schema_at(model, path[:-1], tree), model))
    kinds = _kinds(_schema_at(model, path[:-1], tree, pick=False), model)
    if any(name in _properties(kind, model) for kind in kinds.values()):
        named = find(tree, [*path[:-1], "name"])
        kind = _default_kind(kinds) if named is None else named.value
        return UserError(
            f"{key} is not known: {kind} has no {name}",
            key=key,
            place=place,
            remedy=f"known here: {', '.join(sorted(known))}",
        )
    elsewhere = [other for other in _all_keys(model) if other.rsplit(".", 1)[-1] == name]
    if elsewhere and not difflib.get_close_matches(name, known, n=1, cutoff=CLOSE):
        hint = f"; the nearest known one is {elsewhere[0]}"
    else:
        hint = suggestion(name, known)
    return UserError(
        f"unknown key {key}{hint}",
        key=key,
        place=place,
        remedy=f"known here: {', '.join(sorted(known))}" if known else None,
    )


def _unknown_kind(path: Path, key: str, tree: Node, model: type[BaseModel]) -> UserError:
    named = nearest(tree, [*path, "name"])
    value = plain(named)
    kinds = _kinds(_schema_at(model, path, tree, pick=False), model)
    rule = f"{key}.name must be one of {', '.join(kinds)}, got {shown(value)}"
    if isinstance(value, str):
        rule += suggestion(value, set(kinds) - {CUSTOM})
    return UserError(rule, key=f"{key}.name", place=named.place)


@cache
def _document(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _resolved(schema: Mapping[str, Any], model: type[BaseModel]) -> Mapping[str, Any]:
    """A schema with its reference followed."""
    if "$ref" in schema:
        found: Mapping[str, Any] = _document(model)["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return found
    return schema


def _schema_at(
    model: type[BaseModel], path: Sequence[str | int], tree: Node, *, pick: bool = True
) -> Mapping[str, Any]:
    """The JSON Schema of the value at a path; `pick` chooses the kind that the tree names."""
    schema: Mapping[str, Any] = _document(model)
    node: Node | None = tree
    for step in path:
        schema = _kind(schema, node, model)
        inside = "items" if isinstance(step, int) else "additionalProperties"
        schema = schema.get("properties", {}).get(step) or schema.get(inside) or {}
        if not isinstance(schema, Mapping):
            return {}
        node = find(node, [step])
    return _kind(schema, node, model) if pick else _resolved(schema, model)


def _kind(
    schema: Mapping[str, Any], node: Node | None, model: type[BaseModel]
) -> Mapping[str, Any]:
    schema = _resolved(schema, model)
    kinds = _kinds(schema, model)
    named = find(node, ["name"])
    kind = _default_kind(kinds) if named is None else loss_kind({"name": named.value})
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    for option in schema.get("anyOf", ()):
        if "properties" in _resolved(option, model) and isinstance(node and node.value, dict):
            return _resolved(option, model)
    return schema


def _kinds(schema: Mapping[str, Any], model: type[BaseModel]) -> dict[Any, Mapping[str, Any]]:
    """The schemas of a mapping whose name decides what else it holds, by that name."""
    options = (_resolved(option, model) for option in schema.get("oneOf", ()))
    return {option["properties"]["name"].get("const", CUSTOM): option for option in options}


def _default_kind(kinds: Mapping[Any, Mapping[str, Any]]) -> Any:
    """The kind that need not be named, or None."""
    free = (name for name, kind in kinds.items() if "name" not in kind.get("required", ()))
    return next(free, None)


def _properties(schema: Mapping[str, Any], model: type[BaseModel]) -> Sequence[str]:
    return list(_resolved(schema, model).get("properties", {}))


@cache
def _all_keys(model: type[BaseModel]) -> Sequence[str]:
    """All dotted keys that a model knows, nearest to the top first."""
    found: list[str] = []
    todo: list[tuple[str, Mapping[str, Any]]] = [("", _document(model))]
    while todo:
        prefix, schema = todo.pop(0)
        schema = _resolved(schema, model)
        options = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
        todo += [(prefix, option) for option in options]
        for name, below in schema.get("properties", {}).items():
            found.append(f"{prefix}{name}")
            todo.append((f"{prefix}{name}.", below))
    return found


BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def _wanted(schema: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What a schema asks for, in words."""
    schema = _resolved(schema, model)
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if options:
        wanted = (_wanted(option, model) for option in options if option.get("type") != "null")
        return " or ".join(dict.fromkeys(wanted))
    if "const" in schema:
        return shown(schema["const"]).strip("'")
    if "enum" in schema:
        return f"one of {', '.join(str(value) for value in schema['enum'])}"
    words = TYPES.get(str(schema.get("type")), "a value")
    if "examples" in schema:
        words += f" such as {schema['examples'][0]}"
    if "minItems" in schema:
        words += f" of at least {schema['minItems']}"
    bounds = [f"{sign} {schema[name]:g}" for name, sign in BOUNDS.items() if name in schema]
    if "properties" in schema:
        words += f" of {', '.join(schema['properties'])}"
    return f"{words} {' and '.join(bounds)}" if bounds else words
