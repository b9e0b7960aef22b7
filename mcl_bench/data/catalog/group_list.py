"""`groups.csv`: which images show one object, so that no cut parts them.

A header `path,group`, then a line for each image: its path relative to the root, and any word for
what it shows. An image that stands alone has a word of its own.
"""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.data.catalog.source import Fault, FaultKind, Member, Report

NAME = "groups.csv"
HEADER = ("path", "group")


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One image and its group; `place` is where they are told."""

    path: str
    group: str
    place: str


def with_groups(members: Sequence[Member], *, root: Path, report: Report) -> tuple[Member, ...]:
    """The images with the groups that `groups.csv` in the root gives them; as they are without it.

    Reported: a file that can't be read, a line that isn't one, a path that is no image, or told
    twice, an image without a line, and a group on both sides of an official test split. An image
    without a line that is right has a group of its own.
    """
    path = root / NAME
    if not path.exists():
        return tuple(members)
    known = {member.id for member in members}
    told: dict[str, _Line] = {}
    for line in _lines(path, report):
        if line.path not in known:
            detail = "is no image of this data set"
            _tell(report, "missing", line.path, detail, line.place)
        elif line.path in told:
            detail = f"has a group in {told[line.path].place} already"
            _tell(report, "duplicate", line.path, detail, line.place)
        else:
            told[line.path] = line
    for member in members:
        if member.id not in told:
            _tell(report, "orphan", member.id, f"has no line in {NAME}", None)
    grouped = tuple(
        dataclasses.replace(member, group=told[member.id].group if member.id in told else member.id)
        for member in members
    )
    _tell_parted(grouped, told, report)
    return grouped


def _lines(path: Path, report: Report) -> Iterator[_Line]:
    """The lines that are right; the others are reported."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        _tell(report, "corrupt", NAME, f"can't be read: {error}", None)
        return
    first = rows[0][1] if rows else []
    if tuple(word.strip().lower() for word in first) != HEADER:
        got = ",".join(first)
        _tell(report, "corrupt", NAME, f"must begin with path,group, got {got!r}", f"{NAME}:1")
        return
    for number, row in rows[1:]:
        place = f"{NAME}:{number}"
        if not row:
            continue
        if len(row) != len(HEADER) or not all(word.strip() for word in row):
            detail = f"must have a path and a group, got {','.join(row)!r}"
            _tell(report, "corrupt", NAME, detail, place)
            continue
        yield _Line(path=row[0].strip(), group=row[1].strip(), place=place)


def _tell_parted(members: Iterable[Member], told: dict[str, _Line], report: Report) -> None:
    """Report the test images of a group that has images beside test too."""
    beside = {member.group: member.id for member in members if member.split not in (None, "test")}
    for member in members:
        if member.split == "test" and member.group in beside:
            place = told[member.id].place if member.id in told else None
            detail = f"is a test image of group {member.group!r}, as {beside[member.group]} is not"
            _tell(report, "split", member.id, detail, place)


def _tell(report: Report, kind: FaultKind, file: str, detail: str, place: str | None) -> None:
    report(
        Fault(
            kind=kind,
            file=file,
            detail=detail,
            place=place,
            remedy=f"mend {NAME}: path,group, then a line for each image, with its path from the "
            "root; or take the file away",
        )
    )
