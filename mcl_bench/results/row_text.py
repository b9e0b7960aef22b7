"""A row's numbers as the short texts that tables of every form share; accuracies in percent."""

from collections.abc import Sequence

from mcl_bench.results.costs import costs_words
from mcl_bench.results.row import Row
from mcl_bench.results.stats import half_width

NONE = "–"
"""What stands where there is no number."""


def top1_text(row: Row) -> str:
    """The mean ± half-width of its interval; the mean alone of one seed."""
    if row.test_top1_mean is None:
        return NONE
    mean = f"{100 * row.test_top1_mean:.1f}"
    if row.test_top1_sd is None:
        return mean
    return f"{mean} ± {100 * half_width(row.test_top1_sd, row.n):.1f}"


def difference_text(row: Row) -> str:
    """The points against the baseline with their interval; `baseline` for the baseline itself."""
    if row.difference is None:
        return "baseline" if row.arm == row.aside.baseline else NONE
    return points_text(row.difference, row.difference_ci_low, row.difference_ci_high)


def points_text(mean: float, low: float | None, high: float | None) -> str:
    """A difference in points, with its interval if there is one."""
    text = f"{100 * mean:+.1f}"
    return text if low is None or high is None else f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"


def verdict_text(row: Row) -> str:
    """Why a row that is compared has no p; nothing where it has one."""
    if row.difference is None or row.p_adjusted is not None:
        return ""
    return "no variation" if row.aside.no_variation else "too few to compare"


def p_text(p: float | None) -> str:
    """A p value to three digits."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def number_text(value: int | None) -> str:
    """A whole number."""
    return NONE if value is None else str(value)


def percent_text(value: float | None) -> str:
    """A fraction as percent, to one digit."""
    return NONE if value is None else f"{100 * value:.1f}"


def xi_text(row: Row) -> str:
    """ξ, with ≠ where it is another than the baseline's."""
    return NONE if row.xi is None else f"{row.xi}{'≠' if row.aside.xi_differs else ''}"


def remarks_of(row: Row) -> list[str]:
    """What must be known of a row before its numbers are believed."""
    remarks: list[str] = [] if row.state == "complete" else [row.state]
    if row.aside.left_out:
        remarks.append(f"budget: {row.trials} of {row.trials + row.aside.left_out} trials")
    if not row.equal_budget:
        remarks.append("unequal budget")
    if row.n == 1:
        remarks.append("one seed: no interval")
    if row.pieces > 1:
        remarks.append(f"batches in {row.pieces} pieces")
    return remarks


def sign_flip_text(row: Row) -> str:
    """The exact sign-flip p and its floor."""
    aside = row.aside
    if aside.sign_flip_p is None or aside.sign_flip_floor is None:
        return NONE
    return f"{aside.sign_flip_p:.4g} ({aside.sign_flip_floor:.4g})"


def width_notes(rows: Sequence[Row]) -> list[str]:
    """What ≠ means, where a row has it."""
    if not any(row.aside.xi_differs for row in rows):
        return []
    return ["≠: another ξ than the baseline's, so two tuned systems are compared, not two losses."]


def pieces_notes(rows: Sequence[Row]) -> list[str]:
    """What training in pieces means, where a row was."""
    if all(row.pieces == 1 for row in rows):
        return []
    return [
        "Batches in pieces: trained so for lack of memory, all arms of the data × model alike; "
        "BatchNorm and the loss see a piece at a time."
    ]


def cost_notes(rows: Sequence[Row], *, named: bool = False) -> list[str]:
    """Where the time of each sweep went, its name first if it is `named`."""
    costs = {row.sweep: row.aside.costs for row in rows if row.aside.costs is not None}
    return [
        f"Costs{f' of {sweep}' if named else ''}: {costs_words(own)}."
        for sweep, own in costs.items()
    ]
