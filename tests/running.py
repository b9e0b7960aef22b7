"""Running the real command line, and reading what it left.

A command runs in a process of its own. Most are forked from a server that has imported the
libraries already, which takes longer than many a command; `command` gives what starts one afresh.
"""

import atexit
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
LIBRARIES = [
    "torch",
    "torch._dynamo",
    "torchvision",
    "mlflow.store.tracking.sqlalchemy_store",
    "optuna.importance",
    "plotly",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.ensemble",
    "running",
]
"""What the server imports; not Ray, which takes settings from the environment at its import."""


def command(*arguments: str) -> list[str]:
    """The command line of `mcl-bench` with these arguments, in this environment."""
    return [sys.executable, "-m", "mcl_bench.cli", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    """This environment, with the record kept under `home`."""
    return {**os.environ, "MCL_HOME": str(home), "PYTHONPATH": str(ROOT)}


def mcl_bench(
    *arguments: str, home: Path, code: int = 0, timeout: float = 240, ray: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `mcl-bench` and hold it to its exit code; without `ray` the driver trains by itself."""
    words = command(*arguments)
    with TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _server().Process(
            target=_run,
            args=(["mcl-bench", *map(str, arguments)], os.getcwd(), environment(home), *said, ray),
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout, *(path.read_bytes() for path in said))
        done = subprocess.CompletedProcess(
            words, process.exitcode, *(path.read_text(encoding="utf-8") for path in said)
        )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code == 0 or "Traceback" not in done.stderr
    return done


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of an append-only file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def _run(
    words: list[str],
    folder: str,
    settings: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    ray: bool,
) -> None:
    """Be `python -m mcl_bench.cli …` in a process that has just been forked."""
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.clear()
    os.environ.update(settings)
    tempfile.tempdir = None  # what the server took for it
    os.chdir(folder)
    sys.path.insert(0, str(ROOT))
    sys.argv = words
    code: Any = 0
    try:
        from mcl_bench.cli import main

        if not ray:
            from without_ray import install

            install()
        main()
    except SystemExit as stop:
        code = 0 if stop.code is None else stop.code
    except BaseException:  # noqa: BLE001 - what an interpreter does at its end
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
