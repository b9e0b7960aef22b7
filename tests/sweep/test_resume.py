"""Stopping and going on: by hand, by SIGTERM, after a change, after damage."""

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image
from running import command, environment, mcl_bench, read_lines

LONG = ("train.epochs=60", "search.trials=2", "confirm.seeds=1", "search.pruner=none")


def events(home: Path) -> list[dict[str, Any]]:
    path = home / "sweeps/tiny/events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for_reports(home: Path, sweep: Any, *, count: int, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while sum(event["event"] == "report" for event in events(home)) < count:
        assert sweep.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def table(home: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist())


def test_ctrl_c_on_a_terminal_checkpoints_leaves_and_goes_on(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command("sweep", str(file), *LONG, "search.trials=1"),
        env=environment(home),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=take_terminal,  # noqa: PLW1509 - this process has no other thread yet
    ) as sweep:
        os.close(follower)
        os.set_blocking(leader, False)
        wait_for_reports(home, sweep, count=8)
        family = psutil.Process(sweep.pid).children(recursive=True)
        os.write(leader, b"\x03")
        began = time.monotonic()
        while sweep.poll() is None:
            assert time.monotonic() - began < 10, "an interrupted sweep leaves within 10 s"
            try:
                os.read(leader, 65536)
            except (BlockingIOError, OSError):
                time.sleep(0.05)
        assert sweep.returncode == 130
    os.close(leader)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    told_before = len(events(home))
    assert list((home / "sweeps/tiny/trials").rglob("checkpoint.pt"))
    assert events(home)[-1] == {**events(home)[-1], "event": "end", "state": "interrupted"}
    told = json.loads(mcl_bench("status", "--json", home=home).stdout)["sweeps"][0]
    assert told["state"] == "interrupted"

    done = mcl_bench("sweep", str(file), *LONG, "search.trials=1", home=home, timeout=280)
    assert "already reported" not in done.stderr
    rows = [row for row in table(home) if row["stage"] == "search"]
    assert all(len(row["epochs"]) == 60 for row in rows)
    told = [e for e in events(home) if e["event"] == "report" and e["stage"] == "search"]
    begun = {e["cell"] for e in events(home)[:told_before] if e["event"] == "report"}
    assert begun
    for cell in begun:
        later = [e for e in events(home)[told_before:] if e in told and e["cell"] == cell]
        first = next(e["epoch"] for e in later if e["seconds"])
        assert first > 1, "a trial goes on from its checkpoint"
    started = min(row["started"] for row in rows)
    assert started <= min(row["epochs"][0]["timestamp_ms"] / 1000 for row in rows)


