"""The leaderboard as Markdown."""

from collections.abc import Iterator, Sequence

from mcl_bench.results.details import details
from mcl_bench.results.published import Published, beside_all, regime_text
from mcl_bench.results.row import Row, warnings
from mcl_bench.results.row_text import (
    NONE,
    cost_notes,
    difference_text,
    number_text,
    p_text,
    percent_text,
    pieces_notes,
    points_text,
    remarks_of,
    sign_flip_text,
    top1_text,
    verdict_text,
    width_notes,
    xi_text,
)
from mcl_bench.results.terminal import (
    DETAIL_NOTE,
    FOOTNOTE,
    HEADS,
    budget_lines,
    optimism_notes,
    ranks_lines,
)
from mcl_bench.results.unlike_rows import UnlikeRows, unlike_rows
from mcl_bench.results.visible import markdown_text

DETAIL_HEADS = (
    "sweep",
    "cell",
    "maps",
    "parameters",
    "trials",
    "device-hours",
    "best epoch on test %",
    "above the mean",
    "maximum %",
)
PUBLISHED_HEADS = ("data × backbone, regime", "arm", "top-1 %", "how it was scored", "source")


def markdown(rows: Sequence[Row], *, with_details: bool = False) -> str:
    """The rows as one table, then notes; without a line end at its end."""
    found = unlike_rows(rows)
    heads = [head.format(baseline="the baseline") for head in HEADS]
    heads = ["sweep", *heads, "sign-flip p (floor)", "looks", "remarks"]
    parts = [_lines(heads, [_cells(row, found) for row in rows])]
    notes = [
        *width_notes(rows),
        *pieces_notes(rows),
        *found.notes,
        *optimism_notes(rows),
        *cost_notes(rows, named=True),
    ]
    items = [f"- **Warning: {markdown_text(warning)}**" for warning in warnings(rows)]
    items += [f"- {markdown_text(note)}" for note in notes]
    parts += [items] if items else []
    parts += _details(rows) if with_details else []
    parts += _published(beside_all(rows))
    return "\n\n".join("\n".join(part) for part in [*parts, [FOOTNOTE]])


def _lines(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(line) + " |" for line in cells),
    ]


def _cells(row: Row, found: UnlikeRows) -> list[str]:
    remarks = "; ".join(part for part in (verdict_text(row), *remarks_of(row)) if part)
    return [
        markdown_text(row.sweep),
        f"{markdown_text(row.cell)}{found.mark(row)}",
        xi_text(row),
        str(row.n),
        top1_text(row),
        difference_text(row),
        p_text(row.p_adjusted),
        number_text(row.tier),
        sign_flip_text(row),
        str(row.test_looks),
        remarks,
    ]


def _details(rows: Sequence[Row]) -> Iterator[list[str]]:
    yield _lines(DETAIL_HEADS, [_detail_cells(row) for row in rows])
    yield [DETAIL_NOTE]
    for found in details(rows):
        lines = [*budget_lines(found.rows), *ranks_lines(found)]
        if lines:
            yield [f"- {markdown_text(line.strip())}" for line in lines]


def _detail_cells(row: Row) -> list[str]:
    claimed = row.aside.optimism
    return [
        markdown_text(row.sweep),
        markdown_text(row.cell),
        number_text(row.maps),
        number_text(row.parameters),
        str(row.trials),
        f"{row.device_hours:.2f}",
        percent_text(None if claimed is None else claimed.best_mean),
        NONE if claimed is None else points_text(claimed.gap, None, None),
        percent_text(None if claimed is None else claimed.maximum),
    ]


def _published(found: Sequence[Published]) -> list[list[str]]:
    if not found:
        return []
    cells = [
        [
            markdown_text(regime_text(one)),
            markdown_text(one.arm),
            percent_text(one.top1),
            markdown_text(one.scored),
            markdown_text(one.source),
        ]
        for one in found
    ]
    return [["Published, not ours; each as its source scored it:"], _lines(PUBLISHED_HEADS, cells)]
