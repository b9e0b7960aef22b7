"""Where a claimed number falls among our runs; pure.

A run reaches a claim if it would be written as that number or a higher one: 87.3 is reached from
87.25 on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from scipy import special

from mcl_bench.records import UserError
from mcl_bench.results.row import Row
from mcl_bench.results.stats import SAME, Interval, t_interval


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claimed top-1 as a fraction; a run reaches it from `floor` on, half a last digit below."""

    value: float
    floor: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How runs, scored one way, stand to a claim.

    `reached` of `interval.n` seeds did; `chance` is that one more run with a new seed would: of
    Student's t with n - 1 degrees of freedom at (floor - mean) / (sd · √(1 + 1/n)). None of one
    seed, and where all seeds are equal.
    """

    interval: Interval
    reached: int
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One row against a claim: by the last epoch, and by each run's best epoch on test.

    `best` is None where test was scored after the last epoch only.
    """

    row: Row
    last: Standing
    best: Standing | None


def read_claim(text: str) -> Claim:
    """The claim that a text makes: percent, or a fraction of at most 1.

    Raises:
        UserError: it is no number from 0 to 100.
    """
    try:
        number = Decimal(text.strip().removesuffix("%").strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= 100:
        raise UserError(
            f"--claim is a number from 0 to 100 (percent) or to 1 (a fraction), got {text!r}",
            remedy="for example --claim 87.3",
        )
    percent = "%" in text or number > 1
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int), "a finite number has one"
    half = Decimal(5).scaleb(exponent - 1)
    scale = Decimal(100 if percent else 1)
    return Claim(value=float(number / scale), floor=float((number - half) / scale))


def audit(rows: Sequence[Row], claim: Claim) -> list[Audit]:
    """The rows that have confirm trials, each against the claim."""
    found = []
    for row in rows:
        scores = row.aside.scores
        best = [score.best_top1 for score in scores if score.best_top1 is not None]
        if scores:
            found.append(
                Audit(
                    row=row,
                    last=standing([score.top1 for score in scores], claim),
                    best=standing(best, claim) if best else None,
                )
            )
    return found


def standing(values: Sequence[float], claim: Claim) -> Standing:
    """How runs with these values stand to the claim. Raises ValueError without values."""
    interval = t_interval(values)
    return Standing(
        interval=interval,
        reached=sum(value >= claim.floor for value in values),
        chance=_chance(interval, claim.floor),
    )


def _chance(interval: Interval, floor: float) -> float | None:
    if interval.sd is None or interval.sd <= SAME:
        return None
    spread = interval.sd * math.sqrt(1 + 1 / interval.n)
    return float(special.stdtr(interval.n - 1, (interval.mean - floor) / spread))
