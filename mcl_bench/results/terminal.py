"""The leaderboard for a terminal: readable at a glance, in 80 columns."""

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcl_bench.results.details import Details, details
from mcl_bench.results.published import Published, beside_all, regime_text
from mcl_bench.results.row import Row, warnings
from mcl_bench.results.row_text import (
    cost_notes,
    difference_text,
    number_text,
    p_text,
    percent_text,
    pieces_notes,
    remarks_of,
    sign_flip_text,
    top1_text,
    verdict_text,
    width_notes,
    xi_text,
)
from mcl_bench.results.unlike_rows import UnlikeRows, unlike_rows
from mcl_bench.results.visible import visible

WIDTH = 80
"""Columns of a terminal that the table fits into."""

HEADS = ("cell", "ξ", "n", "top-1 %", "points against {baseline}", "p", "tier")
DETAIL_HEADS = ("cell", "maps", "parameters", "looks", "trials", "hours", "best epoch", "maximum")

FOOTNOTE = (
    "Top-1 on test: mean ± half-width of the 95 % t interval over training seeds, of confirm "
    "trials only. Points: the difference over common seeds and its paired 95 % t interval. p: "
    "paired t, Holm over all comparisons of the sweep. Rows of one tier can't be told apart."
)

DETAIL_NOTE = (
    "Best epoch: the mean over seeds of each run's best epoch on test, and how far it lies above "
    "the mean that counts; maximum: the best epoch of the best seed. Neither is a result. Hours: "
    "device-hours of search and confirmation."
)

BUDGET_NOTE = "exact where trials were drawn at random; too good at few trials of one that learns"


def table_text(rows: Sequence[Row], *, width: int = WIDTH, with_details: bool = False) -> str:
    """The rows as a table for each sweep, with notes, without a line end at its end."""
    if not rows:
        return "no sweep yet"
    console = Console(width=width, file=io.StringIO(), force_terminal=False, highlight=False)
    found = unlike_rows(rows)
    told = {of.sweep: of for of in details(rows)} if with_details else {}
    with console.capture() as capture:
        for sweep, of_sweep in groupby(rows, key=lambda row: row.sweep):
            known = list(of_sweep)
            console.print(_sweep_table(sweep, known, found))
            _print_lines(console, _notes(known))
            if sweep in told:
                _print_details(console, told[sweep])
            console.print()
        _print_lines(console, found.notes)
        _print_lines(console, published_lines(beside_all(rows)))
        _print_lines(console, [FOOTNOTE])
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def published_lines(found: Sequence[Published]) -> Iterator[str]:
    """The published numbers as lines of text, under a heading; none where there are none."""
    if not found:
        return
    yield "Published, not ours; each as its source scored it:"
    for regime, of_regime in groupby(found, key=regime_text):
        yield f"  {regime}"
        for one in of_regime:
            yield f"    {one.arm} {percent_text(one.top1)}: {one.scored} ({one.source})"
    yield ""


