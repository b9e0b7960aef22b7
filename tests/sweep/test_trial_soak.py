"""Thousands of empty trials: what the driver needs stays bounded."""

import os
import subprocess
import sys

import pytest
from running import ROOT


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_memory_files_and_time_of_a_decision_do_not_grow_with_the_trials() -> None:
    counts = os.environ.get("MCL_BENCH_SOAK_TRIALS", "10000 2000").split()
    script = str(ROOT / "benchmarks" / "soak_trials.py")
    done = subprocess.run([sys.executable, script, *counts], check=False)
    assert done.returncode == 0
