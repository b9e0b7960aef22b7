"""The kill loop: real SIGKILLs of whatever runs, at random moments, `MCL_BENCH_SOAK_KILLS` times.

Beside it `MCL_BENCH_SOAK_SEED` decides when and whom.
"""

import os
import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from running import mcl_bench
from test_kills import EXPECTED, OVERRIDES, kill_tree, sweeping

VICTIMS = ("everything", "driver", "worker", "raylet", "agent")
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own helpers on a node, without which its raylet leaves."""


def kill(victim: str, sweep: subprocess.Popen[str]) -> bool:
    """SIGKILL the victim; False if there is none of it yet."""
    if victim == "everything":
        kill_tree(sweep.pid)
        return True
    if victim == "driver":
        sweep.kill()
        return True
    family = psutil.Process(sweep.pid).children(recursive=True)
    found = [process for process in family if is_victim(process, victim)]
    for process in found[:1]:
        process.kill()
    return bool(found)


def is_victim(process: psutil.Process, victim: str) -> bool:
    """Whether a process of Ray's is of this kind; one that has just ended is of none."""
    try:
        name = process.name()
    except psutil.NoSuchProcess:
        return False
    if victim == "worker":
        return name.startswith("ray::") and not name.startswith(AGENTS)
    return name.startswith(AGENTS if victim == "agent" else victim)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_random_kills_leave_the_undisturbed_result(tmp_path: Path, tiny_experiment: str) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)
    mcl_bench("sweep", str(file), *OVERRIDES, home=tmp_path / "undisturbed")
    expected = EXPECTED.values(tmp_path / "undisturbed")
    seed = int(os.environ.get("MCL_BENCH_SOAK_SEED", "0"))
    wanted = int(os.environ.get("MCL_BENCH_SOAK_KILLS", "200"))
    chance = random.Random(seed)
    kills = dict.fromkeys(VICTIMS, 0)
    sweeps = 0
    while sum(kills.values()) < wanted:
        home = tmp_path / f"sweep{sweeps}" / "runs"
        home.parent.mkdir()
        whole = False
        while not whole:
            with sweeping(file, home) as sweep:
                while sweep.poll() is None:
                    killed_at = time.monotonic() + chance.uniform(1, 20)
                    while sweep.poll() is None and time.monotonic() < killed_at:
                        time.sleep(0.05)
                    victim = chance.choice(VICTIMS)
                    if sweep.poll() is None and kill(victim, sweep):
                        kills[victim] += 1
                        if victim != "worker":
                            sweep.wait(timeout=60)
                whole = sweep.returncode == 0
                said = (home.parent / "out.txt").read_text()
                assert "Traceback" not in said, said
        EXPECTED.check(home)
        assert EXPECTED.values(home) == expected, f"sweep {sweeps}, seed {seed}"
        sweeps += 1
        print(f"{kills}, {sweeps} sweeps whole", flush=True)  # noqa: T201 - the soak's progress
