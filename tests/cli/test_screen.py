"""The live screen, read back through a real terminal: a pseudo-terminal and its emulator."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte
import pytest
from running import command, environment

COLUMNS, LINES = 80, 24
ALTERNATE = 1049 << 5  # pyte keeps private modes shifted
CELLS = ("parts-convnet-ce", "parts-convnet-mc")
TRIALS, SEEDS = 4, 2
TOTAL = len(CELLS) * (TRIALS + SEEDS)
SECONDS = 240
TRIALS_DONE = r" (\d+) of 12 trials"


KNOWN = re.compile(
    r"""(?x)
    | sweep\ tiny (:\ [\w :]+)? \ +\d+:\d\d\ so\ far (,\ time\ left\ .+)?
    | [━╸╺]+ \ +\d+\ of\ 12\ trials
    | [━╸╺]+ \ +packing\ parts:\ \d+\ of\ \d+\ images
    | cell \ +done\ +running\ +pruned\ +failed\ +(diverged\ +)?highest\ val/top1
    | parts-convnet-(ce|mc) \ +\d/6 (\ +\d)+ \ +(–|0\.\d{4}\ \(search-\d\))
    | now\ running
    | parts-convnet-(ce|mc)/(search|confirm)-\d \ +[━╸╺]+ \ +epoch\ \d/3 (\ +0\.\d{4})?
    | Ctrl-C\ ends\ it\ .+
    """
)
"""Every line that a frame of the tiny sweep may have; all else is foreign."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A sweep as it was seen: its frames, what was left on the screen, its exit, its record."""

    frames: list[list[str]]
    left: list[str]
    code: int
    home: Path


def numbers(pattern: str, frame: Sequence[str]) -> list[int]:
    """The numbers that a pattern finds in the lines of a frame."""
    return [int(number) for line in frame for number in re.findall(pattern, line)]


class Page(pyte.Screen):
    """A screen with the alternate page that real terminals have and pyte lacks."""

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        super().set_mode(*modes, **kwargs)
        if 1049 in modes and kwargs.get("private"):
            self._main = (self.buffer.copy(), self.cursor.x, self.cursor.y)
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        super().reset_mode(*modes, **kwargs)
        if 1049 in modes and kwargs.get("private"):
            self.erase_in_display(2)
            lines, self.cursor.x, self.cursor.y = self._main
            self.buffer.update(lines)
            self.dirty.update(range(self.lines))


