"""What MLflow's leaderboard says above its table: the newest sweeps in words.

MLflow's table needs a wide window; this text is read on a phone too.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcl_bench.results.row_text import p_text

LONGEST = 4000
"""Characters; MLflow keeps up to 5,000 in a tag."""

ARMS = 6
"""So many arms of a data × model are told, the best first."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the leaderboard, as MLflow holds it; `mean` is a fraction, None: not confirmed.

    `group` names the data × model, within which arms are compared.
    """

    sweep: str
    sweep_id: str
    group: str
    arm: str
    top1: str
    points: str
    mean: float | None
    p: float | None

    @classmethod
    def of(cls, tags: Mapping[str, str], metrics: Mapping[str, float]) -> "Line":
        """The row that a run holds."""
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        return cls(
            sweep=tags["mcl.sweep"],
            sweep_id=tags["mcl.sweep_id"],
            group=tags["mcl.group"],
            arm=tags["mcl.arm"],
            top1=tags.get("top-1 percent", ""),
            points=tags.get("points", ""),
            mean=known.get("test/top1_mean"),
            p=known.get("p_adjusted"),
        )

    def text(self) -> str:
        """The arm, its accuracy, and how it compares, in Markdown."""
        p = "" if self.p is None else f", p {p_text(self.p)}"
        return f"**{_plain(self.arm)}** {self.top1} % ({self.points}{p})"


def board_note(lines: Iterable[Line], about: str) -> str:
    """Markdown: an item for each sweep × data × model, in the order in which they come; `about`.

    What would be too long for MLflow is left to its table.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.sweep_id, line.group), []).append(line)
    items: list[str] = []
    for found in groups.values():
        best = sorted((line for line in found if line.mean is not None), key=_best_first)
        told = "; ".join(line.text() for line in best[:ARMS]) or "nothing confirmed"
        more = f"; and {len(best) - ARMS} more" if len(best) > ARMS else ""
        item = f"- {_plain(found[0].sweep)}, {_plain(found[0].group)}: {told}{more}"
        if sum(map(len, items)) + len(item) + len(about) > LONGEST:
            items.append("- and more, in the table")
            break
        items.append(item)
    return "\n".join([*items, "", about]) if items else about


def _best_first(line: Line) -> float:
    return -(line.mean or 0.0)


def _plain(text: str) -> str:
    """A name in Markdown, whatever stands in it."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&~])", r"\\\1", " ".join(text.split()))
