"""Where studies live, on a real SQLite file and a real PostgreSQL: locks, faults, and secrets."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from postgres import PASSWORD, Postgres, rows, sessions, wait_until

from mcl_bench.records import DataError, RunError, UserError
from mcl_bench.spec import FloatRange, SearchSpec
from mcl_bench.sweep.postgres import PostgresStorage
from mcl_bench.sweep.storage import SqliteStorage, Storage, storage_at
from mcl_bench.sweep.studies import Studies

ID, OTHER_ID = "deadbeef", "0000c0de"


def studies_of(storage: Storage, *, sweep_id: str = ID) -> Studies:
    cell: Any = SimpleNamespace(
        id="c",
        space={"train.optimizer.lr": FloatRange(low=0.1, high=1.0)},
        enqueue=(),
        most_epochs=1,
    )
    spec = SearchSpec.model_validate({"trials": 9, "sampler": "random", "pruner": {"name": "none"}})
    studies = Studies(
        storage.open(), sweep="s", sweep_id=sweep_id, cells={"c": cell}, search=spec, seed=0
    )
    studies.open()
    return studies


def run_one(studies: Studies, value: float) -> int:
    """Run one trial to its end; returns its number."""
    trial = studies.ask("c")
    studies.report("c", trial.number, epoch=1, value=value)
    studies.tell("c", "search", trial.number, outcome="complete", value=value)
    return trial.number


@pytest.fixture
def hold() -> Iterator[Callable[..., PostgresStorage]]:
    """Holds storages, each let go at the test's end."""
    held: list[PostgresStorage] = []

    def take(url: str, *, sweep_id: str = ID, seconds: float = 30.0) -> PostgresStorage:
        storage = PostgresStorage(url, sweep="s", sweep_id=sweep_id, seconds=seconds)
        held.append(storage)
        storage.hold()
        return storage

    yield take
    for storage in held:
        storage.close()


Hold = Callable[..., PostgresStorage]


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_studies_live_in_postgresql_under_either_form_of_its_url(
    postgres: Postgres, scheme: str
) -> None:
    url = postgres.database().replace("postgresql://", f"{scheme}://")
    storage = storage_at(url, sweep="s", sweep_id=ID)
    storage.hold()
    assert storage.count_trials() == 0
    studies = studies_of(storage)
    assert [run_one(studies, value) for value in (0.25, 0.5)] == [0, 1]
    storage.close()
    again = storage_at(url, sweep="s", sweep_id=ID)
    again.hold()
    assert again.count_trials() == 2
    assert [trial.value for trial in studies_of(again).trials("c", "search")] == [0.25, 0.5]
    again.close()


