"""A tracking server on PostgreSQL that is away for a minute, killed, or out of disk."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from in_process import Sweep
from mlflow_server import MlflowServer, served
from postgres import Postgres
from recorded_runs import RecordedRun, recorded_runs
from running import mcl_bench, read_lines

from mcl_bench.results.table import read_table

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.soak,
    pytest.mark.usefixtures("own_temporary_folder"),
]

OVERRIDES = ("search.pruner=none", "search.trials=6", "confirm.seeds=2", "train.epochs=3")
TRIALS = 2 * (6 + 2)

numbers = itertools.count(1)


@dataclass(kw_only=True)
class Drive:
    """A sweep on a server, with what happens before its third epoch."""

    file: Path
    home: Path
    server: MlflowServer

    def run(self, disturb: Callable[[], object] = lambda: None) -> dict[str, RecordedRun]:
        experiment, epochs = f"soak-{next(numbers)}", itertools.count(1)

        def come_to_epoch() -> bool:
            if next(epochs) == 3:
                disturb()
            return False

        words = (f"tracking.uri={self.server.uri}", f"tracking.experiment={experiment}")
        Sweep(
            file=self.file, home=self.home, overrides=(*OVERRIDES, *words), disturb=come_to_epoch
        ).drive()
        rows = read_table(self.home / "sweeps/tiny/results.parquet")
        assert len(rows) == len({row.run_id for row in rows} - {""}) == TRIALS
        assert not (self.home / "sweeps/tiny/spool.jsonl").exists()
        said = mcl_bench("doctor", "tiny", home=self.home).stdout
        assert said == "nothing is wrong with tiny\n"
        (first, *_) = read_lines(self.home / "sweeps/tiny/events.jsonl")
        return recorded_runs(self.server.uri, first["id"], experiment)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    path = tmp_path_factory.mktemp("soak") / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.database("tracking")


@pytest.fixture(scope="module")
def server(database: str, file: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(database, file.parent / "mlflow")
    with served(made):
        yield made


@pytest.fixture(scope="module")
def undisturbed(file: Path, server: MlflowServer) -> dict[str, RecordedRun]:
    return Drive(file=file, home=file.parent / "undisturbed", server=server).run()


@pytest.fixture
def drive(file: Path, tmp_path: Path, server: MlflowServer) -> Drive:
    return Drive(file=file, home=tmp_path / "runs", server=server)


def later(seconds: float, *calls: Callable[[], Any]) -> None:
    """Call these in order after so long, in a thread."""

    def call() -> None:
        time.sleep(seconds)  # the outage itself
        for one in calls:
            one()

    threading.Thread(target=call, daemon=True).start()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep takes seconds, and its end waits for a server that is away for a minute."""
    monkeypatch.setattr("mcl_bench.sweep.book.DRAIN_SECONDS", 120.0)


def test_a_server_stopped_for_a_minute(drive: Drive, undisturbed: dict[str, RecordedRun]) -> None:
    def stop() -> None:
        frozen = drive.server.frozen()
        frozen.__enter__()
        later(60, lambda: frozen.__exit__(None, None, None))

    assert drive.run(stop) == undisturbed


def test_a_database_stopped_behind_its_server(
    drive: Drive, undisturbed: dict[str, RecordedRun], postgres: Postgres, database: str
) -> None:
    def stop() -> None:
        frozen = postgres.frozen(database)
        frozen.__enter__()
        later(60, lambda: frozen.__exit__(None, None, None))

    assert drive.run(stop) == undisturbed


def test_a_server_and_its_database_killed(
    drive: Drive, undisturbed: dict[str, RecordedRun], postgres: Postgres
) -> None:
    def kill() -> None:
        drive.server.kill()
        postgres.stop()
        later(10, postgres.start, drive.server.begin)

    assert drive.run(kill) == undisturbed


def test_a_server_whose_disk_is_full(
    drive: Drive, undisturbed: dict[str, RecordedRun], file: Path, tmp_path: Path
) -> None:
    """The kernel's limit on a file's size is a disk on which no database grows."""
    path = tmp_path / "mlflow.db"
    full = MlflowServer(f"sqlite:///{path}", tmp_path / "mlflow")
    refused: list[bool] = []

    def limit(size: int) -> None:
        for process in full.family():
            process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))

    def free() -> None:
        refused.append("full" in log.read_text() or "disk I/O error" in log.read_text())
        limit(psutil.RLIM_INFINITY)

    log = tmp_path / "mlflow/log"

    def fill() -> None:
        limit(path.stat().st_size)
        later(20, free)

    with served(full):
        found = Drive(file=file, home=drive.home, server=full).run(fill)
    assert refused == [True], "the database did not come to its limit"
    assert found == undisturbed
