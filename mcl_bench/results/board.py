"""The leaderboard as a page shows it: a line for each cell, with what to sort and filter by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcl_bench.results.row import Row
from mcl_bench.results.row_words import TIGHT, percent, points, setting
from mcl_bench.results.stats import half_width
from mcl_bench.results.story import CellStory, Group, key_word, searched_keys

Place = float | str | None
"""What a column is sorted by; None stands last whichever way it is sorted."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its key, its head, what the head means, and whether it is shown at first."""

    key: str
    head: str
    meaning: str
    numeric: bool = True
    first: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One cell: the text and the place of each column, by key.

    `left` and `width` (percent) place the interval on the scale of its group; None without one.
    """

    cell: str
    data: str
    model: str
    arm: str
    baseline: bool
    texts: Mapping[str, str]
    places: Mapping[str, Place]
    marks: Sequence[str]
    interval: "Bar | None"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A mean and its interval on a scale from 0 to 100."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The range of top-1 that the intervals of one group are drawn on; shares."""

    low: float
    high: float

    def place(self, share: float) -> float:
        """Where a share stands on the scale, 0 to 100."""
        return round(100 * (share - self.low) / (self.high - self.low), 2)


COLUMNS = (
    Column(key="data", head="data", meaning="the data set", numeric=False, first=True),
    Column(key="model", head="model", meaning="the network", numeric=False, first=True),
    Column(key="arm", head="arm", meaning="the loss compared", numeric=False, first=True),
    Column(
        key="top1",
        head="top-1 on test",
        meaning="mean ± half-width of the 95 % t interval over seeds",
        first=True,
    ),
    Column(
        key="difference",
        head="points against the baseline",
        meaning="paired difference over common seeds, with its 95 % t interval",
        first=True,
    ),
    Column(key="p", head="p", meaning="paired t, Holm over the sweep’s comparisons", first=True),
    Column(key="tier", head="tier", meaning="rows of one tier can’t be told apart", first=True),
    Column(key="n", head="seeds", meaning="confirm trials scored on test", first=True),
    Column(key="macro", head="macro top-1", meaning="mean of the classes’ recalls on test"),
    Column(key="xi", head="ξ", meaning="maps per class; ≠: not the baseline’s"),
    Column(key="maps", head="maps", meaning="maps of the last layer"),
    Column(key="parameters", head="parameters", meaning="of the network"),
    Column(key="looks", head="looks at test", meaning="settings × seeds ever scored on test"),
    Column(key="trials", head="trials", meaning="search trials"),
    Column(key="hours", head="device-hours", meaning="of all trials of the cell"),
    Column(key="flip", head="sign-flip p", meaning="exact, with its floor; decides nothing"),
    Column(key="setting", head="best setting", meaning="what the search found", numeric=False),
    Column(key="remarks", head="remarks", meaning="what to know of the row", numeric=False),
)
"""The columns of the page's leaderboard."""


def board(groups: Sequence[Group]) -> list[Line]:
    """The lines of all cells, in the order of the groups, the highest mean first."""
    return [_line(cell, group, scale(group)) for group in groups for cell in group.cells]


def scale(group: Group) -> Scale:
    """A range that holds all means and intervals of a group, with a margin."""
    shares = [
        share
        for cell in group.cells
        for share in (
            cell.row.test_top1_ci_low,
            cell.row.test_top1_mean,
            cell.row.test_top1_ci_high,
        )
        if share is not None
    ]
    if not shares:
        return Scale(low=0.0, high=1.0)
    low, high = min(shares), max(shares)
    margin = max(0.005, 0.08 * (high - low))
    return Scale(low=max(0.0, low - margin), high=min(1.0, high + margin) + 1e-9)


