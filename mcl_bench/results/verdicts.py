"""What a sweep found, in a sentence for each data × model that a stranger understands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from mcl_bench.results.row_words import number_of, percent, points, probability
from mcl_bench.results.stats import CONFIDENCE, MIN_COMPARED, Difference, holm, paired_difference
from mcl_bench.results.story import CellStory, Group

Kind = Literal["clear", "unsure", "few", "open"]
"""One arm is better; nothing can be told apart; too few seeds to say; nothing is confirmed yet."""

LEVEL = 1 - CONFIDENCE

MOST_NAMED = 3
"""So many data × models are named in the headline."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One data × model: `badge` is the answer in a few words, `sentence` by how much and how sure.

    `winner` is the arm that is better than all others, if one is. `also` says what else must be
    known to read it.
    """

    group: str
    kind: Kind
    winner: str | None = None
    badge: str
    sentence: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """One arm against another: their paired difference, and the larger of the adjusted p values.

    Holm's over the pairs of the data × model and, where one of the two is the baseline, Holm's over
    the sweep's comparisons, which the leaderboard shows.
    """

    cell: CellStory
    other: CellStory
    difference: Difference
    p: float | None


def verdict(group: Group) -> Verdict:
    """The verdict on one data × model, from its confirm trials only."""
    cells = [cell for cell in group.cells if cell.row.n]
    if len(cells) < 2:
        return _open(group, cells)
    ahead = [entry for entry in _leads(cells) if entry.cell is cells[0]]
    next_to = min(ahead, key=lambda entry: cells.index(entry.other))
    if min(cell.row.n for cell in cells) < MIN_COMPARED:
        compared = [cell for cell in cells if cell.row.n >= MIN_COMPARED]
        if len(compared) < 2 or cells[0] not in compared:
            return _few(group, cells, next_to)
    also = _also(group, cells)
    tied = [entry.other for entry in ahead if not _told_apart(entry)]
    if tied:
        return _tied(group, cells, tied, next_to, also)
    return _clear(group, next_to, also)


def headline(verdicts: Sequence[Verdict]) -> str:
    """All verdicts in a sentence or two: of a few each one, of many how often each arm wins."""
    if len(verdicts) <= MOST_NAMED:
        said: dict[str, list[str]] = {}
        for verdict in verdicts:
            said.setdefault(verdict.badge, []).append(verdict.group)
        return " ".join(f"{' and '.join(groups)}: {badge}." for badge, groups in said.items())
    wins = Counter(verdict.winner for verdict in verdicts if verdict.winner is not None)
    parts = [f"{arm} wins on {count}" for arm, count in wins.most_common()]
    unsure = sum(verdict.kind == "unsure" for verdict in verdicts)
    if unsure:
        parts.append(f"the best can’t be told apart on {unsure}")
    if rest := len(verdicts) - wins.total() - unsure:
        parts.append(f"too little is confirmed to say on {rest}")
    return f"Of {len(verdicts)} data × models: {', '.join(parts)}."


def _leads(cells: Sequence[CellStory]) -> list[_Ahead]:
    """Every pair, the one with the higher mean first."""
    pairs = list(combinations(cells, 2))
    found = [paired_difference(a.top1_by_seed, b.top1_by_seed) for a, b in pairs]
    adjusted = holm([difference.p for difference in found])
    return [
        _Ahead(cell=a, other=b, difference=difference, p=_larger(p, a, b))
        for (a, b), difference, p in zip(pairs, found, adjusted, strict=True)
    ]


def _larger(p: float | None, a: CellStory, b: CellStory) -> float | None:
    shown = [
        row.p_adjusted
        for row, other in ((a.row, b.row), (b.row, a.row))
        if other.arm == other.aside.baseline and row.difference is not None
    ]
    known = [value for value in (p, *shown) if value is not None]
    return max(known) if len(known) == 1 + len(shown) else None


def _told_apart(entry: _Ahead) -> bool:
    """Whether the one ahead is better than chance explains."""
    return entry.p is not None and entry.p < LEVEL


def _open(group: Group, cells: Sequence[CellStory]) -> Verdict:
    if not cells:
        return Verdict(
            group=group.label,
            kind="open",
            badge="nothing confirmed yet",
            sentence="No arm has been scored on test yet: there is no result to compare.",
        )
    only = cells[0]
    return Verdict(
        group=group.label,
        kind="open",
        badge=f"only {only.arm} is confirmed",
        sentence=(
            f"{only.arm} gets {percent(only.row.test_top1_mean)} of the test images right "
            f"({number_of(only.row.n, 'seed')}); no other arm has been scored on test."
        ),
    )


def _few(group: Group, cells: Sequence[CellStory], entry: _Ahead) -> Verdict:
    fewest = min(cell.row.n for cell in cells)
    means = "; ".join(f"{cell.arm} {percent(cell.row.test_top1_mean)}" for cell in cells[:4])
    more = f"; {len(cells) - 4} more" if len(cells) > 4 else ""
    return Verdict(
        group=group.label,
        kind="few",
        badge=f"undecided: {number_of(fewest, 'seed')} can’t tell",
        sentence=(
            f"So far {means}{more}. A difference between so few runs may be chance: at least "
            f"{number_of(MIN_COMPARED, 'seed')} per arm are needed to compare."
        ),
        also=_interval_words(entry),
    )


def _tied(
    group: Group,
    cells: Sequence[CellStory],
    tied: Sequence[CellStory],
    entry: _Ahead,
    also: tuple[str, ...],
) -> Verdict:
    first = cells[0]
    badge = f"{first.arm} and {tied[0].arm} can’t be told apart"
    if len(tied) > 1:
        badge = f"the best {len(tied) + 1} of {len(cells)} arms can’t be told apart"
        if len(tied) + 1 == len(cells):
            badge = f"no arm stands out among {len(cells)}"
    if entry.other not in tied:
        entry = next(lead for lead in _leads(cells) if (lead.cell, lead.other) == (first, tied[0]))
    same = "as good as" if round(1000 * abs(entry.difference.mean or 0)) == 0 else "ahead of"
    lead = "" if same == "as good as" else f" by {points(entry.difference.mean, signed=False)}"
    names = "" if len(tied) == 1 else f" The others: {', '.join(cell.arm for cell in tied[1:])}."
    return Verdict(
        group=group.label,
        kind="unsure",
        badge=badge,
        sentence=(
            f"{first.arm} ({percent(first.row.test_top1_mean)} right) is {same} "
            f"{entry.other.arm} ({percent(entry.other.row.test_top1_mean)}){lead}, "
            f"which chance alone may explain ({_sureness(entry)}).{names}"
        ),
        also=also,
    )


def _clear(group: Group, entry: _Ahead, also: tuple[str, ...]) -> Verdict:
    first, second = entry.cell, entry.other
    return Verdict(
        group=group.label,
        kind="clear",
        winner=first.arm,
        badge=f"{first.arm} wins by {points(entry.difference.mean, signed=False)}",
        sentence=(
            f"{first.arm} gets {percent(first.row.test_top1_mean)} of the test images right, "
            f"{second.arm}{'' if len(group.cells) == 2 else ', the next,'} "
            f"{percent(second.row.test_top1_mean)}: more than chance explains "
            f"({_sureness(entry)})."
        ),
        also=also,
    )


def _sureness(entry: _Ahead) -> str:
    """The interval, p and the number of seeds."""
    found = entry.difference
    parts = []
    if found.low is not None and found.high is not None:
        low, high = points(found.low, unit=False), points(found.high)
        parts.append(f"95 % interval {low} to {high}")
    if found.no_variation:
        parts.append("the same difference with every seed, so there is no p")
    elif entry.p is not None:
        parts.append(probability(entry.p))
    parts.append(number_of(found.n, "seed"))
    return ", ".join(parts)


def _interval_words(entry: _Ahead) -> tuple[str, ...]:
    if entry.difference.low is None:
        return ("One seed gives no interval.",)
    return (
        f"{entry.cell.arm} − {entry.other.arm}: {points(entry.difference.mean)} "
        f"({_sureness(entry)}); an interval this wide decides nothing.",
    )


def _also(group: Group, cells: Sequence[CellStory]) -> tuple[str, ...]:
    notes = []
    if waiting := [cell.arm for cell in group.cells if not cell.row.n]:
        notes.append(f"Not confirmed, so not compared: {', '.join(waiting)}.")
    if few := [cell.arm for cell in cells if 0 < cell.row.n < MIN_COMPARED]:
        notes.append(f"Too few seeds to be compared: {', '.join(few)}.")
    if any(cell.row.aside.xi_differs for cell in cells):
        notes.append("The arms chose different ξ: two tuned systems are compared, not two losses.")
    if any(not cell.row.equal_budget for cell in cells):
        notes.append("The arms did not all search the same shared settings: unequal budgets.")
    return tuple(notes)
