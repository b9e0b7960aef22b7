"""Lists that are text: a row per line, in UTF-8."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcl_bench.data.catalog.source import Fault, Report

MEND = "mend the line, or unpack the archive again"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a list, without the blanks around it, and where it stands (`images.txt:7`)."""

    text: str
    place: str


def read_rows(root: Path, name: str, *, report: Report) -> tuple[Row, ...] | None:
    """The lines of the list `name` that hold something, in their order.

    A line that is no text is reported and left out. None, which is reported too, where the list
    can't be read or holds nothing.
    """
    try:
        content = (root / name).read_bytes()
    except OSError as error:
        words = f"cannot be read: {error.strerror}"
        report(Fault(kind="corrupt", file=name, detail=words, remedy="get the list again"))
        return None
    if not content.strip():
        report(Fault(kind="empty", file=name, detail="has no rows", remedy=MEND))
        return None
    rows = (
        Row(text=text, place=f"{name}:{line}")
        for line, text in numbered_lines(content, name, report=report)
    )
    return tuple(row for row in rows if row.text)


def numbered_lines(content: bytes, name: str, *, report: Report) -> Iterator[tuple[int, str]]:
    """The lines of a list's `content` that hold something, with their numbers from 1.

    A line that is no text is reported and comes as "".
    """
    for line, row in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = row.decode().strip()
        except UnicodeDecodeError:
            report(
                Fault(
                    kind="corrupt",
                    file=name,
                    detail="this line is no text in UTF-8",
                    place=f"{name}:{line}",
                    remedy=MEND,
                )
            )
            yield line, ""
            continue
        if text:
            yield line, text
