"""The search space: ranges as small values that refuse what is impossible, and their parsing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from mcl_bench.records import UserError
from mcl_bench.spec.faults import shown, suggestion
from mcl_bench.spec.tree import Node, is_mapping, plain

KINDS_OF_RANGE = ("log", "float", "int", "choice")
NUMBER = (int, float)


@dataclass(frozen=True, kw_only=True)
class FloatRange:
    """Real numbers from low to high, both included; `log` draws uniformly in the logarithm.

    `points` is the number of points that a grid takes.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    points: int | None = None

    def __post_init__(self) -> None:
        _check(self.low, self.high, log=self.log, step=self.step)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values whose being valid makes the whole range valid."""
        return (self.low, self.high)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and _on_grid(value, self.low, self.step)

    @property
    def grid(self) -> tuple[float, ...]:
        """The values that a grid takes: those of the steps, or `points` from low to high."""
        if self.step is not None:
            count = _steps(self.high, self.low, self.step)
            low, step = Fraction(str(self.low)), Fraction(str(self.step))
            return tuple(float(low + place * step) for place in range(int(count) + 1))
        return tuple(dict.fromkeys(_spread(self.low, self.high, self.points or 1, log=self.log)))


@dataclass(frozen=True, kw_only=True)
class IntRange:
    """Integers from low to high, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    points: int | None = None

    def __post_init__(self) -> None:
        _check(self.low, self.high, log=self.log, step=self.step)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values whose being valid makes the whole range valid."""
        return (self.low, self.high)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and _on_grid(value, self.low, self.step)

    @property
    def grid(self) -> tuple[int, ...]:
        """The values that a grid takes: all of them, or `points` of them from low to high."""
        if self.points is None:
            return tuple(range(self.low, self.high + 1, self.step))
        spread = _spread(self.low, self.high, self.points, log=self.log)
        return tuple(dict.fromkeys(round(value) for value in spread))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several scalar values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a choice needs at least one value, got []")
        for position, value in enumerate(self.values):
            if value is None or isinstance(value, (list, dict)):
                raise ValueError(f"a choice is made of text, numbers, true and false, got {value}")
            if value in self.values[:position]:
                raise ValueError(f"a choice has every value once, got {shown(value)} twice")

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values whose being valid makes the whole range valid."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return any(value == one and type(value) is type(one) for one in self.values)

    @property
    def grid(self) -> tuple[Any, ...]:
        """The values that a grid takes: all of them."""
        return self.values


Range: TypeAlias = FloatRange | IntRange | Choice


def _check(low: float, high: float, *, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"a range goes from low to high, got [{low}, {high}]")
    if log and low <= 0:
        raise ValueError(f"a log range begins above 0, got [{low}, {high}]")
    if step is None:
        return
    if step <= 0:
        raise ValueError(f"a step is above 0, got {step}")
    if log and step != 1:
        raise ValueError(f"a log range takes no step, got {step}")
    if not _on_grid(high, low, step):
        last = float(Fraction(str(low)) + _steps(high, low, step) // 1 * Fraction(str(step)))
        raise ValueError(
            f"[{low}, {high}] is no whole number of steps of {step}: the last value is {last:g}"
        )


def _steps(value: float, low: float, step: float) -> Fraction:
    return (Fraction(str(value)) - Fraction(str(low))) / Fraction(str(step))


def _on_grid(value: float, low: float, step: float | None) -> bool:
    return step is None or _steps(value, low, step) % 1 == 0


def _spread(low: float, high: float, points: int, *, log: bool) -> list[float]:
    """So many values from low to high, evenly, in the logarithm where `log`; one: the middle."""
    shares = [place / (points - 1) for place in range(points)] if points > 1 else [0.5]
    inner = [low * (high / low) ** share if log else low + (high - low) * share for share in shares]
    return [low, *inner[1:-1], high] if points > 1 else inner


def is_range(node: Node) -> bool:
    """Whether a node of the space is a range, and not a mapping of further keys."""
    return is_mapping(node) and any(kind in node.value for kind in KINDS_OF_RANGE)


def parse_range(node: Node, *, name: str, integer: bool, sampler: str) -> Range:
    """The range that `{log: [1e-4, 0.1]}` and its like describe.

    `name` is its full key in the file. `integer` says that the key takes integers only, so that a
    log range of it is one of integers. Raises UserError for every form that is no range.
    """
    kinds = [kind for kind in KINDS_OF_RANGE if kind in node.value]
    kind = kinds[0]
    options = {"log": ("points",), "choice": ()}.get(kind, ("step", "points"))
    for other, child in node.value.items():
        if other != kind and other not in options:
            rule = f"{name}: {other} does not go with {kind}{suggestion(other, (kind, *options))}"
            raise UserError(rule, key=name, place=child.place)
    _check_sampler(node, kind, name=name, sampler=sampler)
    values = {key: plain(child) for key, child in node.value.items()}
    try:
        return _range(kind, values, integer=integer)
    except (ValueError, OverflowError) as error:
        place = node.value[kind].place
        raise UserError(f"{name}: {error}", key=name, place=place) from error


def _check_sampler(node: Node, kind: str, *, name: str, sampler: str) -> None:
    """Refuse a range that this sampler can't search, and `points` that it does not read."""
    written = node.value
    if "points" in written and sampler != "grid":
        rule = f"{name}.points is read by sampler: grid only, got sampler: {sampler}"
        raise UserError(rule, key=name, place=written["points"].place, remedy="remove points")
    if "points" in written and "step" in written:
        rule = f"{name}: a grid takes every value of a range with a step, so points has no place"
        raise UserError(rule, key=name, place=written["points"].place, remedy="remove one of them")
    stepped = kind in ("int", "choice") or "step" in written
    if sampler == "grid" and not stepped and "points" not in written:
        raise UserError(
            f"{name}: sampler: grid needs to know how many points of a {kind} range to take",
            key=name,
            place=written[kind].place,
            remedy=f"write {{{kind}: {shown(plain(written[kind]))}, points: 5}}, or a choice",
        )
    if sampler == "cmaes" and kind == "choice":
        raise UserError(
            f"{name}: sampler: cmaes searches numbers, not a choice, got "
            f"{shown(plain(written[kind]))}",
            key=name,
            place=written[kind].place,
            remedy="write a range of numbers, or take sampler: tpe",
        )


