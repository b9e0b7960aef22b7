"""What starting costs: which modules are loaded, and for how long a person waits for the help."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "torchvision", "ray", "mlflow", "optuna", "pyarrow", "pandas"]
HELP = [sys.executable, "-c", "from mcl_bench.cli import main; main()", "--help"]
ROOT = Path(__file__).resolve().parents[1]


def loaded_heavy(code: str, *arguments: str) -> list[str]:
    """Which heavy packages a fresh Python has loaded after this code, read from its last line."""
    report = f"import json; print(); print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{report}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heavy: list[str] = json.loads(done.stdout.splitlines()[-1])
    return heavy


def test_the_guard_sees_a_heavy_package_that_is_loaded() -> None:
    assert loaded_heavy("import pyarrow") == ["pyarrow"]


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_heavy("import mcl_bench") == []


def test_the_loss_is_reachable_from_the_package_and_brings_torch_only_when_asked_for() -> None:
    assert loaded_heavy("from mcl_bench import MCLoss, mc_loss") == ["torch"]


@pytest.mark.parametrize("room", ["records", "spec", "files"])
def test_importing_a_room_without_tensors_loads_nothing_heavy(room: str) -> None:
    assert loaded_heavy(f"import mcl_bench.{room}") == []


def test_a_worker_loads_neither_training_nor_the_drivers_packages_when_it_starts() -> None:
    heavy = loaded_heavy("import mcl_bench.sweep.worker")
    assert set(heavy).isdisjoint({"torch", "torchvision", "mlflow", "optuna"})


def test_the_help_loads_nothing_heavy() -> None:
    code = """
from mcl_bench.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
"""
    assert loaded_heavy(code, "--help") == []


def test_the_help_names_the_verbs() -> None:
    done = subprocess.run(HELP, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    for verb in (
        "sweep",
        "plan",
        "train",
        "leaderboard",
        "status",
        "show",
        "schema",
        "data",
        "models",
    ):
        assert verb in done.stdout


def test_the_help_is_there_within_0_3_seconds() -> None:
    # In seconds of the processor, the best of five, so that a busy machine does not speak for the
    # program; `benchmarks/cli_start.py` takes the time on the wall.
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(HELP, cwd=ROOT, capture_output=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert 0 < min(seconds) <= 0.3
