"""What a sweep says while it runs: one live screen, or one line for each change of state."""

import os
import sys
import textwrap
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

import typer

from mcl_bench.cli.tally import Tally

if TYPE_CHECKING:
    from mcl_bench.cli.screen import Screen


TIME_WIDTH = 8
"""The columns that the time takes before each line."""

NOTE_WIDTH = 72
"""A note is told in lines of so many columns, beside the time's."""


def shown(tally: Tally, *, err: bool, quiet: bool, verbose: bool) -> "Lines | Screen":
    """The live screen on a terminal that can show it; else, and with `verbose`, lines.

    With `err` it goes to stderr. With `quiet` nothing is said.
    """
    stream = sys.stderr if err else sys.stdout
    if quiet or verbose or not _is_screen(stream):
        return Lines(tally, err=err, quiet=quiet)
    from mcl_bench.cli.screen import Screen

    return Screen(tally, stream=stream)


class Lines:
    """Prints a line when a trial starts or ends, with how many have ended of how many."""

    def __init__(self, tally: Tally, *, err: bool = False, quiet: bool = False) -> None:
        self._tally = tally
        self._err = err
        self._quiet = quiet
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is left to be undone."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Tell one event of the sweep."""
        self._tally.hear(event)
        kind = event["event"]
        if kind == "launch":
            self._trial(event, "running")
        elif kind == "relaunch":
            how = "alone, from its checkpoint" if event.get("alone") else "from its checkpoint"
            self._trial(event, f"again, {how} ({event['cause']})")
        elif kind == "interrupt":
            self._trial(event, "interrupted")
        elif kind == "tell":
            value = "" if event["value"] is None else f" {event['value']:.4f}"
            cause = f"  {event['cause']}" if event.get("cause") else ""
            self._trial(event, f"{event['state']}{value}{cause}")
        elif kind == "note":
            lines = textwrap.wrap(f"note: {event['text']}", NOTE_WIDTH)
            self.say(("\n" + " " * TIME_WIDTH).join(lines))
        elif kind == "end":
            self.say(f"sweep {event['state']}")

    def packing(self, name: str, done: int, total: int) -> None:
        """Tell that a data set is being packed, at its end."""
        if done == total:
            self.say(f"{name}: {total} images packed")

    def say(self, text: str) -> None:
        """Print one line with the time since the start."""
        if not self._quiet:
            seconds = int(time.monotonic() - self._began)
            typer.echo(f"{seconds // 60:3d}:{seconds % 60:02d}  {text}", err=self._err)

    def _trial(self, event: Mapping[str, Any], text: str) -> None:
        count = self._tally.count()
        name = f"{event['cell']}/{event['stage']}-{event['trial']}"
        self.say(f"[{count.done}/{count.total}]  {name}  {text}")


def _is_screen(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a cursor moves, and colours are welcome."""
    plain = os.environ.get("TERM", "dumb") in {"", "dumb", "unknown"}
    return stream.isatty() and not plain and not os.environ.get("NO_COLOR")
