"""The forest plot: every arm's difference to the baseline of its data × model, with intervals."""

from collections.abc import Sequence

from mcl_bench.results.figures.plot import Figure, figure, label, number
from mcl_bench.results.row_words import points, probability
from mcl_bench.results.story import CellStory, Group

ROW_HEIGHT = 46


def forest(groups: Sequence[Group]) -> Figure | None:
    """The differences in points, the first group on top; None where nothing is compared yet."""
    compared = [
        (group, cell) for group in groups for cell in group.cells if cell.row.difference is not None
    ]
    if not compared:
        return None
    baseline = compared[0][1].row.aside.baseline
    places = list(range(len(compared)))[::-1]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [_points(cell.row.difference) for _, cell in compared],
        "y": places,
        "text": [_words(cell) for _, cell in compared],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 11, "color": [_color(cell) for _, cell in compared]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_arm_length(cell, 1) for _, cell in compared],
            "arrayminus": [_arm_length(cell, -1) for _, cell in compared],
            "thickness": 2,
            "width": 5,
            "color": "@text",
        },
        "showlegend": False,
    }
    names = [f"<b>{label(cell.arm)}</b><br>{label(group.label)}" for group, cell in compared]
    line = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": 0,
        "x1": 0,
        "y0": 0,
        "y1": 1,
        "line": {"color": "@text", "width": 1.5, "dash": "dot"},
    }
    layout = {
        "shapes": [line],
        "xaxis": {"zeroline": False, "ticksuffix": ""},
        "yaxis": {
            "tickvals": places,
            "ticktext": names,
            "range": [-0.6, len(compared) - 0.4],
            "zeroline": False,
            "showgrid": False,
        },
    }
    return figure(
        [trace],
        x=f"points against {label(baseline)} (right of 0: better)",
        y="",
        alt="Differences to the baseline. " + " ".join(_alt(*entry) for entry in compared[:40]),
        height=110 + ROW_HEIGHT * len(compared),
        layout=layout,
    )


def _points(share: float | None) -> float | None:
    return None if share is None else number(100 * share)


def _arm_length(cell: CellStory, side: int) -> float | None:
    """How far the interval reaches from the mean, up or down."""
    row = cell.row
    end = row.difference_ci_high if side > 0 else row.difference_ci_low
    if end is None or row.difference is None:
        return None
    return number(100 * side * (end - row.difference))


def _color(cell: CellStory) -> str:
    p, difference = cell.row.p_adjusted, cell.row.difference
    if p is None or p >= 0.05 or difference is None:
        return "@unsure"
    return "@better" if difference > 0 else "@worse"


def _words(cell: CellStory) -> str:
    row = cell.row
    ends = ""
    if row.difference_ci_low is not None:
        low = points(row.difference_ci_low, unit=False)
        ends = f", 95 % interval {low} to {points(row.difference_ci_high)}"
    sure = probability(row.p_adjusted) if row.p_adjusted is not None else "no p"
    return f"{label(cell.arm)}: {points(row.difference)}{ends}, {sure}, {row.n} seeds"


def _alt(group: Group, cell: CellStory) -> str:
    row = cell.row
    return (
        f"{group.label}, {cell.arm}: {points(row.difference)}, "
        f"{points(row.difference_ci_low, unit=False)} to "
        f"{points(row.difference_ci_high, unit=False)}."
    )
