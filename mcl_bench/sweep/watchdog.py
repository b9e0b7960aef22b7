"""Ends a process that comes to no next batch, with what every thread was doing.

It is Python's faulthandler: a thread in C that needs no lock of the interpreter, so that it also
ends what hangs inside a library. Workers load this file, so only Python.
"""

import faulthandler
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HANG_SECONDS = float(os.environ.get("MCL_BENCH_HANG_SECONDS", "1800"))
"""A trial that has come to no next batch for so long is taken for hung; 0: never."""

DUMP = "hung.txt"
"""The file in a lease's folder that says what a process did which was ended."""


class Watchdog:
    """Ends this process if it is not `fed` for `HANG_SECONDS` while it `watches`."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        self._fed = 0.0

    @contextmanager
    def watches(self, folder: Path) -> Iterator[None]:
        """Watch a block; what is said goes to `DUMP` in this folder."""
        if HANG_SECONDS <= 0:
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / DUMP).open("w", encoding="utf-8") as file:
            self._file = file
            self._start()
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                self._file = None

    def fed(self) -> None:
        """The next batch has come: start to count again, at most a hundred times in the span."""
        if self._file is not None and time.monotonic() - self._fed > HANG_SECONDS / 100:
            self._start()

    def _start(self) -> None:
        assert self._file is not None, "a watchdog is fed while it watches"
        self._fed = time.monotonic()
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=self._file)


def read_dump(folder: Path) -> str | None:
    """What a process of this lease did when it was ended for hanging; None if it was not."""
    try:
        return (folder / DUMP).read_text(encoding="utf-8", errors="replace") or None
    except FileNotFoundError:
        return None
