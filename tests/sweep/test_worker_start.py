"""What a worker's start does, so that no trial's time holds it."""

import subprocess
import sys

from running import ROOT

CODE = """
import sys
from mcl_bench.sweep.worker import TrialWorker
assert "torch" not in sys.modules, "a worker that is never used loads torch"
worker = TrialWorker.__new__(TrialWorker)
worker.setup({})
loaded = set(sys.modules)
assert "mcl_bench.training.trial" in loaded and "torch" in loaded
assert not {"mlflow", "optuna"} & loaded
worker.reset_config({"another": "trial"})
assert set(sys.modules) == loaded, "the second trial of a worker loads something"
"""


def test_torch_is_loaded_before_the_first_trial_and_never_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
