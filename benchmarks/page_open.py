"""The page of a sweep of 10,000 trials opens within 3 s in Chromium, in the median of N openings.

Open is: its tables can be read and sorted, and the figures on the screen are drawn. The first paint
is printed too. Its peer, opened in turn with it: what plotly's own `to_html` makes of the values of
the same trials, a figure for each cell with every point.

Run: `python benchmarks/page_open.py [N]`, default 5. Exit code 1 if the promise is broken.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "results")]

from big_sweep import write_big_sweep  # noqa: E402  the tests' own generator
from browser import Opened, chromium, opened  # noqa: E402
from playwright.sync_api import Browser  # noqa: E402

from mcl_bench.cli.report import write_report  # noqa: E402
from mcl_bench.results.story import read_story  # noqa: E402

PROMISE_SECONDS = 3.0
NUM_TRIALS = 10_000
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
OURS, PEER = "mcl-bench report", "plotly's to_html"


def peer_page(folder: Path, path: Path) -> None:
    """Write every search trial's value by its number, a figure for each cell, as plotly does."""
    import plotly.graph_objects as go
    import plotly.io as pio

    parts = []
    for cell in read_story(folder).cells:
        known = [record for record in cell.search if record.value is not None]
        trace = go.Scatter(
            x=[record.trial for record in known],
            y=[record.value for record in known],
            mode="markers",
        )
        figure = go.Figure(trace, layout={"title": cell.cell.id})
        parts.append(pio.to_html(figure, full_html=False, include_plotlyjs=not parts))
    path.write_text(f"<!doctype html><meta charset=utf-8>{''.join(parts)}", encoding="utf-8")


def ours_ready(found: Opened) -> None:
    """Wait until the page can be used: its tables, and the figures that are on the screen."""
    found.page.wait_for_function("document.documentElement.dataset.ready === '1'")
    found.page.wait_for_function(
        "[...document.querySelectorAll('.plot:not([hidden])')].every(plot => plot.dataset.drawn"
        " || plot.getBoundingClientRect().top > innerHeight)"
    )


def peer_ready(found: Opened) -> None:
    """Wait until all its figures are drawn: it draws them all at once."""
    found.page.wait_for_function(
        "document.querySelectorAll('.main-svg').length >= 2 * "
        "document.querySelectorAll('.plotly-graph-div').length"
    )


def open_seconds(
    browser: Browser, path: Path, ready: Callable[[Opened], None]
) -> tuple[float, float]:
    """The seconds until a page is open, and until its first paint."""
    began = time.perf_counter()
    with opened(browser, path) as found:
        ready(found)
        return time.perf_counter() - began, float(found.page.evaluate(PAINT)) / 1000


def main() -> int:
    """Measure, print, and say by the exit code whether the promise is kept."""
    num_openings = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        folder = write_big_sweep(Path(home), trials=NUM_TRIALS)
        began = time.perf_counter()
        page = write_report(folder)
        written = time.perf_counter() - began
        peer = Path(home) / "peer.html"
        peer_page(folder, peer)
        pages = {OURS: (page, ours_ready), PEER: (peer, peer_ready)}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in pages}
        for opening in range(num_openings + 1):
            for name, (path, ready) in pages.items():
                seconds = open_seconds(browser, path, ready)
                if opening > 0:  # the first of each finds no file in the page cache
                    found[name].append(seconds)
        sizes = {name: path.stat().st_size / 1e6 for name, (path, _) in pages.items()}
        version = browser.version
    lines = [
        f"a page of {NUM_TRIALS:,} trials, {num_openings} openings, Chromium {version}; "
        f"writing it took {written:.1f} s",
        f"{'':20}{'open':>10}{'slowest':>10}{'paint':>10}{'size':>10}",
    ]
    for name, seconds in found.items():
        whole, paint = zip(*seconds, strict=True)
        figures = (statistics.median(whole), max(whole), statistics.median(paint))
        size = f"{sizes[name]:7.1f} MB"
        lines.append(f"{name:20}" + "".join(f"{one:8.2f} s" for one in figures) + size)
    median = statistics.median(whole for whole, _ in found[OURS])
    verdict = "kept" if median <= PROMISE_SECONDS else "BROKEN"
    lines.append(f"promise: median <= {PROMISE_SECONDS:g} s: {verdict} ({median:.2f} s)")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if median <= PROMISE_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
