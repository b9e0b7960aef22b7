"""Named points where a test can hold or end this process.

They stand before and after each write, where a crash would leave one of the records behind
another; `before-send` and `after-send` where the tracker's own thread sends what it was given.
Without the environment variable `MCL_BENCH_FAULT` (a point's name and a file, as `POINT=FILE`) they
do nothing.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

POINTS = (
    "before-ask",
    "after-ask",
    "before-run",
    "before-send",
    "after-send",
    "before-run-id",
    "after-run-id",
    "before-metrics",
    "after-metrics",
    "after-report",
    "before-record",
    "after-record",
    "before-tell",
    "after-tell",
    "after-tracker",
    "before-table",
    "after-table",
    "before-confirm",
    "after-confirm",
    "before-look",
    "before-seal",
    "after-look",
)
"""Every point, in the order in which a sweep first comes to them."""

PIECES_POINTS = ("before-pieces", "after-pieces", "in-pieces")
"""The points of a sweep that goes on in smaller pieces, beside those."""


def hold(point: str) -> None:
    """If this is the wanted point, write its file and wait to be killed."""
    wanted, _, file = os.environ.get("MCL_BENCH_FAULT", "").partition("=")
    if wanted == point:
        Path(file).write_text(f"{point}\n")
        while True:
            time.sleep(1)


at_point: Callable[[str], None] = hold
"""What is done at every point; a test in one process puts an end to it here."""


def reach(point: str) -> None:
    """Come to a point."""
    at_point(point)