class Terminal:
    """A program on a pseudo-terminal of 80×24, and what its screen shows."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.resize(COLUMNS, LINES)
        self.page = Page(COLUMNS, LINES)
        self._stream = pyte.Stream(self.page)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.raw = ""
        self.process = subprocess.Popen(
            arguments, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds: float) -> bool:
        """Take in what is written until nothing more comes; False when the program has ended."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux tells the end of a pseudo-terminal so
                return False
            text = self._decoder.decode(data)
            self.raw += text
            self._stream.feed(text)
            seconds = 0.02  # a frame is written at once, and read in pieces
        return True

    def await_line(self, wanted: str) -> list[str]:
        """The lines on the screen as soon as this text is among them."""
        until = time.monotonic() + 30
        while not any(wanted in line for line in self.shown()):
            assert time.monotonic() < until, f"{wanted!r} is not in {self.shown()}"
            self.read(0.05)
        return self.shown()

    @property
    def on_own_page(self) -> bool:
        """Whether the program shows a page of its own, and has drawn on it."""
        return ALTERNATE in self.page.mode and self.shown() != []

    def shown(self) -> list[str]:
        """The lines on the screen, blank ones at its end left out."""
        lines = [line.rstrip() for line in self.page.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def close(self) -> int:
        try:
            return self.process.wait(timeout=30)
        finally:
            os.close(self._master)


@contextmanager
def terminal(arguments: Sequence[str], home: Path, **words: str) -> Iterator[Terminal]:
    env = {**environment(home), "TERM": "xterm-256color", **words}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        if name not in words:
            env.pop(name, None)
    opened = Terminal(arguments, env)
    try:
        yield opened
    finally:
        if opened.process.poll() is None:
            opened.process.terminate()
        opened.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Watched:
    folder = tmp_path_factory.mktemp("screen")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    frames: list[list[str]] = []
    with terminal(command("sweep", str(folder / "tiny.yaml")), folder / "runs") as opened:
        until = time.monotonic() + SECONDS
        while opened.read(0.1):
            assert time.monotonic() < until, opened.shown()
            if opened.on_own_page and opened.shown() not in frames[-1:]:
                frames.append(opened.shown())
        code = opened.process.wait(timeout=30)
        return Watched(frames=frames, left=opened.shown(), code=code, home=folder / "runs")


def test_there_is_exactly_one_frame_of_known_lines_on_the_screen_at_any_time(
    watched: Watched,
) -> None:
    assert len(watched.frames) > 5
    for frame in watched.frames:
        foreign = [line for line in frame if not KNOWN.fullmatch(line)]
        assert not foreign, "\n".join(frame)
        # The images are packed before the first trial, too fast to be seen on most machines.
        counted = r".* of (12 trials|\d+ images)"
        for once in (r"sweep tiny", counted, r"cell +done", *CELLS):
            found = [line for line in frame if re.match(rf"{once}\b(?!/)", line)]
            assert len(found) == 1, "\n".join(frame)


def test_the_counts_rise_to_the_total_and_never_fall(watched: Watched) -> None:
    done = [number for frame in watched.frames for number in numbers(TRIALS_DONE, frame)]
    assert len(done) > 5
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, TOTAL)
    assert len(set(done)) > 3
    for cell in CELLS:
        of_cell = [numbers(rf"{cell} +(\d+)/6 ", frame)[0] for frame in watched.frames]
        assert of_cell == sorted(of_cell)
        assert of_cell[-1] == TRIALS + SEEDS


def test_what_runs_now_is_shown_with_its_epochs_and_never_more_than_there_are_slots(
    watched: Watched,
) -> None:
    trial = r"(?:parts-convnet-\w\w)/(?:search|confirm)-\d +\S+ +epoch (\d)/3"
    running = [numbers(trial, frame) for frame in watched.frames]
    assert max(map(len, running)) in range(1, (os.cpu_count() or 1) + 1)
    assert max(epoch for epochs in running for epoch in epochs) > 0
    for frame, epochs in zip(watched.frames, running, strict=True):
        assert sum(numbers(r"parts-convnet-\w\w +\d/6 +(\d)", frame)) == len(epochs)


def test_the_time_left_is_told_once_a_trial_has_ended(watched: Watched) -> None:
    running = [frame for frame in watched.frames if "Ctrl-C" in frame[-1]]
    for frame in running:
        known = "time left about" in frame[0]
        assert known == (numbers(TRIALS_DONE, frame)[0] > 0), "\n".join(frame)


