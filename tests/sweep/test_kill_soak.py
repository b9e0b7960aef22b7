"""The kill loop: real SIGKILLs at random moments, for as long as `MCL_BENCH_SOAK_SECONDS` says."""

import os
import random
import time
from pathlib import Path

import pytest
from running import mcl_bench
from test_kills import EXPECTED, OVERRIDES, kill_tree, sweeping


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_random_kills_leave_the_undisturbed_result(tmp_path: Path, tiny_experiment: str) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    mcl_bench("sweep", str(file), *OVERRIDES, home=tmp_path / "undisturbed")
    expected = EXPECTED.values(tmp_path / "undisturbed")
    seed = int(os.environ.get("MCL_BENCH_SOAK_SEED", "0"))
    chance = random.Random(seed)
    deadline = time.monotonic() + float(os.environ.get("MCL_BENCH_SOAK_SECONDS", "3600"))
    kills = sweeps = 0
    while time.monotonic() < deadline or sweeps == 0:
        home = tmp_path / f"sweep{sweeps}" / "runs"
        home.parent.mkdir()
        ended = False
        while not ended:
            with sweeping(file, home) as sweep:
                killed_at = time.monotonic() + chance.uniform(1, 20)
                while sweep.poll() is None and time.monotonic() < killed_at:
                    time.sleep(0.05)
                ended = sweep.poll() is not None
                if ended:
                    assert sweep.returncode == 0, (home.parent / "out.txt").read_text()
                else:
                    kills += 1
                    kill_tree(sweep.pid)
        EXPECTED.check(home)
        assert EXPECTED.values(home) == expected, f"sweep {sweeps}, seed {seed}"
        sweeps += 1
        print(f"{kills} kills, {sweeps} sweeps whole")  # noqa: T201 - the soak's own progress
