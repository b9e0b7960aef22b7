"""Plain values as YAML text that loads back as the same values, in YAML 1.2 and 1.1."""

import json
import math
import re
from typing import Any

PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*")
WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that some version of YAML takes for something else than text."""

UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def dump_yaml(value: Any) -> str:
    """YAML text of mappings with text keys, lists and scalars; the order of keys stays.

    Raises ValueError for numbers that are not finite and for values that are not plain.
    """
    if isinstance(value, dict) and value:
        return "".join(f"{line}\n" for line in _mapping_lines(value))
    return f"{_flow(value)}\n"


def _mapping_lines(mapping: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in mapping.items():
        name = _text(key)
        if isinstance(value, dict) and value and not _is_flat(value):
            lines.append(f"{name}:")
            lines += [f"  {line}" for line in _mapping_lines(value)]
        elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            lines.append(f"{name}:")
            lines += [f"  - {_flow(item)}" for item in value]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return lines


def _is_flat(mapping: dict[str, Any]) -> bool:
    """Whether a mapping is a range, which reads best on one line."""
    lists = [value for value in mapping.values() if isinstance(value, list)]
    nested = any(isinstance(item, (dict, list)) for value in lists for item in value)
    return len(lists) == 1 and len(mapping) <= 2 and not nested


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    return _text(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"numbers are finite, got {value}")
    digits, exponent, power = repr(value).partition("e")
    return f"{digits}{'' if '.' in digits else '.0'}{exponent}{power}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"YAML is written of plain values, got {value!r}")
    if PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
