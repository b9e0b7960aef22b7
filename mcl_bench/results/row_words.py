"""How numbers of a leaderboard read on a page."""

import math

TIGHT = "\u00a0"
"""A space where no line is broken, between a number and its unit."""


def percent(share: float | None, *, unit: bool = True) -> str:
    """A share as a percentage with one decimal; a dash for none."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.1f}{f'{TIGHT}%' if unit else ''}"


def points(difference: float | None, *, signed: bool = True, unit: bool = True) -> str:
    """A difference of shares in percentage points; a dash for none."""
    if difference is None or not math.isfinite(difference):
        return "–"
    value = 100 * difference
    text = f"{value:+.1f}" if signed else f"{abs(value):.1f}"
    return f"{text.replace('-', '−')}{f'{TIGHT}points' if unit else ''}"


def probability(p: float | None) -> str:
    """A p value; a dash for none."""
    if p is None:
        return "–"
    return f"p{TIGHT}<{TIGHT}0.001" if p < 0.001 else f"p{TIGHT}={TIGHT}{p:.3f}"


def number_of(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,}{TIGHT}{noun}{'' if count == 1 else 's'}"


def setting(value: object) -> str:
    """A setting's value: numbers with three digits that count."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.3g}"
    return str(value)


def hours(seconds: float) -> str:
    """Seconds as hours, minutes or seconds, whichever reads best."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f}{TIGHT}h"
    if seconds >= 60:
        return f"{seconds / 60:.1f}{TIGHT}min"
    return f"{seconds:.0f}{TIGHT}s"