def _line(cell: CellStory, group: Group, within: Scale) -> Line:
    row = cell.row
    texts = {
        "data": group.data,
        "model": group.model,
        "arm": cell.arm,
        "top1": _top1(row),
        "difference": _difference(row),
        "p": _p(row),
        "tier": "–" if row.tier is None else str(row.tier),
        "n": str(row.n),
        "macro": percent(row.test_macro_top1_mean),
        "xi": "–" if row.xi is None else f"{row.xi}{' ≠' if row.aside.xi_differs else ''}",
        "maps": "–" if row.maps is None else f"{row.maps:,}",
        "parameters": "–" if row.parameters is None else f"{row.parameters:,}",
        "looks": str(row.test_looks),
        "trials": f"{row.trials:,}",
        "hours": f"{row.device_hours:,.2f}",
        "flip": _flip(row),
        "setting": _setting(cell),
        "remarks": "; ".join(_remarks(row)),
    }
    return Line(
        cell=row.cell,
        data=group.data,
        model=group.model,
        arm=cell.arm,
        baseline=row.arm == row.aside.baseline,
        texts=texts,
        places=_places(row, texts),
        marks=_marks(row),
        interval=_bar(row, within),
    )


def _places(row: Row, texts: Mapping[str, str]) -> dict[str, Place]:
    return {
        **texts,
        "top1": row.test_top1_mean,
        "difference": row.difference,
        "p": row.p_adjusted,
        "tier": row.tier,
        "n": row.n,
        "macro": row.test_macro_top1_mean,
        "xi": None if row.xi is None else float(row.xi.partition("-")[0]),
        "maps": row.maps,
        "parameters": row.parameters,
        "looks": row.test_looks,
        "trials": row.trials,
        "hours": row.device_hours,
        "flip": row.aside.sign_flip_p,
    }


def _bar(row: Row, within: Scale) -> Bar | None:
    if row.test_top1_mean is None:
        return None
    mean = row.test_top1_mean
    low = mean if row.test_top1_ci_low is None else row.test_top1_ci_low
    high = mean if row.test_top1_ci_high is None else row.test_top1_ci_high
    return Bar(low=within.place(low), mean=within.place(mean), high=within.place(high))


def _top1(row: Row) -> str:
    if row.test_top1_sd is None:
        return percent(row.test_top1_mean)
    mean = percent(row.test_top1_mean, unit=False)
    half = 100 * half_width(row.test_top1_sd, row.n)
    return f"{mean}{TIGHT}±{TIGHT}{half:.1f}{TIGHT}%"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "baseline" if row.arm == row.aside.baseline else "–"
    mean = points(row.difference, unit=False)
    if row.difference_ci_low is None or row.difference_ci_high is None:
        return mean
    low = points(row.difference_ci_low, unit=False)
    return f"{mean} [{low},{TIGHT}{points(row.difference_ci_high, unit=False)}]"


def _p(row: Row) -> str:
    if row.p_adjusted is not None:
        return "<0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"
    if row.difference is None:
        return "–"
    return "no variation" if row.aside.no_variation else "too few"


def _flip(row: Row) -> str:
    aside = row.aside
    if aside.sign_flip_p is None or aside.sign_flip_floor is None:
        return "–"
    return f"{aside.sign_flip_p:.4g} ({aside.sign_flip_floor:.4g})"


def _setting(cell: CellStory) -> str:
    if cell.best is None:
        return "–"
    config = cell.best.config
    found = [f"{key_word(key)} {setting(config.get(key))}" for key in searched_keys([cell])]
    return ", ".join(found) if found else "nothing was searched"


def _remarks(row: Row) -> list[str]:
    remarks = [] if row.state == "complete" else [f"cell: {row.state}"]
    if row.n == 1:
        remarks.append("one seed: no interval")
    if row.n == 2:
        remarks.append("two seeds: too few to compare")
    if not row.equal_budget:
        remarks.append("unequal budget")
    if row.aside.xi_differs:
        remarks.append("another ξ than the baseline’s")
    if row.pieces > 1:
        remarks.append(f"batches in {row.pieces} pieces")
    return remarks


def _marks(row: Row) -> list[str]:
    """The words by which a line is coloured."""
    marks = []
    if row.tier == 1:
        marks.append("best")
    if row.arm == row.aside.baseline:
        marks.append("baseline")
    if row.state != "complete":
        marks.append("unfinished")
    return marks
