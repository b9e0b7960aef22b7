"""An audit in words, and as plain values."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from mcl_bench.results.audit import Audit, Claim, Standing
from mcl_bench.results.figures import percent_text
from mcl_bench.results.naming import row_name
from mcl_bench.results.published import beside, beside_all
from mcl_bench.results.row import warnings
from mcl_bench.results.stats import Interval
from mcl_bench.results.terminal import published_lines
from mcl_bench.results.unlike_rows import unlike_rows
from mcl_bench.results.visible import visible

WIDTH = 80
"""Columns of a terminal that the text fits into."""

FOOTNOTE = (
    "The chance is that of one more run of ours with a new seed, of the setting that our search "
    "found: Student's t over the seeds, which knows no other code, search or machine. A run "
    "reaches a claim if it would be written as that number or a higher one."
)


def audit_text(found: Sequence[Audit], claim: Claim) -> str:
    """What `audit` prints for people, without a line end at its end."""
    return "\n".join(map(_wrapped, map(visible, _texts(found, claim))))


def audit_json(found: Sequence[Audit], claim: Claim) -> dict[str, Any]:
    """What `audit --json` prints, as plain values."""
    rows = [one.row for one in found]
    plain: dict[str, Any] = {
        "claim": claim.value,
        "reached_from": claim.floor,
        "rows": [
            {
                "sweep": one.row.sweep,
                "cell": one.row.cell,
                "last_epoch": _plain(one.last),
                "best_test_epoch": None if one.best is None else _plain(one.best),
                "sentence": sentence(one, claim),
                "published": [number.to_dict() for number in beside(one.row)],
            }
            for one in found
        ],
    }
    if notes := unlike_rows(rows).notes:
        plain["unlike"] = list(notes)
    if told := warnings(rows):
        plain["warnings"] = told
    return plain


def sentence(found: Audit, claim: Claim) -> str:
    """What the audit of one row says, in words."""
    last, best = found.last, found.best
    text = (
        f"{_percent(claim.value)} {_place(last.interval, claim)} {_mean(last.interval)}: "
        f"{_chance(last)}."
    )
    if best is None:
        return f"{text} Test was scored after the last epoch only."
    return (
        f"{text} Scored by each run's best epoch on test, as many published numbers are, our mean "
        f"is {_mean(best.interval)}: {_chance(best)}."
    )


def _texts(found: Sequence[Audit], claim: Claim) -> Iterator[str]:
    rows = [one.row for one in found]
    yield from (f"Warning: {warning}" for warning in warnings(rows))
    unlike = unlike_rows(rows)
    for one in found:
        yield f"{row_name(one.row)}{unlike.mark(one.row)}"
        yield f"  {sentence(one, claim)}"
        yield ""
    yield from unlike.notes
    yield from published_lines(beside_all(rows))
    yield FOOTNOTE


def _wrapped(line: str) -> str:
    """The line, and those that it goes on in, each as far to the right."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _place(interval: Interval, claim: Claim) -> str:
    if interval.low is None or interval.high is None:
        relation = "above" if claim.value > interval.mean else "not above"
        return f"is {relation} our one run,"
    if claim.value > interval.high:
        return "lies above the interval of our mean,"
    if claim.value < interval.low:
        return "lies below the interval of our mean,"
    return "lies in the interval of our mean,"


def _mean(interval: Interval) -> str:
    half = "" if interval.half_width is None else f" ± {100 * interval.half_width:.1f}"
    return f"{percent_text(interval.mean)}{half} (n = {interval.n})"


def _chance(found: Standing) -> str:
    n = found.interval.n
    seeds = f"{found.reached} of {n} {'seed' if n == 1 else 'seeds'} reached it"
    if found.chance is None:
        why = "one seed tells no chance" if n == 1 else "all seeds are equal, which tells no chance"
        return f"{seeds}; {why}"
    return f"one more run reaches it with a chance of {chance_text(found.chance)}, and {seeds}"


def chance_text(chance: float) -> str:
    """A chance as percent, never told as sure."""
    if chance < 0.001:
        return "less than 0.1 %"
    return "more than 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"


def _percent(value: float) -> str:
    return f"{100 * value:.6g}"


def _plain(found: Standing) -> dict[str, Any]:
    return {**vars(found.interval), "reached": found.reached, "chance": found.chance}
