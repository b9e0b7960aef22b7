"""YAML 1.2 text as a tree: what it refuses, it refuses with line and column."""

import math
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from mcl_bench.records import UserError
from mcl_bench.spec.tree import Node

PlaceOf = Callable[[int, int | None], str]
"""From a line and a column (both from 1; None: the line alone) to a place."""

SCALARS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
DATE = "tag:yaml.org,2002:timestamp"
MERGE = "tag:yaml.org,2002:merge"
MAX_NODES = 100_000
"""Aliases of aliases grow without bound; no experiment file comes near this."""


def read_text(text: str, shown: str) -> Node | None:
    """The tree of a file's text, or None if it is empty; `shown` is the file's name in places."""

    def place_of(line: int, column: int | None) -> str:
        return f"{shown}:{line}" if column is None else f"{shown}:{line}:{column}"

    return _read(text, place_of)


def read_value(text: str, place: str) -> Node:
    """The tree of one value given on the command line; empty text is null."""

    def place_of(line: int, column: int | None) -> str:  # noqa: ARG001 - one line, one place
        return place

    return _read(text, place_of) or Node(None, place)


def _read(text: str, place_of: PlaceOf) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_tags(yaml, text, place_of)
        root = yaml.compose(text)
        if root is None:
            return None
        tree = _Builder(yaml, place_of).build(root, root.start_mark, ())
    except MarkedYAMLError as error:
        raise _syntax_error(error, place_of) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise UserError(
            f"the character {error.character!r} may not stand in YAML", place=place_of(line, column)
        ) from error
    except RecursionError as error:
        raise UserError("the text is nested too deeply", place=place_of(1, None)) from error
    return tree


def _refuse_tags(yaml: YAML, text: str, place_of: PlaceOf) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("---") or (line.strip() and line[0] not in "%#"):
            break
        if line.startswith("%YAML") and line.split()[1:2] != ["1.2"]:
            raise UserError(
                f"the file is read as YAML 1.2, got the directive {line.strip()}",
                place=place_of(number, 1),
                remedy="remove that line",
            )
    if "!" not in text:
        return
    for event in yaml.parse(text):
        if getattr(event, "tag", None) is not None:
            mark = event.start_mark
            raise UserError(
                f"tags are not read, got {event.tag}",
                place=place_of(mark.line + 1, mark.column + 1),
                remedy="write the plain value",
            )


def _syntax_error(error: MarkedYAMLError, place_of: PlaceOf) -> UserError:
    mark = error.problem_mark or error.context_mark
    place = place_of(1, None) if mark is None else place_of(mark.line + 1, mark.column + 1)
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return UserError(f"the text is not YAML: {said}", place=place)


class _Builder:
    """Turns composed YAML nodes into a tree."""

    def __init__(self, yaml: YAML, place_of: PlaceOf) -> None:
        self._yaml = yaml
        self._place_of = place_of
        self._count = 0

    def build(self, node: Any, mark: StringMark, parents: tuple[int, ...]) -> Node:
        """The tree under one composed node; `mark` is where its key or itself stands."""
        self._count += 1
        place = self._place_of(mark.line + 1, None)
        if id(node) in parents or self._count > MAX_NODES:
            raise self._fault(node, "an alias may not contain itself or grow without bound")
        inside = (*parents, id(node))
        if isinstance(node, MappingNode):
            return Node(self._children(node, inside), place)
        if isinstance(node, SequenceNode):
            return Node([self.build(item, item.start_mark, inside) for item in node.value], place)
        return Node(self._scalar(node), place)

    def _children(self, node: MappingNode, parents: tuple[int, ...]) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                raise self._fault(key, "the merge key << is not YAML 1.2", "use extends")
            name = self._scalar(key) if isinstance(key, ScalarNode) else None
            if not isinstance(name, str):
                got = key.value if isinstance(key, ScalarNode) else "a list or a mapping"
                raise self._fault(key, f"keys are text, got {got}", "write it in quotes")
            if name in children:
                raise self._fault(key, f"the key {name} stands here twice")
            children[name] = self.build(value, key.start_mark, parents)
        return children

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag == DATE:
            raise self._fault(
                node, f"{node.value} is a date in YAML, and no key takes one", "write it in quotes"
            )
        if node.tag not in SCALARS:
            raise self._fault(node, f"{node.value} has a meaning of its own in YAML", "quote it")
        try:
            value = self._yaml.constructor.construct_object(node)
        except ValueError as error:  # Python limits the digits of an integer
            raise self._fault(node, f"the value cannot be read: {error}") from error
        if isinstance(value, float):
            value = float(value)
            if not math.isfinite(value):
                raise self._fault(node, f"numbers are finite, got {node.value}")
        return value

    def _fault(self, node: Any, rule: str, remedy: str | None = None) -> UserError:
        mark = node.start_mark
        return UserError(rule, place=self._place_of(mark.line + 1, mark.column + 1), remedy=remedy)
