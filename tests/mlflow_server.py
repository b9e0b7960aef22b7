"""Real servers of MLflow, the tests' own: on loopback, ended with the tests."""

import os
import signal
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


class Served:
    """`mlflow …` at a port of its own, which stays the same when it is started again.

    Its page `answers` does when it is up; its log is in the new `folder`.
    """

    def __init__(
        self, words: Sequence[str], settings: Mapping[str, str], *, folder: Path, answers: str
    ) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.uri = f"http://{self.address}"
        self._words = [*words, "--host=127.0.0.1", f"--port={port}"]
        self._settings = settings
        self._folder = folder
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def begin(self, *more: str) -> None:
        """Start the server, without waiting until it answers."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # uvicorn
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *self._words, *more],
                env={
                    **os.environ,
                    **self._settings,
                    "PATH": path,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )

    def start(self) -> None:
        """Start the server; it answers."""
        self.begin()
        assert self._process is not None
        wait_for(f"{self.uri}/{self._answers}", self._process, self._folder / "log")

    def kill(self) -> None:
        """End the server with all it has started, at once."""
        family = self.family()
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)
        self._reap()

    def stop(self) -> None:
        """End the server as an operator does."""
        family = self.family()
        for process in family:
            process.terminate()
        for process in psutil.wait_procs(family, timeout=10)[1]:
            process.kill()
        self._reap()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold every process of the server: it takes connections, and answers nothing."""
        family = self.family()
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)

    def family(self) -> list[psutil.Process]:
        """The server's process and all that it has started; none if it has ended."""
        try:
            parent = psutil.Process(self._process.pid if self._process else -1)
            return [parent, *parent.children(recursive=True)]
        except (psutil.NoSuchProcess, ValueError):
            return []

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(10)


class MlflowServer(Served):
    """A server that keeps its record in a database and its artifacts in a folder."""

    def __init__(self, database: str, folder: Path) -> None:
        words = ["server", f"--artifacts-destination={folder}", "--workers=1"]
        settings = {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        super().__init__(words, settings, folder=folder, answers="health")

    def begin(self, *more: str) -> None:
        """Start the server, without waiting until it answers."""
        super().begin(f"--allowed-hosts={self.address}", *more)


@contextmanager
def served(server: Served) -> Iterator[Served]:
    """A server that answers, and has ended afterwards."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def running_mlflow(database: str, folder: Path) -> Iterator[str]:
    """The URI of a server that keeps its record in a database and its artifacts in a folder."""
    with served(MlflowServer(database, folder)) as server:
        yield server.uri


@contextmanager
def running_model(model: str, uri: str, folder: Path) -> Iterator[str]:
    """The address of a server of one registered model of the MLflow at `uri`."""
    words = ["models", "serve", f"--model-uri={model}", "--env-manager=local", "--workers=1"]
    settings = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    with served(Served(words, settings, folder=folder, answers="ping")) as server:
        yield server.uri


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


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
