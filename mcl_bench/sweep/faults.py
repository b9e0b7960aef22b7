"""Named points where a test can hold this process, in order to kill it there.

They stand where a crash would leave one of the records behind another. Without the environment
variable `MCL_BENCH_FAULT` (a point's name and a file, as `POINT=FILE`) they do nothing.
"""

import os
import time
from pathlib import Path

POINTS = (
    "in-ask",
    "after-ask",
    "after-run-id",
    "before-metrics",
    "after-record",
    "after-tell",
    "after-tracker",
    "after-table",
    "after-look",
    "in-confirm",
)
"""Every point, in the order in which a sweep first comes to them."""


def reach(point: str) -> None:
    """Come to a point: if it is the wanted one, write its file and wait to be killed."""
    wanted, _, file = os.environ.get("MCL_BENCH_FAULT", "").partition("=")
    if wanted == point:
        Path(file).write_text(f"{point}\n")
        while True:
            time.sleep(1)
