"""Running one measurement in a process and a folder of its own, and the words of a report."""

import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rig.work import Work

BENCHMARKS = Path(__file__).parent.parent
LIMIT_SECONDS = 600
PACKAGES = ("ray", "optuna", "mlflow", "syne-tune")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run left: unix times, seconds, and how many trials each process ran."""

    wall: float
    first: float
    ends: Sequence[float]
    busy: float
    pids: Mapping[str, int]
    tracker_seconds: Mapping[str, float] = field(default_factory=dict)
    tracker_cpu_seconds: Mapping[str, float] = field(default_factory=dict)

    def turnover(self, skipped: int) -> float:
        """Seconds per trial between two ends, without the first `skipped` trials."""
        ends = sorted(self.ends)
        return (ends[-1] - ends[skipped - 1]) / (len(ends) - skipped)

    def occupancy(self, slots: int) -> float:
        """The share of the slots' time, from the first launch to the last end, in training."""
        return self.busy / slots / (max(self.ends) - self.first)

    @property
    def spread(self) -> str:
        """How many trials each process ran: `52+49`, or how many processes ran one each."""
        counts = sorted(self.pids.values(), reverse=True)
        if len(counts) > 4:
            return f"{len(counts)} processes, {counts[0]} at most"
        return "+".join(map(str, counts))


def measure(module: str, work: Work, **flags: bool) -> Measured:
    """What one run of that work by `python -m MODULE` left."""
    return Measured(**run(module, asdict(work) | flags))


def run(module: str, asked: Mapping[str, Any], *, limit: float = LIMIT_SECONDS) -> Any:
    """Run `python -m MODULE` in a fresh process and a temporary folder; both are gone afterwards.

    Returns what its last line says. A Ray that is started on the way listens with a token of its
    own. After `limit` seconds it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="mcl-", ignore_cleanup_errors=True) as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "RAY_TMPDIR": folder,
            "TMPDIR": folder,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(asked)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode:
        raise SystemExit(f"{module} {asked} ended with {process.returncode}:\n{err[-3000:]}")
    return json.loads(out.splitlines()[-1])


def conditions() -> str:
    """The machine and the versions, in one line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def verdict(promise: str, found: str, *, kept: bool) -> str:
    """The line that says whether a promise is kept."""
    return f"promise: {promise}: {'kept' if kept else 'BROKEN'} ({found})"
