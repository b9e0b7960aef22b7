"""The leaderboard as LaTeX: a table with booktabs' rules, to be put into a paper."""

from collections.abc import Sequence
from itertools import groupby

from mcl_bench.results.figures import (
    NONE,
    difference_text,
    number_text,
    p_text,
    percent_text,
    remarks_of,
    top1_text,
    verdict_text,
)
from mcl_bench.results.published import Published, beside_all, regime_text
from mcl_bench.results.row import Row, warnings
from mcl_bench.results.terminal import FOOTNOTE, optimism_notes
from mcl_bench.results.unlike_rows import MARK, UnlikeRows, unlike_rows
from mcl_bench.results.visible import latex_text

SIGNS = {
    "ξ": r"$\xi$",
    "±": r"$\pm$",
    "≠": r"$\neq$",
    "×": r"$\times$",
    "μ": r"$\mu$",
    "…": r"\ldots{}",
    NONE: "--",
    MARK: r"$\dagger$",
}
"""The signs of our own texts; in names they are letters like others."""

HEADS = ("cell", "ξ", "n", "top-1 %", "points", "p", "tier")
WIDER = r"$\neq$: another $\xi$ than the baseline's, so two tuned systems are compared."
HEADER = "% needs \\usepackage{booktabs}"


def latex(rows: Sequence[Row]) -> str:
    """The rows as a tabular for each sweep, with what must be known of them as comments and notes.

    Everything that is a name is escaped; the notes stand below as text. Without a line end at its
    end.
    """
    found = unlike_rows(rows)
    parts = [HEADER]
    for sweep, of_sweep in groupby(rows, key=lambda row: row.sweep):
        parts += _tabular(sweep, list(of_sweep), found)
    if any(row.aside.xi_differs for row in rows):
        parts.append(WIDER + r"\par")
    notes = [*found.notes, *optimism_notes(rows)]
    parts += [rf"{_own(note)}\par" for note in notes]
    parts += _published(beside_all(rows))
    parts.append(_own(FOOTNOTE))
    return "\n".join(parts)


def _tabular(sweep: str, rows: Sequence[Row], found: UnlikeRows) -> list[str]:
    lines = [rf"\textbf{{Warning: {_own(warning)}}}\par" for warning in warnings(rows)]
    lines += [
        rf"Sweep {latex_text(sweep)}, points against {latex_text(rows[0].aside.baseline)}:\par",
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        _line([_own(head) for head in HEADS]),
        r"\midrule",
    ]
    before = None
    for row in rows:
        if before is not None and before != row.aside.group:
            lines.append(r"\midrule")
        before = row.aside.group
        lines.append(_line(_cells(row, found)))
    return [*lines, r"\bottomrule", r"\end{tabular}\par"]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(row: Row, found: UnlikeRows) -> list[str]:
    remarks = "".join(f" ({_own(remark)})" for remark in remarks_of(row))
    differs = r"$\neq$" if row.aside.xi_differs else ""
    verdict = verdict_text(row)
    return [
        latex_text(row.cell) + _own(found.mark(row)) + remarks,
        _own(NONE) if row.xi is None else latex_text(row.xi) + differs,
        str(row.n),
        _own(top1_text(row)),
        _own(difference_text(row)) + (f" ({verdict})" if verdict else ""),
        _own(p_text(row.p_adjusted)),
        _own(number_text(row.tier)),
    ]


def _published(found: Sequence[Published]) -> list[str]:
    if not found:
        return []
    lines = [
        r"Published, not ours; each as its source scored it:\par",
        r"\begin{tabular}{llrll}",
        r"\toprule",
    ]
    for one in found:
        texts = (regime_text(one), one.arm, percent_text(one.top1), one.scored, one.source)
        lines.append(_line([_own(text) for text in texts]))
    return [*lines, r"\bottomrule", r"\end{tabular}\par"]


def _own(text: str) -> str:
    """A text of ours, with the signs that it is written with; names in it are escaped too."""
    return "".join(SIGNS.get(character) or latex_text(character) for character in text)
