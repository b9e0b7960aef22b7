"""Studies in a PostgreSQL database that other people and other sweeps use too.

A sweep's studies are those whose names hold its id: no other is ever read for it, written or
renamed. The database's URL holds a password, which no message does.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from optuna.storages import RDBStorage
from sqlalchemy import Connection

from mcl_bench.records import RunError, UserError, whose
from mcl_bench.spec import masked, postgres_address, without_password
from mcl_bench.sweep.session import TABLES, BoundedConnection, SweepLock, connect
from mcl_bench.sweep.storage import AGAIN, ANSWER_SECONDS, OWNER, Storage

COUNT = """\
select count(*) from trials join studies using (study_id) where starts_with(study_name, %s)
"""

OTHERS = """\
select split_part(substr(study_name, length(%(name)s) + 1), '/', 1),
max(case when key = %(owner)s then value_json end)
from studies left join study_user_attributes using (study_id)
where starts_with(study_name, %(name)s) group by 1 order by min(study_id)
"""


class PostgresStorage(Storage):
    """A shared database, in which an advisory lock on the sweep's id keeps other drivers out.

    The lock goes with its session, and whoever has lost it writes no more.
    """

    def __init__(
        self, url: str, *, sweep: str, sweep_id: str, seconds: float = ANSWER_SECONDS
    ) -> None:
        super().__init__(shown=without_password(url), seconds=seconds)
        self._address = postgres_address(url)
        self._sweep = sweep
        self._id = sweep_id
        self._session: BoundedConnection | None = None
        self._sessions: list[BoundedConnection] = []
        self._lock: SweepLock | None = None

    def hold(self) -> None:
        """Take the sweep's lock.

        Raises:
            UserError: another driver holds it, or the database can't be used.
        """
        with self._answered() as session:
            self._lock = SweepLock(session, self._id)
            holder = self._lock.acquire()
        if holder is not None:
            raise UserError(
                f"sweep {self._sweep} is being run by another driver ({holder})",
                remedy="wait for it, or stop it where it runs",
            )

    def count_trials(self) -> int:
        """How many trials of this sweep there are; 0 where nothing has been made yet."""
        try:
            with self._answered() as session:
                found = session.execute(COUNT, (f"{self._sweep}@{self._id}/",)).fetchone()
        except RunError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                return 0
            raise
        assert found is not None, "a count is one row"
        return int(found[0])

    def open(self) -> RDBStorage:
        """Optuna's storage, its tables made if there are none.

        Raises:
            UserError: this user may not make them, or another Optuna did.
        """
        with self._answered() as session:
            session.execute("select pg_advisory_lock(%s)", (TABLES,))
        try:
            # The library's own URL: Optuna keeps what it is given, and writes it into its faults.
            return self._optuna(
                "postgresql+psycopg://",
                {"creator": self._connect, "pool_pre_ping": True},
                owner=whose(),
            )
        except RuntimeError as error:  # what Optuna says of tables that another version made
            raise UserError(
                f"search.storage: {self.shown} can't be used: {error}",
                key="search.storage",
                remedy="use the Optuna that made it, or another database",
            ) from error
        finally:
            with self._answered() as session:
                session.execute("select pg_advisory_unlock(%s)", (TABLES,))

    def refuse_others(self, *, kept: Collection[str]) -> None:
        """Refuse to begin beside another sweep of this name, unless its id is among those `kept`.

        Raises:
            UserError: with the other's id and owner.
        """
        with self._answered() as session:
            words = {"name": f"{self._sweep}@", "owner": OWNER}
            found = dict(session.execute(OTHERS, words).fetchall())
        others = [one for one in found if one not in kept]
        if self._id in found or not others:
            return
        owner = (found[others[0]] or "somebody").strip('"')
        raise UserError(
            f"{self.shown} holds the studies of the sweep {self._sweep} with the id {others[0]}, "
            f"started by {owner}; this sweep's id is {self._id}",
            key="search.storage",
            remedy="give this sweep a name of its own (name=OTHER), or run it with --new, which "
            "leaves the other alone",
        )

    def close(self) -> None:
        """Let the lock go, with its session."""
        super().close()
        for session in self._sessions:
            session.close()

    def _connect(self) -> BoundedConnection:
        """A session for Optuna; none where the database has not answered before."""
        if self._fault is not None:
            raise self._fault
        session = connect(self._address, seconds=self._seconds)
        self._sessions.append(session)
        return session

    def _check(self, connection: Connection) -> None:
        if self._lock is None:  # who only reads has no lock to lose
            return
        driver: Any = connection.connection.driver_connection
        try:
            held = self._lock.is_held(driver.cursor())
        except psycopg.Error as error:
            self._fault = self._told(error)
            raise self._fault from error
        if not held:
            self._fault = RunError(
                f"the lock on sweep {self._sweep} in {self.shown} is lost: its session has ended",
                remedy="nothing has been written since; the same command goes on",
            )
            raise self._fault

    def _begin(self) -> BoundedConnection:
        """The first session, which is told as the user's fault where there can be none."""
        try:
            session = connect(self._address, seconds=self._seconds, autocommit=True)
        except (psycopg.Error, UnicodeError) as error:
            raise UserError(
                f"search.storage: {self.shown} can't be used: {_reason(error)}",
                key="search.storage",
                remedy="name a PostgreSQL database that is there and lets you in; a password may "
                "also stand in PGPASSWORD or ~/.pgpass",
            ) from error
        self._sessions.append(session)
        return session

    @contextmanager
    def _answered(self) -> Iterator[BoundedConnection]:
        """The session that may hold the lock; what it says is told.

        Raises:
            UserError: it is the first one, and the database can't be used.
        """
        if self._session is None:
            self._session = self._begin()
        try:
            yield self._session
        except psycopg.Error as error:
            raise self._told(error) from error

    def _told(self, error: BaseException) -> UserError:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return UserError(
                f"search.storage: {self.shown} can't be used: {_reason(error)}",
                key="search.storage",
                remedy="let this user make tables there: grant create, usage on schema public to …",
            )
        return RunError(
            f"the Optuna storage {self.shown} does not answer: {_reason(error)}", remedy=AGAIN
        )


def _reason(error: BaseException) -> str:
    """The first line of what the database said, without passwords."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return masked(lines[0])
