"""P8: `mcl-bench --help` is there within 0.3 s, in the median of N starts of a fresh Python.

Its peers, started in turn with it: `python -c pass`, which no Python program can beat, and
`python -c "import torch"`, which the help would cost if it loaded what training needs. The files
are in the page cache: the first start of each is not counted.

Run: `python benchmarks/cli_start.py [N]`, default 15. Exit code 1 if the promise is broken.
"""

import platform
import statistics
import subprocess
import sys
import time

PROMISE_SECONDS = 0.3
HELP = "mcl-bench --help"
COMMANDS = {
    HELP: [sys.executable, "-m", "mcl_bench.cli", "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
    'python -c "import torch"': [sys.executable, "-c", "import torch"],
}


def start_seconds(command: list[str]) -> float:
    """The wall time of one start, from fork to exit."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def measure(num_starts: int) -> dict[str, list[float]]:
    """The seconds of each command's starts, taken in turn so that all see the same machine."""
    for command in COMMANDS.values():
        start_seconds(command)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(num_starts):
        for name, command in COMMANDS.items():
            seconds[name].append(start_seconds(command))
    return seconds


def report(seconds: dict[str, list[float]]) -> str:
    """The table that is printed, a line per command, and the verdict."""
    num_starts = len(seconds[HELP])
    lines = [
        f"P8: start of the help, {num_starts} starts of each, "
        f"Python {platform.python_version()} on {platform.machine()}",
        f"{'':26}{'median':>9}{'fastest':>9}{'slowest':>9}",
    ]
    for name, values in seconds.items():
        figures = (statistics.median(values), min(values), max(values))
        lines.append(f"{name:26}" + "".join(f"{figure:7.3f} s" for figure in figures))
    median = statistics.median(seconds[HELP])
    verdict = "kept" if median <= PROMISE_SECONDS else "BROKEN"
    lines.append(f"promise: median <= {PROMISE_SECONDS} s: {verdict} ({median:.3f} s)")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and say by the exit code whether the promise is kept."""
    num_starts = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if num_starts < 1:
        raise SystemExit(f"N must be at least 1, got {num_starts}")
    seconds = measure(num_starts)
    sys.stdout.write(report(seconds) + "\n")
    return 0 if statistics.median(seconds[HELP]) <= PROMISE_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
