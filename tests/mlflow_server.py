"""Real servers of MLflow, the tests' own: on loopback, ended with the tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

SECONDS = 120.0
"""How long the server may take to answer."""


@contextmanager
def running_mlflow(database: str, folder: Path) -> Iterator[str]:
    """The URI of a server that keeps its record in a database and its artifacts in a folder."""
    port = free_port()
    words = ["server", f"--artifacts-destination={folder}", "--workers=1"]
    hosts = f"--allowed-hosts=127.0.0.1:{port}"
    settings = {"MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with served([*words, hosts], port, settings, folder=folder, answers="health") as address:
        yield address


@contextmanager
def running_model(model: str, uri: str, folder: Path) -> Iterator[str]:
    """The address of a server of one registered model of the MLflow at `uri`."""
    words = ["models", "serve", f"--model-uri={model}", "--env-manager=local", "--workers=1"]
    settings = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    with served(words, free_port(), settings, folder=folder, answers="ping") as address:
        yield address


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def served(
    words: Sequence[str], port: int, settings: Mapping[str, str], *, folder: Path, answers: str
) -> Iterator[str]:
    """The address of `mlflow …` once its page `answers` does; its log is in the new `folder`."""
    folder.mkdir()
    address = f"http://127.0.0.1:{port}"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # for uvicorn
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, "--host=127.0.0.1", f"--port={port}"],
            env={**os.environ, **settings, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            cwd=folder,
        ) as server,
    ):
        try:
            wait_for(f"{address}/{answers}", server, folder / "log")
            yield address
        finally:
            family = family_of(server.pid)
            for process in family:
                process.terminate()
            for process in psutil.wait_procs(family, timeout=10)[1]:
                process.kill()


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that it has started; none if it has ended."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(True)]
    except psutil.NoSuchProcess:
        return []


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
