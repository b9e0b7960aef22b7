"""Running the real command line, and reading what it left."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def command(*arguments: str) -> list[str]:
    """The command line of `mcl-bench` with these arguments, in this environment."""
    return [sys.executable, "-m", "mcl_bench.cli", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    """This environment, with the record kept under `home`."""
    return {**os.environ, "MCL_HOME": str(home), "PYTHONPATH": str(ROOT)}


def mcl_bench(
    *arguments: str, home: Path, code: int = 0, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run `mcl-bench` and hold it to its exit code."""
    done = subprocess.run(
        command(*arguments),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code == 0 or "Traceback" not in done.stderr
    return done


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of an append-only file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
