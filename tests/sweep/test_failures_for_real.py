"""Failures for real: out of memory, hung, killed for memory, alike; then mended."""

import os
import subprocess
from pathlib import Path

import pytest
import running
from running import ROOT, command, read_lines

TEXT = """\
version: 1
name: tiny
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms: {ARMS}
train: {epochs: 2, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: TRIALS
  sampler: random
  pruner: none
  space: {train.optimizer.lr: {log: [0.001, 0.05]}}
confirm: {seeds: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def failing(name: str, **until: Path) -> str:
    options = ", ".join([f"what: {name}", *(f"{key}: {path}" for key, path in until.items())])
    return f"{{loss: {{name: 'own_losses:Failing', options: {{{options}}}}}}}"


def write(folder: Path, *, trials: int = 1, **arms: str) -> Path:
    text = ", ".join(f"{arm}: {words}" for arm, words in arms.items())
    file = folder / "tiny.yaml"
    file.write_text(TEXT.replace("ARMS", text).replace("TRIALS", str(trials)))
    return file


def mcl_bench(folder: Path, *arguments: object, code: int = 0, **extra: str) -> str:
    """What the command says; own_losses is found by the driver and by the workers."""
    done = subprocess.run(
        command(*map(str, arguments)),
        env={
            **os.environ,
            "MCL_HOME": str(folder / "runs"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            **extra,
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def told(folder: Path, event: str) -> list[str]:
    lines = read_lines(folder / "runs/sweeps/tiny/events.jsonl")
    return [
        f"{one['cell']}/{one['stage']}-{one['trial']} {one.get('cause')}"
        for one in lines
        if one["event"] == event and one.get("cause")
    ]


@pytest.mark.soak
def test_what_ran_out_of_memory_or_hung_once_is_launched_again_and_the_sweep_is_whole(
    folder: Path,
) -> None:
    file = write(
        folder,
        ce="{loss: {name: ce}}",
        memory=failing("memory", once=folder / "memory"),
        hang=failing("hang", once=folder / "hang"),
    )
    said = mcl_bench(folder, "sweep", file, MCL_BENCH_HANG_SECONDS="30")
    again = told(folder, "relaunch")
    (oom,) = [one for one in again if one.startswith("parts-convnet-memory/search-0 oom: ")]
    assert "can't allocate memory" in oom
    assert "parts-convnet-hang/search-0 hung: no next batch for 30 s" in again
    assert "again, alone, from its checkpoint (oom: " in said
    log = folder / "runs/sweeps/tiny/trials/parts-convnet-hang/search-0/log.txt"
    assert "own_losses.py" in log.read_text()
    assert told(folder, "tell") == [], "none of them has failed"


@pytest.mark.soak
def test_a_worker_that_the_memory_monitor_kills_is_out_of_memory(folder: Path) -> None:
    file = write(folder, ce="{loss: {name: ce}}")
    said = mcl_bench(
        folder, "sweep", file, code=1, RAY_memory_usage_threshold="0.01"
    )  # every use of memory is too much for the monitor of this Ray
    assert "failed: parts-convnet-ce/search-0: oom: " in said
    assert len(told(folder, "relaunch")) == 1
    log = folder / "runs/sweeps/tiny/trials/parts-convnet-ce/search-0/log.txt"
    assert "running low on memory" in log.read_text()


def test_five_failures_alike_stop_the_sweep_and_once_mended_retry_makes_it_whole(
    folder: Path,
) -> None:
    mended = folder / "mended"
    file = write(folder, trials=7, bad=failing("bug", until=mended))
    home = folder / "runs"
    done = running.mcl_bench("sweep", str(file), home=home, code=1, ray=False)
    said = done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert said.count("bug: KeyError: 'bug'") >= 5
    assert "mcl-bench: 5 trials in a row failed alike, so the sweep has stopped: bug: " in said
    lines = read_lines(folder / "runs/sweeps/tiny/events.jsonl")
    assert lines[-1]["state"] == "failed"
    assert sum(one["event"] == "ask" for one in lines) <= 7
    mended.touch()
    retried = running.mcl_bench("retry", "tiny", "--cause", "bug", home=home)
    assert "search will run again" in retried.stdout + retried.stderr
    running.mcl_bench("sweep", str(home / "sweeps/tiny/experiment.yaml"), home=home, ray=False)
    records = {
        (one["stage"], one["trial"]): one
        for one in read_lines(folder / "runs/sweeps/tiny/records.jsonl")
    }
    states = [one["state"] for one in records.values()]
    assert states.count("complete") == 7 + 1
    assert states.count("retried") >= 5
    seconds = {one["retry_of"] for one in records.values()} - {None}
    assert seconds == {number for (_, number), one in records.items() if one["state"] == "retried"}
