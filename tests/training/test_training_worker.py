"""The worker in this process, and in one that it ends: what it tells, writes and refuses."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import ROOT

from mcl_bench.records import TrialConfig
from mcl_bench.sweep import worker as worker_module
from mcl_bench.sweep.failures import kind_of
from mcl_bench.sweep.lease import end_lease, name_lease
from mcl_bench.sweep.trials import hand_over
from mcl_bench.sweep.watchdog import read_dump
from mcl_bench.sweep.worker import Leaving, Spoiled, TrialWorker


@pytest.fixture
def config(make_config: Any) -> TrialConfig:
    found: TrialConfig = make_config({"name": "ce"}, train={"epochs": 3})
    return found


def work(config: TrialConfig, checkpoint: Path | None = None) -> TrialWorker:
    name_lease(Path(config.folder).parent, config.lease)
    return TrialWorker(
        config={
            "trial": json.dumps(config.to_dict()),
            "stop": f"{config.folder}.stop",
            "full": f"{config.folder}.full",
            "checkpoint": None if checkpoint is None else str(checkpoint),
        }
    )


def log_of(config: TrialConfig) -> str:
    return (Path(config.folder).parent / "log.txt").read_text()


def test_a_worker_whose_trial_went_to_another_writes_no_more(
    config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "SAVE_SECONDS", 0.0)
    worker = work(config)
    assert json.loads(worker.step()["record"])["epoch"] == 1
    trial, own = Path(config.folder).parent, Path(config.folder) / "checkpoint.pt"
    written = own.stat().st_mtime_ns
    assert hand_over(trial, "another") == own
    said = log_of(config)
    late = worker.step()
    assert (late["outcome"], late["done"]) == ("fenced", True)
    assert "record" not in late
    assert own.stat().st_mtime_ns == written
    assert log_of(config) == said


def test_a_worker_whose_trial_has_ended_leaves_nothing_behind(config: TrialConfig) -> None:
    worker = work(config)
    worker.step()
    trial = Path(config.folder).parent
    end_lease(trial)
    before = {path: path.stat().st_size for path in trial.rglob("*") if path.is_file()}
    assert worker.step()["outcome"] == "fenced"
    after = {path: path.stat().st_size for path in trial.rglob("*") if path.is_file()}
    assert after == before


def test_an_actor_that_is_fenced_takes_the_next_trial(config: TrialConfig) -> None:
    worker = work(config)
    worker.step()
    name_lease(Path(config.folder).parent, "another")
    assert worker.step()["outcome"] == "fenced"
    name_lease(Path(config.folder).parent, config.lease)
    worker.reset_config(dict(worker._config))
    assert json.loads(worker.step()["record"])["epoch"] == 1
    worker.cleanup()


def test_a_lease_is_held_until_its_own_name_has_been_seen(config: TrialConfig) -> None:
    """A shared disk may show another node the name of an earlier lease for a while."""
    worker = work(config)
    name_lease(Path(config.folder).parent, "the one before")
    assert "record" in worker.step()
    name_lease(Path(config.folder).parent, config.lease)
    assert "record" in worker.step()
    name_lease(Path(config.folder).parent, "the next one")
    assert worker.step()["outcome"] == "fenced"


def failing(make_config: Any, what: str, **changes: Any) -> TrialConfig:
    loss = {"name": "own_losses:Failing", "options": {"what": what}}
    found: TrialConfig = make_config(loss, train={"epochs": 3}, **changes)
    return found


@pytest.mark.parametrize(
    ("what", "kind"),
    [("bug", "bug"), ("full disk", "disk"), ("not finite", "diverged"), ("config", "config")],
)
def test_what_a_trial_raises_is_told_with_its_kind_and_logged_whole(
    make_config: Any, what: str, kind: str
) -> None:
    config = failing(make_config, what)
    told = work(config).step()
    assert (told["outcome"], told["done"]) == ("failed", True)
    assert kind_of(told["cause"]) == kind
    assert "Traceback" in log_of(config)


def test_a_trial_out_of_memory_ends_its_process_with_its_last_result(make_config: Any) -> None:
    config = failing(make_config, "memory")
    with pytest.raises(Spoiled) as spoiled:
        work(config).step()
    told = json.loads(spoiled.value.args[0])
    assert told["lease"] == config.lease
    assert kind_of(told["cause"]) == "oom"
    assert "can't allocate memory" in log_of(config)


def test_a_worker_that_was_told_to_end_takes_no_further_trial(config: TrialConfig) -> None:
    worker = work(config)
    worker._leaving = True
    with pytest.raises(Leaving):
        worker.reset_config({})


def test_a_trial_that_hangs_where_python_cannot_run_is_ended_and_leaves_what_it_was_doing(
    make_config: Any, tmp_path: Path
) -> None:
    config = failing(make_config, "hang with the lock")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    name_lease(Path(config.folder).parent, config.lease)
    script = (
        "import json, sys\n"
        "from mcl_bench.sweep.worker import TrialWorker\n"
        "trial = open(sys.argv[1]).read()\n"
        "TrialWorker(config={'trial': trial, 'stop': '/nowhere/stop'}).step()\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "config.json")],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "MCL_BENCH_HANG_SECONDS": "15",
        },
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert time.monotonic() - began >= 15
    dump = read_dump(Path(config.folder))
    assert dump is not None
    assert "own_losses.py" in dump
    assert " in forward" in dump
