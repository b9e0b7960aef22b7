import math
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mcl_bench.spec import dump_yaml

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        ["on", "no", "1e3", "2026-11-23", "~", "null", "0x1", "<<", "=", ".inf", "- a"]
    ),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    SCALARS, lambda below: st.lists(below) | st.dictionaries(TEXTS, below), max_leaves=20
)


def load_12(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type: 1 is not true, 1.0 is not 1."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(st.dictionaries(TEXTS, PLAIN))
def test_yaml_loads_back_as_the_same_plain_values(value: Any) -> None:
    assert same(value, load_12(dump_yaml(value)))


@given(st.dictionaries(st.sampled_from(["a", "on", "b c"]), PLAIN))
def test_readers_of_yaml_11_read_the_same(value: Any) -> None:
    assert same(value, pyyaml.safe_load(dump_yaml(value)))


def test_keys_keep_their_order_and_ranges_stay_on_one_line() -> None:
    value = {"b": {"z": 1, "a": {"log": [1e-5, 1.0]}}, "a": ["x", 1]}
    assert dump_yaml(value) == "b:\n  z: 1\n  a: {log: [1.0e-05, 1.0]}\na: [x, 1]\n"


@pytest.mark.parametrize("bad", [math.nan, math.inf, object(), {1: 2}, b"x"])
def test_what_is_not_plain_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"finite|plain"):
        dump_yaml({"a": bad})
