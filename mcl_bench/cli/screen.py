"""The live screen of a sweep: one frame on the terminal, drawn again in place."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TextIO

import typer
from rich.console import Console, ConsoleDimensions
from rich.live import Live

from mcl_bench.cli.frame import Frame, clock
from mcl_bench.cli.tally import Tally

REDRAWS_PER_SECOND = 4

FOREIGN_LINES = 40
"""So many of the last lines that others wrote beside the screen are shown when it is gone."""


class Screen:
    """Shows a tally on the terminal of a stream, on a page of its own, while it is entered.

    It is drawn by a thread, so whoever tells events never waits for the terminal. What anything
    else in this process writes meanwhile, down to C++, is kept off it and shown afterwards.
    Where nothing is left to run there is no screen before a trial is launched.
    """

    def __init__(self, tally: Tally, *, stream: TextIO) -> None:
        self._tally = tally
        self._stream = stream
        self._shown: ExitStack | None = None

    def __enter__(self) -> Self:
        count = self._tally.count()
        if count.done < count.total:
            self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.close()
            if kind is None:
                self._stream.write(f"{self._summary()}\n\n")
                self._stream.flush()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Hear one event of the sweep."""
        self._tally.hear(event)
        if event["event"] == "note":  # kept off the screen while there is one, and shown after it
            typer.echo(f"note: {event['text']}", err=True)
        if event["event"] == "launch" and self._shown is None:
            self._show()

    def packing(self, name: str, done: int, total: int) -> None:
        """Hear how far the packing of a data set is."""
        self._tally.pack(name, done, total)

    def _show(self) -> None:
        with ExitStack() as stack:
            # The page is left first, then what was kept off it is shown.
            terminal = stack.enter_context(_alone(self._stream))
            console = Console(file=terminal, force_terminal=True, force_interactive=True)
            live = Live(
                console=console,
                get_renderable=partial(self._frame, console, terminal),
                screen=True,
                refresh_per_second=REDRAWS_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            stack.callback(live.stop)
            live.start(refresh=True)
            self._shown = stack.pop_all()

    def _frame(self, console: Console, terminal: TextIO) -> Frame:
        """What to draw now, on a terminal of whatever size it is now."""
        size = os.get_terminal_size(terminal.fileno())
        console.size = ConsoleDimensions(size.columns or 80, size.lines or 24)
        return Frame(self._tally.count(), sweep=self._tally.sweep, metric=self._tally.metric)

    def _summary(self) -> str:
        count = self._tally.count()
        states = ", ".join(f"{number} {state}" for state, number in count.states.items())
        words = f"{count.done} of {count.total} trials" + (f" ({states})" if states else "")
        return f"sweep {self._tally.sweep}: {count.state}, {words}, {clock(count.seconds)}"


@contextmanager
def _alone(stream: TextIO) -> Iterator[TextIO]:
    """A stream to the terminal of `stream`, which nothing else of this process writes to.

    The descriptors of stdout and stderr lead to a file meanwhile; its end is shown on stderr
    afterwards.
    """
    for each in (sys.stdout, sys.stderr):
        each.flush()
    with ExitStack() as stack:
        foreign = stack.enter_context(tempfile.TemporaryFile())
        duplicate = os.dup(stream.fileno())
        terminal = stack.enter_context(open(duplicate, "w", encoding=stream.encoding))
        saved = [(os.dup(descriptor), descriptor) for descriptor in (1, 2)]
        for _, descriptor in saved:
            os.dup2(foreign.fileno(), descriptor)
        try:
            yield terminal
        finally:
            for each in (sys.stdout, sys.stderr):
                each.flush()
            for copy, descriptor in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            foreign.seek(0)
            lines = foreign.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.writelines(lines[-FOREIGN_LINES:])
            sys.stderr.flush()
