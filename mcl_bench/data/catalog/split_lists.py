"""A list of training images and a list of test images, with the number of each image's class.

The files are named by their class too, so a number that is off by one can be told.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.data.catalog.listed import (
    Listed,
    ListedSource,
    advice,
    keep_present,
)
from mcl_bench.data.catalog.listed_checks import keep_once
from mcl_bench.data.catalog.source import DatasetFacts, Fault, FaultKind, Report, Split


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a list: an image, by its path relative to the root, and its class.

    `name` is the class that the path tells, `number` the one that the list tells, from 1; None
    where the row could not be read, which has been reported. `split` is the list's, None in a
    list of all images.
    """

    path: str
    split: Split | None
    name: str
    number: int | None
    place: str


@dataclass(frozen=True, kw_only=True)
class SplitList:
    """The rows of the list `file` (relative to the root), one or more, all of one split."""

    file: str
    rows: Sequence[Row]


ReadRows = Callable[[Path, str, Split | None, Report], Iterator[Row]]
"""(root, file, split, report) -> the rows of one list that are right; others are reported."""


def list_tree(
    root: Path,
    splits: Mapping[str, Split],
    everything: str,
    read: ReadRows,
    *,
    facts: DatasetFacts,
    cache: Path,
    report: Report,
) -> tuple[ListedSource, set[str]] | None:
    """The images of all lists that are right, and every path that is listed; None without rows.

    `splits` are the lists, relative to the root, with their splits; `everything` is a list of all
    images, which may be absent.
    """
    lists = [
        SplitList(file=file, rows=tuple(read(root, file, split, report)))
        for file, split in splits.items()
    ]
    if not all(one.rows for one in lists):
        return None
    source = _source(root, lists, facts=facts, cache=cache, report=report)
    there = (root / everything).exists()
    rows = tuple(read(root, everything, None, report)) if there else ()
    _tell_unsplit(rows, lists, report)
    return source, {row.path for part in (rows, *(one.rows for one in lists)) for row in part}


def _source(
    root: Path,
    lists: Sequence[SplitList],
    *,
    facts: DatasetFacts,
    cache: Path,
    report: Report,
) -> ListedSource:
    """The images of all lists that are right, with classes in the order of their numbers.

    Reported are an image that is listed twice or in two lists, a number that is not the one of
    the class that the path tells, a class without training images, and an image that isn't there.
    """
    rows = list(keep_once((row for one in lists for row in one.rows), report=report))
    names = _names(rows, _count(facts))
    order = {number: label for label, number in enumerate(sorted(names))}
    _tell_untrained(lists, names, report)
    listed = [
        Listed(path=row.path, label=order[number], split=row.split, place=row.place)
        for row, number in _of_its_class(rows, names, facts, report)
        if row.split is not None
    ]
    images = keep_present(listed, root=root, facts=facts, report=report)
    return ListedSource(
        root, classes=[names[number] for number in order], images=images, cache=cache
    )


def _tell_unsplit(rows: Iterable[Row], lists: Sequence[SplitList], report: Report) -> None:
    """Report the images of a list of all images that are in no split."""
    named = {row.path for one in lists for row in one.rows}
    words = f"is in neither {' nor '.join(one.file for one in lists)}"
    for row in rows:
        if row.path not in named:
            report(_fault("split", row, words, "add it to one of them"))


def _names(rows: Iterable[Row], num_classes: int) -> Mapping[int, str]:
    """The name of each number: the one that most images of that name and number have."""
    numbers: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        if row.number is not None and 1 <= row.number <= num_classes:
            numbers[row.name][row.number] += 1
    names: dict[int, str] = {}
    for name, counts in sorted(numbers.items(), key=lambda item: -max(item[1].values())):
        names.setdefault(counts.most_common(1)[0][0], name)
    return names


def _of_its_class(
    rows: Iterable[Row], names: Mapping[int, str], facts: DatasetFacts, report: Report
) -> Iterator[tuple[Row, int]]:
    """The rows whose number is the one of the class that the path tells."""
    last = _count(facts)
    remedy = f"classes count from 1 to {last}; mend the list, or {advice(facts)}"
    for row in rows:
        if row.number is None:
            continue
        name = names.get(row.number)
        if name == row.name:
            yield row, row.number
        elif not 1 <= row.number <= last:
            words = f"has class {row.number}, which is not one of 1 to {last}"
            report(_fault("label", row, words, remedy))
        else:
            known = f" ({name})" if name else ""
            words = f"has class {row.number}{known}, but its path says {row.name}"
            report(_fault("label", row, words, remedy))


def _tell_untrained(lists: Sequence[SplitList], names: Mapping[int, str], report: Report) -> None:
    """Report each class without a training image; an image of a wrong number counts by its path."""
    learnt = {row.name for one in lists for row in one.rows if row.split == "train"}
    file = next(one.file for one in lists if one.rows[0].split == "train")
    for name in (name for name in names.values() if name not in learnt):
        report(
            Fault(
                kind="split",
                file=file,
                detail=f"has no image of {name}, of which there are test images",
                remedy="add some, or take the class away from every list",
            )
        )


def _count(facts: DatasetFacts) -> int:
    assert facts.classes is not None, "a set of numbered classes knows how many there are"
    return facts.classes


def _fault(kind: FaultKind, row: Row, words: str, remedy: str) -> Fault:
    return Fault(kind=kind, file=row.path, detail=words, place=row.place, remedy=remedy)