def test_trials_of_other_sweeps_are_not_counted(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    run_one(studies_of(hold(url)), 0.5)
    other = hold(url, sweep_id=OTHER_ID)
    assert other.count_trials() == 0
    run_one(studies_of(other, sweep_id=OTHER_ID), 0.5)
    assert other.count_trials() == 1


def test_a_second_driver_of_a_sweep_is_told_who_holds_it(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    first = hold(url)
    with pytest.raises(UserError, match=f"another driver .process {os.getpid()} on ") as told:
        hold(url)
    assert told.value.exit_code == 2
    hold(url, sweep_id=OTHER_ID)
    hold(url, sweep_id="ffffffff")  # a number that the server takes for a negative one
    first.close()
    hold(url)


def test_whoever_has_lost_the_lock_writes_no_more(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    storage = hold(url)
    studies = studies_of(storage)
    run_one(studies, 0.5)
    running = studies.ask("c")
    before = rows(url, "select * from trials order by 1")
    (keeper,) = sessions_with_lock(url)
    rows(url, "select pg_terminate_backend(%s)", keeper)
    wait_until(lambda: not sessions_with_lock(url))
    for _ in range(2):
        with pytest.raises(RunError, match=r"the lock on sweep s .* is lost") as told:
            studies.tell("c", "search", running.number, outcome="complete", value=0.75)
        assert told.value.exit_code == 1
        assert "the same command goes on" in str(told.value)
    assert rows(url, "select * from trials order by 1") == before
    again = studies_of(hold(url))
    assert again.adopt("c", "search", running.number).params == running.params
    again.tell("c", "search", running.number, outcome="complete", value=0.75)
    assert [trial.value for trial in again.trials("c", "search")] == [0.5, 0.75]


def sessions_with_lock(url: str) -> list[object]:
    query = "select pid from pg_locks where locktype = 'advisory' and objid = %s"
    return [pid for (pid,) in rows(url, query, int(ID, 16))]


def test_a_server_that_was_restarted_ends_the_driver_and_not_the_sweep(
    postgres: Postgres, hold: Hold
) -> None:
    url = postgres.database()
    studies = studies_of(hold(url))
    run_one(studies, 0.5)
    postgres.stop()
    try:
        with pytest.raises(RunError, match="does not answer: "):
            run_one(studies, 0.75)
    finally:
        postgres.start()
    with pytest.raises(RunError, match="does not answer: "):
        run_one(studies, 0.75)  # it has no lock any more, whatever the server says now
    again = studies_of(hold(url))
    assert run_one(again, 0.75) == 1


def test_a_server_that_never_answers_is_waited_for_so_long_and_once(
    postgres: Postgres, hold: Hold
) -> None:
    url = postgres.database()
    studies = studies_of(hold(url, seconds=1.0))
    run_one(studies, 0.5)
    with postgres.frozen(url):
        began = time.monotonic()
        with pytest.raises(RunError, match="does not answer: "):
            run_one(studies, 0.75)
        assert time.monotonic() - began < 20
        began = time.monotonic()
        with pytest.raises(RunError, match="does not answer: "):
            run_one(studies, 0.75)
        assert time.monotonic() - began < 0.5, "what is known is not waited for again"
    postgres_sessions_end(url)
    again = studies_of(hold(url))
    assert next(trial.value for trial in again.trials("c", "search")) == 0.5


def postgres_sessions_end(url: str) -> None:
    """Wait until what was frozen has noticed that nobody is there any more."""
    for pid in sessions(url, name="mcl-bench%"):
        rows(url, "select pg_terminate_backend(%s)", pid)
    wait_until(lambda: not sessions(url, name="mcl-bench%"))


def test_a_table_that_somebody_has_locked_is_waited_for_so_long(
    postgres: Postgres, hold: Hold
) -> None:
    url = postgres.database()
    studies = studies_of(hold(url, seconds=1.0))
    with psycopg.connect(url) as other:
        other.execute("lock table trials in access exclusive mode")
        with pytest.raises(RunError, match=r"does not answer: .*timeout"):
            run_one(studies, 0.5)


def test_two_that_begin_at_once_in_an_empty_database_both_have_their_studies(
    postgres: Postgres, hold: Hold
) -> None:
    url = postgres.database()
    held = [hold(url, sweep_id=one) for one in (ID, OTHER_ID)]
    with ThreadPoolExecutor(2) as pool:
        opened = list(pool.map(lambda storage: storage.open(), held))
    assert all(one.get_all_studies() == [] for one in opened)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.rpartition("/")[0] + "/nowhere", 'database "nowhere" does not exist'),
        (lambda url: re.sub(r":\d+/", ":1/", url), "refused"),
        (lambda url: url.replace("tester:", "tester:no"), "password authentication failed"),
        (lambda url: url.replace("127.0.0.1", "nosuch.invalid"), "nosuch.invalid"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_within_seconds_and_without_its_password(
    postgres: Postgres, change: Callable[[str], str], said: str
) -> None:
    url = change(postgres.database())
    began = time.monotonic()
    with pytest.raises(UserError, match=r"search\.storage: postgresql://tester@") as told:
        storage_at(url, sweep="s", sweep_id=ID).hold()
    assert time.monotonic() - began < 20
    assert said in str(told.value)
    assert told.value.exit_code == 2
    assert told.value.key == "search.storage"
    for secret in (PASSWORD, url.split("@")[0].rpartition(":")[2]):
        assert secret not in str(told.value)


def test_a_user_who_may_make_no_tables_is_told_so(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    name = f"guest{time.time_ns()}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create role {name} login password '{PASSWORD}'")
    storage = hold(url.replace("//tester:", f"//{name}:"))
    with pytest.raises(UserError, match="permission denied for schema public") as told:
        storage.open()
    assert "grant" in str(told.value)


def test_tables_of_another_optuna_are_told_and_left_alone(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    hold(url).open()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("update alembic_version set version_num = 'v9.9.9'")
    with pytest.raises(UserError, match="is no longer compatible"):
        hold(url, sweep_id=OTHER_ID).open()


def test_another_sweep_of_this_name_is_told_with_its_owner(postgres: Postgres, hold: Hold) -> None:
    url = postgres.database()
    studies_of(hold(url))
    second = hold(url, sweep_id=OTHER_ID)
    second.open()
    with pytest.raises(UserError, match=f"the id {ID}, started by [^ ]+ on [^ ]+; ") as told:
        second.refuse_others(kept=())
    assert "--new" in str(told.value)
    second.refuse_others(kept={ID})
    studies_of(second, sweep_id=OTHER_ID)
    second.refuse_others(kept=())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_a_file_that_another_process_has_locked_is_waited_for_so_long(file: Path) -> None:
    studies = studies_of(SqliteStorage(file, seconds=1.0))
    run_one(studies, 0.5)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin exclusive")
        began = time.monotonic()
        with pytest.raises(RunError, match="locked by another process for 1 s") as told:
            run_one(studies, 0.75)
        assert 1 <= time.monotonic() - began < 10
        assert told.value.exit_code == 1
        hasty = SqliteStorage(file, seconds=0.2)
        for ask in (hasty.count_trials, hasty.open):
            with pytest.raises(RunError, match="locked by another process"):
                ask()
    storage = SqliteStorage(file)
    assert storage.count_trials() == 1
    assert run_one(studies_of(storage), 0.75) == 1


def test_a_lock_that_is_let_go_in_time_is_no_fault(file: Path) -> None:
    studies = studies_of(SqliteStorage(file, seconds=30.0))
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("begin exclusive")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(lambda: (time.sleep(0.5), other.execute("commit")))
            assert run_one(studies, 0.5) == 0
        running.result()


def test_a_file_that_is_damaged_is_told_as_such(file: Path) -> None:
    file.write_bytes(b"not a database" * 100)
    for ask in (SqliteStorage(file).count_trials, SqliteStorage(file).open):
        with pytest.raises(DataError, match="is damaged"):
            ask()
