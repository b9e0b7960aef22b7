"""Changing the lists of a data set line by line."""

from collections.abc import Callable
from pathlib import Path

Edit = Callable[[str], str | None]
"""What becomes of one line of a list: None takes it away, a line break makes two of it."""


def edit(path: Path, lines: dict[int, str | None] | dict[int, str] | Edit) -> None:
    """Change a list: by line (from 1), or each line by a function."""
    rows = path.read_text().splitlines()
    change = lines if callable(lines) else None
    edited = [
        change(row) if change else lines.get(number, row)
        for number, row in enumerate(rows, start=1)
    ]
    path.write_text("".join(f"{row}\n" for row in edited if row is not None))
