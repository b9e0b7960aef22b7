"""Text of other people's making, so that what it holds is seen and does nothing.

Names of arms, losses, backbones, weights and folders may hold anything: line ends, a terminal's
escape sequences, marks that turn the reading direction round, markup. Control characters are
shown as the escapes that a programmer knows; letters of any script stay.
"""

import json
import math
import re
import unicodedata
from typing import Any

CONTROL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""The categories of characters that are shown by their number: no letter, mark or sign is."""

JOINERS = "\u200c\u200d"
"""Of these categories, but part of how some scripts and emoji are written: they stay."""

NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

MARKDOWN = re.compile(r"[\\`*_\[\]|~#]")
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}
LAST_SET_UP = "\u017f"
"""The last letter that every LaTeX has set up; what comes after it is shown by its number."""

FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for a formula at the head of a cell."""


def visible(text: str) -> str:
    """The text on one line, its control characters as escapes: for a terminal."""
    return "".join(map(_shown, text))


def markdown_text(text: str) -> str:
    """The text as a cell of a Markdown table that shows it as it is."""
    named = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN.sub(lambda found: f"\\{found[0]}", named)


def latex_text(text: str) -> str:
    """The text as LaTeX that shows it, whatever the engine: far letters as `U+03BE`."""
    return "".join(
        LATEX.get(character, character)
        if character <= LAST_SET_UP
        else rf"\texttt{{U+{ord(character):04X}}}"
        for character in visible(text)
    )


def csv_text(text: str) -> str:
    """The text as a cell of a CSV file: one that a spreadsheet would work out is quoted by `'`."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON that is exact, and holds no control character as it is.

    Numbers that are not finite, which JSON has no word for, are null.
    """
    plain = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return "".join(
        character if character in "\n" + JOINERS or not _is_control(character) else _unit(character)
        for character in plain
    )


def finite(value: Any) -> Any:
    """The plain value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in CONTROL


def _shown(character: str) -> str:
    if character in NAMED:
        return NAMED[character]
    if character in JOINERS or not _is_control(character):
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _unit(character: str) -> str:
    """A character as JSON's escapes, which are units of UTF-16."""
    return json.dumps(character)[1:-1]
