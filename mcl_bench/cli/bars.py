"""Progress bars of verbs that take a while: on stderr, and only where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counted(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for things that are counted: the callable is told how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as on:
        task = on.add_task(words, total=None)
        yield lambda done, total: on.update(task, completed=done, total=total)