def _print_lines(console: Console, lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        console.print(Text(visible(line)))


def _sweep_table(sweep: str, rows: Sequence[Row], found: UnlikeRows) -> Table:
    heads = [head.format(baseline=visible(rows[0].aside.baseline)) for head in HEADS]
    title = f"sweep {visible(sweep)}: top-1 on test"
    return _table(title, heads, rows, [_cells(row, found) for row in rows])


def _table(
    title: str, heads: Sequence[str], rows: Sequence[Row], lines: Sequence[Sequence[str]]
) -> Table:
    """A line for each row, a rule between data × models."""
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for place, head in enumerate(heads):
        # Where the terminal is narrow only the names of cells are folded, never numbers.
        widest = max(len(part) for cells in lines for part in cells[place].split("\n"))
        table.add_column(
            Text(head),
            overflow="fold",
            justify="left" if head == "cell" else "right",
            min_width=None if head == "cell" else widest,
        )
    before = None
    for row, cells in zip(rows, lines, strict=True):
        if before is not None and before != row.aside.group:
            table.add_section()
        before = row.aside.group
        table.add_row(*map(Text, cells))
    return table


def _cells(row: Row, found: UnlikeRows) -> tuple[str, ...]:
    name = f"{visible(row.cell)}{found.mark(row)}"
    return (
        "\n".join([name, *(f"({remark})" for remark in remarks_of(row))]),
        xi_text(row),
        str(row.n),
        top1_text(row),
        "\n".join(part for part in (difference_text(row), verdict_text(row)) if part),
        p_text(row.p_adjusted),
        number_text(row.tier),
    )


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    yield from (f"Warning: {warning}" for warning in warnings(rows))
    yield from width_notes(rows)
    yield from pieces_notes(rows)
    flips = [
        f"{row.cell} {sign_flip_text(row)}" for row in rows if row.aside.sign_flip_p is not None
    ]
    if flips:
        yield f"Exact sign-flip p (its floor), which decides nothing: {', '.join(flips)}."
    yield from optimism_notes(rows)
    yield from cost_notes(rows)


def optimism_notes(rows: Sequence[Row]) -> Iterator[str]:
    """What best-on-test would have claimed of these rows, in one sentence; none if not scored."""
    gaps = [found.gap for row in rows if (found := row.aside.optimism) is not None]
    maxima = [found.maximum_gap for row in rows if (found := row.aside.optimism) is not None]
    if gaps:
        yield (
            f"Told by each run's best epoch on test these rows would claim {_span(gaps)} points "
            f"more; by the best run's best epoch, {_span(maxima)}."
        )


def _span(values: Sequence[float]) -> str:
    low, high = (f"{100 * value:.1f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _print_details(console: Console, found: Details) -> None:
    lines = [_detail_cells(row) for row in found.rows]
    console.print()
    console.print(_table("beside it", DETAIL_HEADS, found.rows, lines))
    _print_lines(console, [DETAIL_NOTE, *budget_lines(found.rows), *ranks_lines(found)])


def _detail_cells(row: Row) -> tuple[str, ...]:
    claimed = row.aside.optimism
    best = NOT_SCORED if claimed is None else f"{percent_text(claimed.best_mean)} ({_more(row)})"
    return (
        visible(row.cell),
        number_text(row.maps),
        number_text(row.parameters),
        str(row.test_looks),
        str(row.trials),
        f"{row.device_hours:.2f}",
        best,
        percent_text(None if claimed is None else claimed.maximum),
    )


NOT_SCORED = "not scored"
"""What stands for the best epoch where test was scored after the last one only."""


def _more(row: Row) -> str:
    claimed = row.aside.optimism
    assert claimed is not None, "asked only where it is scored"
    return f"{100 * claimed.gap:+.1f}"


def budget_lines(rows: Sequence[Row]) -> Iterator[str]:
    """What each cell's search would have been expected to find with fewer trials."""
    known = [row for row in rows if row.aside.budgets]
    if not known:
        return
    yield f"Expected best {known[0].aside.metric} of a search of so many trials ({BUDGET_NOTE}):"
    for row in known:
        curve = ", ".join(
            f"{budget.trials}: {'–' if budget.value is None else f'{budget.value:.3f}'}"
            for budget in row.aside.budgets
        )
        yield f"  {row.cell}  {curve}"


def ranks_lines(found: Details) -> Iterator[str]:
    """The mean ranks of the arms and what tells them apart, in a sentence."""
    ranks = found.ranks
    if ranks is None:
        return
    order = sorted(ranks.mean_rank.items(), key=lambda entry: entry[1])
    means = ", ".join(f"{arm} {rank:.2f}" for arm, rank in order)
    friedman = "" if ranks.friedman_p is None else f"; Friedman's p {p_text(ranks.friedman_p)}"
    yield (
        f"Mean rank over {ranks.groups} data × models (1 is best): {means}. Arms closer than "
        f"{ranks.critical_difference:.2f} can't be told apart (Nemenyi, 95 %){friedman}."
    )
