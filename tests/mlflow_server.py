"""A real `mlflow server` of the tests' own: on loopback, for its own host only, ended with them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

SECONDS = 120.0
"""How long the server may take to answer."""


@contextmanager
def running_mlflow(database: str, folder: Path) -> Iterator[str]:
    """The URI of a server that keeps its record in a database and its artifacts in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    words = ["--host=127.0.0.1", f"--port={port}", f"--allowed-hosts={address}", "--workers=1"]
    settings = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    folder.mkdir()
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words, f"--artifacts-destination={folder}"],
            env=settings,
            stdout=log,
            stderr=log,
            cwd=folder,
        ) as server,
    ):
        try:
            wait_for(f"http://{address}/health", server, folder / "log")
            yield f"http://{address}"
        finally:
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(True)]
            for process in family:
                process.terminate()
            for process in psutil.wait_procs(family, timeout=10)[1]:
                process.kill()


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
