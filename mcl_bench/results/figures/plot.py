"""What every figure is made of: Plotly's own words as plain values, without Plotly.

Colours are `@` and a number (an arm's) or a name (`@zero`): the page puts in those of its theme.
Text of the user's is escaped, because Plotly reads text as HTML.
"""

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
"""`data`, `layout` and `alt`, which says in words what is to be seen."""

Trace = dict[str, Any]

CELLS_ACROSS, CELLS_DOWN = 160, 80
"""Points that fall into one cell of such a grid lie on one another, and one of them is drawn."""

LONGEST = 60
"""A longer name is cut; the table has the whole one."""


def figure(
    traces: Sequence[Trace],
    *,
    x: str,
    y: str,
    alt: str,
    height: int = 320,
    layout: Mapping[str, Any] | None = None,
) -> Figure:
    """A figure with these axes' titles, as a page draws it."""
    more = dict(layout or {})
    plain: dict[str, Any] = {
        "height": height,
        "xaxis": {"title": {"text": x}, **more.pop("xaxis", {})},
        "yaxis": {"title": {"text": y}, **more.pop("yaxis", {})},
        **more,
    }
    return {"data": list(traces), "layout": plain, "alt": alt}


def label(text: str) -> str:
    """The user's text as Plotly may show it: escaped, on one line, its direction kept inside."""
    plain = "".join(
        " " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text
    )
    plain = re.sub(r"\s+", " ", plain).strip()
    if len(plain) > LONGEST:
        plain = f"{plain[: LONGEST - 1]}…"
    return f"\u2068{html.escape(plain, quote=False)}\u2069"


def number(value: float | None) -> float | None:
    """A number with five digits that count; None for what JSON does not know."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def thin(points: Sequence[tuple[float, float]], *, log_x: bool = False) -> list[int]:
    """Which of these points are drawn, in order: one of those that would lie on one another."""
    known = [place for place, (x, y) in enumerate(points) if _drawable(x, y, log_x=log_x)]
    if len(known) <= CELLS_ACROSS:
        return known
    xs = [math.log(points[place][0]) if log_x else points[place][0] for place in known]
    ys = [points[place][1] for place in known]
    columns, rows = _cells(xs, CELLS_ACROSS), _cells(ys, CELLS_DOWN)
    first: dict[tuple[int, int], int] = {}
    for place, column, row in zip(known, columns, rows, strict=True):
        first.setdefault((column, row), place)
    return sorted(first.values())


def percents(metric: str) -> bool:
    """Whether a metric is a share that is shown as a percentage."""
    return not metric.rpartition("/")[2].startswith("loss")


def value_axis(metric: str) -> dict[str, Any]:
    """How an axis of this metric is written."""
    return {"tickformat": ",.0%"} if percents(metric) else {}


def _drawable(x: float, y: float, *, log_x: bool) -> bool:
    return math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x)


def _cells(values: Iterable[float], count: int) -> list[int]:
    known = list(values)
    low, high = min(known), max(known)
    width = (high - low) / count or 1.0
    return [min(count - 1, int((value - low) / width)) for value in known]