def test_a_worker_that_has_sigterm_is_replaced_and_nothing_spins(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    with subprocess.Popen(
        command("sweep", str(file), *LONG, "resources.max_concurrent=1"),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as sweep:
        wait_for_reports(home, sweep, count=3)
        os.kill([e["pid"] for e in events(home) if e["event"] == "report"][-1], signal.SIGTERM)
        assert sweep.wait(timeout=120) == 0
    relaunched = [event for event in events(home) if event["event"] == "relaunch"]
    assert 1 <= len(relaunched) <= 3
    assert {row["state"] for row in table(home)} == {"complete"}


def test_sigterm_while_ray_starts_leaves_at_once_and_is_resumable(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    with subprocess.Popen(
        command("sweep", str(file), *LONG),
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as sweep:
        deadline = time.monotonic() + 100
        while not any(event["event"] == "start" for event in events(home)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sweep.terminate()
        _, said = sweep.communicate(timeout=60)
        assert sweep.returncode == 130, said
    assert said.endswith("interrupted; the same command goes on with it\n")
    told = json.loads(mcl_bench("status", "--json", home=home).stdout)["sweeps"][0]
    assert told["state"] == "interrupted"


def draw_folder(root: Path, *, seed: int, count: int = 8) -> None:
    generator = np.random.default_rng(seed)
    for name in ("a", "b", "c"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")


def test_a_finished_sweep_needs_no_images_and_a_grown_one_needs_its_own(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home, root = tmp_path / "tiny.yaml", tmp_path / "runs", tmp_path / "images"
    start = tiny_experiment.index("data:")
    end = tiny_experiment.index("model:")
    data = f"data: {{name: folder, root: {root}, resize: 32, crop: 32, validation: 0.3}}\n"
    file.write_text(tiny_experiment[:start] + data + tiny_experiment[end:])
    short = ("search.trials=1", "confirm.seeds=1", "train.epochs=1", "search.pruner=none")
    draw_folder(root, seed=0)
    mcl_bench("sweep", str(file), *short, home=home, ray=False)
    shutil.move(root, tmp_path / "away")
    told = json.loads(mcl_bench("sweep", str(file), *short, "--json", home=home, ray=False).stdout)
    assert told["state"] == "complete"
    mcl_bench(
        "sweep",
        str(file),
        *short,
        f"data.root={tmp_path / 'away'}",
        "--quiet",
        home=home,
        ray=False,
    )
    moved = mcl_bench("train", "tiny/folder-convnet-ce/search-0", "--json", home=home)
    assert json.loads(moved.stdout)["value"] == json.loads(moved.stdout)["recorded"]
    best = mcl_bench("best", "tiny", "--cell", "folder-convnet-ce", home=home)
    assert f"root: {tmp_path / 'away'}" in best.stdout
    draw_folder(root, seed=1)
    records = (home / "sweeps/tiny/records.jsonl").read_bytes()
    grown = (*short[1:], "search.trials=2")
    refused = mcl_bench("sweep", str(file), *grown, home=home, code=2, ray=False)
    assert "folder: digest" in refused.stderr
    assert (home / "sweeps/tiny/records.jsonl").read_bytes() == records


def test_a_start_that_failed_leaves_nothing_that_a_corrected_file_trips_over(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    mcl_bench("sweep", str(file), "tracking.uri=nonsense://x", home=home, code=2, ray=False)
    assert not (home / "sweeps/tiny").exists()
    refused = mcl_bench("sweep", str(file), "resources.cpus=512", home=home, code=2, ray=False)
    assert "a trial needs 512 CPU, the biggest node has" in refused.stderr
    assert not (home / "mlflow.db").exists(), "something was started"
    plan = json.loads(
        mcl_bench("plan", str(file), "resources.cpus=512", "--json", home=home).stdout
    )
    assert any("512 CPU" in warning for warning in plan["warnings"])
    mended = ("search.trials=1", "confirm.seeds=1", "train.epochs=1")
    mcl_bench("sweep", str(file), *mended, home=home, ray=False)


def test_damaged_records_are_told_with_file_and_line(tmp_path: Path, tiny_experiment: str) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    short = ("search.trials=1", "confirm.seeds=1", "train.epochs=1", "search.pruner=none")
    mcl_bench("sweep", str(file), *short, home=home, ray=False)
    looks = home / "sweeps/tiny/looks.jsonl"
    whole = looks.read_text()
    looks.write_text("{broken\n" + whole)
    assert (
        f"{looks}:1: damaged" in mcl_bench("sweep", str(file), home=home, code=3, ray=False).stderr
    )
    looks.write_text(whole.partition("\n")[2])
    for call in ((), ("--new",)):
        told = mcl_bench("sweep", str(file), *short, *call, home=home, code=3, ray=False).stderr
        assert f"{looks}:1: the ledger of looks at test has been tampered with: line 1 was" in told
    board = json.loads(mcl_bench("leaderboard", "--json", home=home).stdout)
    assert f"line 1 of {looks} was written after" in board["warnings"][0]
    looks.write_text(whole)
    study = home / "sweeps/tiny/study.db"
    study.write_bytes(b"not a database" * 100)
    assert (
        "study.db is damaged" in mcl_bench("sweep", str(file), home=home, code=3, ray=False).stderr
    )
    study.unlink()
    records = (home / "sweeps/tiny/records.jsonl").read_bytes()
    for change in ((), ("data={name: folder, root: nowhere, options: null}",)):
        gone = mcl_bench("sweep", str(file), *short, *change, home=home, code=3, ray=False)
        assert "the Optuna storage of this sweep's trials is gone" in gone.stderr
    assert (home / "sweeps/tiny/records.jsonl").read_bytes() == records
    assert read_lines(looks)


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path, tiny_experiment: str) -> None:
    file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(tiny_experiment)
    done = mcl_bench("sweep", str(file), "--address", "127.0.0.1:1", home=home, code=2)
    assert "no Ray cluster answers at 127.0.0.1:1" in done.stderr
