"""What a result was made with: packages, the working folder's git commit, this machine."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

TOOL_SECONDS = 10
"""How long git and nvidia-smi may take to answer; a tool that hangs must not hold a sweep."""


def environment(folder: Path) -> dict[str, Any]:
    """Packages by name, the git commit that `folder` is at (None outside git), the hardware.

    The hardware is that of this machine, the driver's.
    """
    return {
        "python": platform.python_version(),
        "packages": _packages(),
        "git": _git(folder),
        "hardware": _hardware(),
    }


def _packages() -> dict[str, str]:
    found = {
        name: distribution.version
        for distribution in importlib.metadata.distributions()
        if (name := distribution.name) is not None
    }
    return dict(sorted(found.items(), key=lambda entry: entry[0].lower()))


def _git(folder: Path) -> dict[str, Any] | None:
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_output("git", "-C", str(folder), "status", "-s"))}


def _hardware() -> dict[str, Any]:
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [] if gpus is None else gpus.splitlines(),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output(*command: str) -> str | None:
    """What a tool prints; None where there is no such tool, or it has nothing to say here."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
