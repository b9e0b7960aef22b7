"""A process that reads: `python -m rig.reading NAME TREE FOLDER THREADS`, told what to do by line.

It says `opened` when it is ready to be measured empty, and after each line `read` it reads one
epoch and prints what it found as JSON. Beside it `Reader`, the other end of that talk.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

BENCHMARKS = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Read:
    """One epoch: images, seconds, and the mean and the mean square of all that came."""

    images: int
    seconds: float
    mean: float
    square: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


class Reader:
    """A reading process of its own, which is ended on leaving."""

    def __init__(self, name: str, tree: Path, folder: Path, *, threads: int = 2) -> None:
        self._name = name
        home = folder.parent / "home"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)]),
            "PYTHONWARNINGS": "ignore",
            "HF_HOME": str(home / "hf"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "DO_NOT_TRACK": "1",
            "TMPDIR": str(home),
        }
        home.mkdir(exist_ok=True)
        self._log = (folder.parent / f"{folder.name}.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rig.reading", name, str(tree), str(folder), str(threads)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._line("opened")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def ask(self) -> None:
        """Let it read an epoch."""
        assert self._process.stdin is not None
        self._process.stdin.write("read\n")
        self._process.stdin.flush()

    def answer(self) -> Read:
        """What it found, when it has."""
        return Read(**json.loads(self._line("{")))

    def read(self) -> Read:
        """One epoch."""
        self.ask()
        return self.answer()

    def held_bytes(self) -> int:
        """The process's proportional set size: what it shares counts in parts."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024

    def _line(self, start: str) -> str:
        """The next line that begins so; others print too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        self._log.seek(0)
        raise SystemExit(f"{self._name} ended early:\n{self._log.read()[-3000:]}")


def main() -> None:
    """Open, then read an epoch for each line."""
    import torch

    from rig.pairs import keep_freed_memory
    from rig.readers import READERS

    keep_freed_memory()
    name, tree, folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    epoch = None
    _say("opened")
    for number, _ in enumerate(sys.stdin):
        if epoch is None:
            epoch = READERS[name](Path(tree), Path(folder))
        images, total, squares = 0, 0.0, 0.0
        began = time.perf_counter()
        for batch in epoch(number):
            images += len(batch)
            if number == 0:
                total += batch.double().sum().item()
                squares += batch.double().square().sum().item()
        seconds = time.perf_counter() - began
        assert batch.dtype == torch.float32, batch.dtype
        assert batch.shape[1:] == (3, 224, 224), batch.shape
        values = images * batch[0].numel()
        found = {"mean": total / values, "square": squares / values}
        _say(json.dumps({"images": images, "seconds": seconds, **found}))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
