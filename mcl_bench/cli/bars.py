"""Progress bars of verbs that take a while: on stderr, and only where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


@contextmanager
def counted(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for things that are counted: the callable is told how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeLeft(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as on:
        task = on.add_task(words, total=None)
        yield lambda done, total: on.update(task, completed=done, total=total)


@contextmanager
def arriving() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each file that is read or arrives: the callable is told its bytes, of how many.

    Where there is no terminal each file is named once, when it begins.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as on:

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = on.add_task(what, total=total)
                if not console.is_terminal:
                    typer.echo(what, err=True)
            on.update(tasks[what], completed=done, total=total)

        yield tell