def test_after_it_the_leaderboard_stands_alone_below_one_line(watched: Watched) -> None:
    assert watched.code == 0
    ends = [line.startswith("sweep tiny: complete, 12 of 12 trials (") for line in watched.left]
    assert sum(ends) == 1
    before, left = watched.left[: ends.index(True)], watched.left[ends.index(True) :]
    assert not before or before[0].startswith("note: MLflow has not taken"), "a busy machine's"
    told = subprocess.run(
        command("leaderboard", "tiny"),
        env=environment(watched.home),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    table = [line.rstrip() for line in told.stdout.splitlines()]
    page = f"page: {watched.home}/sweeps/tiny/report.html"
    assert left[1 : len(table) + 2] == ["", *table]
    assert "".join(left[len(table) + 2 :]) == page
    assert max(map(len, table)) <= COLUMNS


def test_a_finished_sweep_shows_no_screen(watched: Watched) -> None:
    arguments = command("sweep", str(watched.home.parent / "tiny.yaml"))
    with terminal(arguments, watched.home) as opened:
        while opened.read(0.1):
            assert not opened.on_own_page
        assert opened.shown()[0] == "sweep tiny: top-1 on test"


# A sweep of many cells whose events are told one by one, when the test has made the next file.
PLAY = """
import os, sys, time
from pathlib import Path
from mcl_bench.cli.progress import shown
from mcl_bench.cli.tally import Goal, Tally

folder, num_cells, quiet = Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
cells = [f"cub200-resnet50_adapter_of_ours-arm{k:02d}" for k in range(num_cells)]
goals = [Goal(cell=cell, trials=3, seeds=2, epochs=9) for cell in cells]

def wait(name):
    while not (folder / name).exists():
        time.sleep(0.02)

with shown(Tally("play", goals, metric="val/top1"), err=False, quiet=quiet, verbose=False) as hear:
    hear.packing("cub200", 40, 100)
    wait("packed")
    hear({"event": "start"})
    for cell in cells[-2:]:
        name = {"cell": cell, "stage": "search", "trial": 0}
        hear({"event": "launch", **name})
        hear({"event": "report", "epoch": 4, "value": 0.5, **name})
    print("foreign: printed")
    os.write(2, b"foreign: written to the descriptor\\n" * 3)
    os.system("echo foreign: of a child")
    wait("seen")
    hear({"event": "tell", "state": "complete", "value": 0.75, "cause": None, **name})
    hear({"event": "end", "state": "interrupted"})
print("the end")
"""


def play(folder: Path, num_cells: int, *more: str, **words: str) -> Any:
    return terminal(
        [sys.executable, "-c", PLAY, str(folder), str(num_cells), *more], folder, **words
    )


def test_what_others_write_is_kept_off_the_screen_and_shown_after_it(tmp_path: Path) -> None:
    with play(tmp_path, 2) as opened:
        opened.await_line("packing cub200: 40 of 100 images")
        (tmp_path / "packed").touch()
        for _ in range(3):  # frames drawn after the foreign words
            opened.raw = ""
            opened.await_line("epoch 4/9")
            while "epoch 4/9" not in opened.raw:
                opened.read(0.1)
        assert "foreign" not in "\n".join(opened.shown())
        (tmp_path / "seen").touch()
        while opened.read(0.1):
            pass
        left = opened.shown()
        assert [line for line in left if line.startswith("foreign")] == [
            "foreign: printed",
            *["foreign: written to the descriptor"] * 3,
            "foreign: of a child",
        ]
        assert left[-3].startswith("sweep play: interrupted, 1 of 10 trials (1 complete), 0:")
        assert left[-1] == "the end"


def test_the_frame_fits_after_the_terminal_has_got_another_size(tmp_path: Path) -> None:
    (tmp_path / "packed").touch()
    with play(tmp_path, 9) as opened:
        lines = opened.await_line("epoch 4/9")
        assert len(lines) <= LINES
        assert "now running" in lines
        for columns, height in ((60, 15), (132, 40)):
            opened.page.resize(height, columns)
            opened.page.erase_in_display(2)
            opened.resize(columns, height)
            opened.await_line("Ctrl-C")
            opened.read(0.6)
            lines = opened.shown()
            assert sum("sweep play" in line for line in lines) == 1
            assert sum("epoch 4/9" in line for line in lines) == 2, "those that run come first"
            assert ("… and " in "\n".join(lines)) == (height < 20)
        (tmp_path / "seen").touch()
        while opened.read(0.1):
            pass


@pytest.mark.parametrize("words", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_plain_terminal_gets_lines_instead(tmp_path: Path, words: dict[str, str]) -> None:
    (tmp_path / "packed").touch()
    (tmp_path / "seen").touch()
    with play(tmp_path, 2, **words) as opened:
        while opened.read(0.1):
            assert not opened.on_own_page
        assert "\x1b" not in opened.raw
        assert re.search(r"0:00  \[1/10\]  \S+arm01/search-0  complete 0\.7500", opened.raw)


def test_quiet_shows_nothing_of_the_progress(tmp_path: Path) -> None:
    (tmp_path / "packed").touch()
    (tmp_path / "seen").touch()
    with play(tmp_path, 2, "quiet") as opened:
        while opened.read(0.1):
            pass
        own = [line for line in opened.shown() if not line.startswith("foreign")]
        assert own == ["the end"]


def test_the_help_does_not_load_what_draws_the_screen() -> None:
    code = "import sys, mcl_bench.cli; print('rich.live' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
