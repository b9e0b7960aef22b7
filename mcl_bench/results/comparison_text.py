"""A comparison of two rows in words, and as plain values."""

from collections.abc import Iterator
from typing import Any

from mcl_bench.results.comparison import Comparison
from mcl_bench.results.figures import number_text, p_text, points_text, top1_text
from mcl_bench.results.naming import row_name
from mcl_bench.results.row import Row, warnings
from mcl_bench.results.stats import CONFIDENCE
from mcl_bench.results.visible import visible

SYSTEMS = "They can't be compared as losses: more than the loss differs between them."


def comparison_text(found: Comparison) -> str:
    """What `compare` prints for people, without a line end at its end."""
    return "\n".join(visible(line) for line in _lines(found))


def comparison_json(found: Comparison) -> dict[str, Any]:
    """What `compare --json` prints, as plain values."""
    difference, resampled = found.difference, found.bootstrap
    plain: dict[str, Any] = {
        "a": found.a.to_dict(),
        "b": found.b.to_dict(),
        "unlike": [dict(vars(one)) for one in found.unlike],
        "comparable": not found.unlike,
        "difference": dict(vars(difference)) if difference.n else None,
        "bootstrap": None if resampled is None else dict(vars(resampled)),
        "no_bootstrap": found.no_bootstrap,
        "power": [{"sd": effect, "power": chance} for effect, chance in found.power.items()],
    }
    told = warnings([found.a, found.b])
    return plain | {"warnings": told} if told else plain


def _lines(found: Comparison) -> Iterator[str]:
    yield from (f"Warning: {warning}" for warning in warnings([found.a, found.b]))
    yield f"A  {row_name(found.a)}"
    yield f"B  {row_name(found.b)}"
    yield ""
    columns = [_column(found.a), _column(found.b)]
    width = max(len(value) for value in columns[0].values()) + 3
    yield f"{'':16}{'A':{width}}B"
    for name, value in columns[0].items():
        yield f"{name:16}{value:{width}}{columns[1][name]}"
    yield ""
    yield from _unlike_lines(found)
    yield from _difference_lines(found)


def _column(row: Row) -> dict[str, str]:
    return {
        "top-1 %": top1_text(row),
        "seeds": str(row.n),
        "ξ": row.xi or "–",
        "maps": number_text(row.maps),
        "parameters": number_text(row.parameters),
        "looks at test": str(row.test_looks),
        "search trials": str(row.trials),
        "device-hours": f"{row.device_hours:.2f}",
        "state": row.state,
    }


def _unlike_lines(found: Comparison) -> Iterator[str]:
    if found.unlike:
        yield "Unlike protocols (A / B):"
        yield from (f"  {one.key}: {one.a} / {one.b}" for one in found.unlike)
        yield SYSTEMS
    if found.a.trials != found.b.trials or not (found.a.equal_budget and found.b.equal_budget):
        yield "Their searches had unlike budgets or spaces."
    if not found.unlike and found.a.xi != found.b.xi:
        yield "They have different ξ: two tuned systems are compared, not two losses."


def _difference_lines(found: Comparison) -> Iterator[str]:
    difference = found.difference
    if not found.same_images:
        yield "They were scored on other images, so there is no paired difference."
        return
    if difference.mean is None:
        yield "They have no seed in common, so there is no paired difference."
        return
    points = points_text(difference.mean, difference.low, difference.high)
    seeds = "1 common seed" if difference.n == 1 else f"{difference.n} common seeds"
    yield f"A - B over {seeds}: {points} points{_verdict(found)}"
    if difference.p is not None:
        yield f"  p {p_text(difference.p)}: paired t, of this one comparison, not adjusted"
    if difference.sign_flip_p is not None:
        floor = f"{difference.sign_flip_floor:.4g}"
        yield f"  exact sign-flip p {difference.sign_flip_p:.4g} (floor {floor}), decides nothing"
    if found.bootstrap is None:
        yield f"  no bootstrap over seeds × images: {found.no_bootstrap}"
    else:
        shown = points_text(found.bootstrap.mean, found.bootstrap.low, found.bootstrap.high)
        yield f"  bootstrap over seeds × images, decides nothing: {shown} points"
    powers = [f"{100 * chance:.0f} %" for chance in found.power.values() if chance is not None]
    if powers:
        sizes = ", ".join(f"{effect:g}" for effect in found.power)
        yield f"  power at a true difference of {sizes} sd of the pairs: {', '.join(powers)}"


def _verdict(found: Comparison) -> str:
    """What the difference says in words, at the level of every interval here."""
    difference = found.difference
    if difference.no_variation:
        return "; the same for every seed: no variation to test against"
    if difference.p is None:
        return "; too few to compare"
    if difference.p >= 1 - CONFIDENCE:
        return "; they can't be told apart"
    assert difference.mean is not None, "there is a p only with a mean"
    return f"; {'A' if difference.mean > 0 else 'B'} is higher"
