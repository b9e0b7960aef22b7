"""Makes README's pictures from a sweep that has been run: `docs/make_pictures.py MCL_HOME NAME`.

`docs/leaderboard.svg` is what `mcl-bench leaderboard NAME` prints. `docs/screen.svg` is the live
screen of the sweep: its events, replayed by their own times through the code that draws it. No
picture names a font or anything else that would be fetched.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI
from rich.text import Text

from mcl_bench import results
from mcl_bench.cli.frame import Frame
from mcl_bench.cli.tally import Goal, Tally
from mcl_bench.results.folder import read_events
from mcl_bench.spec import load

COLUMNS, LINES = 80, 24
NUM_FRAMES = 14
FRAME_SECONDS, LAST_SECONDS = 0.9, 4.0
HERE = Path(__file__).parent

FONT = "font-family: Menlo, Consolas, 'DejaVu Sans Mono', monospace"

WHOLE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
text {{ FONT; font-size: {char_height}px; white-space: pre; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; }}
ANIMATION
</style>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
FRAMES
</g>
</svg>
"""

ONE = """\
<g class="frame" id="{unique_id}">
<style>{styles}</style>
{backgrounds}
{matrix}
</g>
"""


def main(home: Path, name: str) -> None:
    """Write both pictures."""
    board = results.render(results.leaderboard(home, [name]), "table")
    write("leaderboard", [Text(board)], title=f"mcl-bench leaderboard {name}")
    frames = replay(home / "sweeps" / name)
    write("screen", frames, title=f"mcl-bench sweep experiments/{name}.yaml")


def replay(folder: Path) -> list[RenderableType]:
    """The screen at `NUM_FRAMES` moments from the first launch to the end."""
    experiment = load(folder / "experiment.yaml")
    search, confirm = experiment.spec.search, experiment.spec.confirm
    events = list(read_events(folder))
    now = events[0]["time"]
    tally = Tally(
        experiment.name,
        [
            Goal(
                cell=cell.id,
                trials=search.trials,
                seeds=confirm.seeds,
                epochs=cell.spec.train.epochs,
            )
            for cell in experiment.cells
        ],
        metric=search.metric,
        clock=lambda: now,
    )
    first = next(event["time"] for event in events if event["event"] == "launch")
    last = events[-1]["time"]
    frames: list[RenderableType] = []
    for number in range(1, NUM_FRAMES + 1):
        until = last - (last - first) * (NUM_FRAMES - number) / NUM_FRAMES
        while events and events[0]["time"] <= until:
            now = events[0]["time"]
            tally.hear(events.pop(0))
        now = until
        frames.append(Frame(tally.count(), sweep=experiment.name, metric=search.metric))
    return frames


def write(name: str, frames: list[RenderableType], *, title: str) -> None:
    """Write the frames as one picture, which plays them; the last stands where nothing moves."""
    num_lines = max(len(record(frame).export_text().splitlines()) for frame in frames)
    drawn = []
    for number, frame in enumerate(frames):
        console = record(frame, num_lines=num_lines)
        unique = f"{name}-{number}"
        drawn.append(
            console.export_svg(theme=MONOKAI, code_format=ONE, unique_id=unique, clear=False)
        )
    whole = console.export_svg(
        title=title, theme=MONOKAI, code_format=WHOLE.replace("FONT", FONT), unique_id=name
    )
    whole = whole.replace("ANIMATION", animation(name, len(frames)))
    text = whole.replace("FRAMES", "".join(drawn))
    text = re.sub(r'<text[^>]*>\n</text>| clip-path="[^"]*"', "", text)
    lines = [line.strip() for line in text.splitlines()]
    (HERE / f"{name}.svg").write_text("\n".join(line for line in lines if line) + "\n")


def record(frame: RenderableType, *, num_lines: int = 0) -> Console:
    """A console that has drawn a frame, and blank lines after it up to `num_lines`."""
    console = Console(
        width=COLUMNS,
        height=LINES,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    console.print(frame)
    for _ in range(num_lines - len(console.export_text(clear=False).splitlines())):
        console.print()
    return console


def animation(name: str, num_frames: int) -> str:
    """The style that shows one frame after the other, for ever."""
    if num_frames == 1:
        return ""
    seconds = FRAME_SECONDS * (num_frames - 1) + LAST_SECONDS
    last = num_frames - 1
    rules = [
        ".frame { visibility: hidden; animation-timing-function: step-end; "
        f"animation-duration: {seconds:.1f}s; animation-iteration-count: infinite; }}",
        f"#{name}-{last} {{ visibility: visible; }}",
        "@media (prefers-reduced-motion: reduce) { .frame { animation: none !important; } }",
    ]
    for number in range(num_frames):
        begin = 100 * FRAME_SECONDS * number / seconds
        end = 100.0 if number == last else 100 * FRAME_SECONDS * (number + 1) / seconds
        before = "" if number == 0 else "0% { visibility: hidden; } "
        after = "" if number == last else f" {end:.2f}%, 100% {{ visibility: hidden; }}"
        rules += [
            f"@keyframes play-{number} "
            f"{{ {before}{begin:.2f}% {{ visibility: visible; }}{after} }}",
            f"#{name}-{number} {{ animation-name: play-{number}; }}",
        ]
    return "\n".join(rules)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
