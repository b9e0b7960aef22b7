"""One frame of the live screen: a count of a sweep, laid out to fit a terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcl_bench.cli.tally import CellCount, Count, Open

WIDEST = 100
"""More columns than this are left empty."""

FIXED_LINES = 8
"""Lines of a frame beside those of the cells and of the running trials."""

HINT = "Ctrl-C ends it with checkpoints written; the same command goes on from there."

SHORTEST_NAME = 12
"""The name of a cell keeps so many columns, whatever else there is to show."""

STATES = {"pruned": "yellow", "failed": "bold red", "diverged": "magenta"}
"""The states that have a column, and their colours; `diverged` only where there are any."""

WORDS = {
    "starting": "starting Ray",
    "stopping": "stopping: running trials write their checkpoints",
}
"""How the states of a sweep read on the screen, where not as they are."""


class Frame:
    """Renders a count within the lines and columns that there are.

    Where not every cell or running trial has a line, the rest is told as a number; cells that run
    go first, then those with work left.
    """

    def __init__(self, count: Count, *, sweep: str, metric: str) -> None:
        self._count = count
        self._sweep = sweep
        self._metric = metric

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines of the frame."""
        width = min(options.max_width, WIDEST)
        height = options.height or console.height
        num_cells, num_open = share_lines(
            height - FIXED_LINES, cells=len(self._count.cells), trials=len(self._count.open)
        )
        yield Group(
            self._heading(width),
            self._bar(width),
            "",
            self._cells(width, num_cells),
            *self._running(width, num_open),
            *self._hint(),
        )

    def _heading(self, width: int) -> RenderableType:
        count = self._count
        line = Table.grid(expand=True, padding=(0, 1))
        line.width = width
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_column(no_wrap=True, justify="right")
        left = "" if count.seconds_left is None else clock(max(1.0, count.seconds_left))
        times = f"{clock(count.seconds)} so far"
        if count.state == "running":
            times += f", time left about {left}" if left else ", time left not known yet"
        name = Text.assemble("sweep ", (self._sweep, "bold"))
        if count.state != "running" and count.packing is None:
            name.append(f": {WORDS.get(count.state, count.state)}")
        line.add_row(name, Text(times, style="dim"))
        return line

    def _bar(self, width: int) -> RenderableType:
        """How many trials have ended; before the start, how far the packing is."""
        count = self._count
        words = f"{count.done} of {count.total} trials"
        done, total = count.done, count.total
        if count.packing is not None:
            pack = count.packing
            words = f"packing {pack.name}: {pack.done} of {pack.total} images"
            done, total = pack.done, pack.total
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_row(_progress(done, max(1, total), width - len(words) - 2), Text(words))
        return line

    def _cells(self, width: int, num_lines: int) -> RenderableType:
        cells = self._count.cells
        columns = self._columns(width)
        taken = sum(2 + _width(head, texts) for head, texts in columns.items())
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("cell", no_wrap=True)
        for head in columns:
            table.add_column(head, justify="right", no_wrap=True)
        shown = chosen(cells, num_lines)
        for place, cell in enumerate(cells):
            if cell in shown:
                name = shorten(cell.cell, max(SHORTEST_NAME, width - taken))
                style = "green" if cell.done >= cell.total else ""
                row = [texts[place] for texts in columns.values()]
                table.add_row(Text(name, style=style), *row)
        left_out = len(cells) - len(shown)
        if not left_out:
            return table
        return Group(table, Text(f"… and {left_out} more cells", style="dim"))

    def _columns(self, width: int) -> dict[str, list[Text]]:
        """What is told of each cell, by column; the least needed go where width is wanting."""
        cells = self._count.cells
        sense = "lowest" if self._metric == "val/loss" else "highest"
        best = f"{sense} {self._metric}"
        columns = {
            "done": [Text(f"{cell.done}/{cell.total}") for cell in cells],
            "running": [_number(cell.running, "cyan") for cell in cells],
            **{
                state: [_number(cell.states.get(state, 0), style) for cell in cells]
                for state, style in STATES.items()
                if state != "diverged" or self._count.states[state]
            },
            best: [_best(cell) for cell in cells],
        }
        for head in ("diverged", "pruned", "failed", best, "running"):
            taken = sum(2 + _width(head, texts) for head, texts in columns.items())
            if taken + SHORTEST_NAME > width:
                columns.pop(head, None)
        return columns

    def _running(self, width: int, num_lines: int) -> Iterator[RenderableType]:
        trials = self._count.open
        shown = trials if len(trials) <= num_lines else trials[: max(0, num_lines - 1)]
        if not trials:
            return
        yield ""
        yield Text("now running", style="dim")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        epochs = max(len(_epoch(trial)) for trial in trials)
        bar_width = max(4, min(20, width // 5))
        for trial in shown:
            name = f"/{trial.stage}-{trial.number}"
            room = max(SHORTEST_NAME, width - bar_width - epochs - len(name) - 12)
            table.add_row(
                Text(shorten(trial.cell, room) + name),
                _progress(trial.epoch, trial.epochs, bar_width),
                _epoch(trial),
                "" if trial.value is None else f"{trial.value:.4f}",
            )
        yield table
        if len(shown) < len(trials):
            yield Text(f"… and {len(trials) - len(shown)} more", style="dim")

    def _hint(self) -> Iterator[RenderableType]:
        if self._count.state == "running":
            yield ""
            yield Text(HINT, style="dim", no_wrap=True, overflow="ellipsis")


def share_lines(available: int, *, cells: int, trials: int) -> tuple[int, int]:
    """How many of the lines go to cells and to running trials; half each where both want more."""
    if cells + trials <= available:
        return cells, trials
    to_trials = min(trials, max(available - cells, available // 2))
    return max(1, available - to_trials), max(1, to_trials)


def chosen(cells: Sequence[CellCount], num_lines: int) -> Sequence[CellCount]:
    """The cells that are shown on so many lines, one of them for the number of the others."""
    if len(cells) <= num_lines:
        return cells
    order = sorted(cells, key=lambda cell: (cell.running == 0, cell.done >= cell.total))
    return order[: max(1, num_lines - 1)]


def shorten(name: str, width: int) -> str:
    """The name, its middle left out where it is wider than `width` columns."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _progress(done: int, total: int, width: int) -> ProgressBar:
    return ProgressBar(
        total=total,
        completed=done,
        width=max(4, width),
        complete_style="cyan",
        finished_style="green",
    )


def _width(head: str, texts: Sequence[Text]) -> int:
    return max(len(head), *(text.cell_len for text in texts))


def _number(count: int, style: str) -> Text:
    return Text(str(count), style=style if count else "dim")


def _best(cell: CellCount) -> Text:
    if cell.best_value is None:
        return Text("–")
    return Text(f"{cell.best_value:.4f} (search-{cell.best_trial})")


def _epoch(trial: Open) -> str:
    if trial.state == "running":
        return f"epoch {trial.epoch}/{trial.epochs}"
    return "starts again" if trial.state == "waiting" else trial.state


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    hours, minutes = divmod(int(seconds) // 60, 60)
    rest = f"{minutes}:{int(seconds) % 60:02d}"
    return f"{hours}:{minutes:02d}:{int(seconds) % 60:02d}" if hours else rest