def _range(kind: str, values: Mapping[str, Any], *, integer: bool) -> Range:
    given = values[kind]
    if kind == "choice":
        if not isinstance(given, list):
            raise ValueError(f"a choice is a list of values, got {shown(given)}")
        return Choice(values=tuple(given))
    low, high = _bounds(kind, given)
    step, points = values.get("step"), values.get("points")
    if points is not None and not (isinstance(points, int) and points >= 1):
        raise ValueError(f"points is an integer >= 1, got {shown(points)}")
    if kind == "int" or (kind == "log" and integer):
        step = 1 if step is None else step
        for value in (low, high, step):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"the key takes integers, got {shown(value)}")
        return IntRange(low=int(low), high=int(high), log=kind == "log", step=step, points=points)
    if integer:
        raise ValueError("the key takes integers, got a range of float; write {int: [low, high]}")
    if step is not None and (not isinstance(step, NUMBER) or isinstance(step, bool)):
        raise ValueError(f"a step is a number, got {shown(step)}")
    step = None if step is None else float(step)
    return FloatRange(low=float(low), high=float(high), log=kind == "log", step=step, points=points)


def _bounds(kind: str, given: Any) -> Sequence[float]:
    numbers = isinstance(given, list) and all(
        isinstance(value, NUMBER) and not isinstance(value, bool) for value in given
    )
    if not numbers or len(given) != 2:
        raise ValueError(f"{kind} takes two numbers, [low, high], got {shown(given)}")
    bounds: Sequence[float] = given
    return bounds
