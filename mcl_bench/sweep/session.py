"""A session with PostgreSQL that waits so long and no longer, and the advisory lock held in one.

The lock keeps a sweep to one driver, on whichever machine it runs.
"""

import os
import socket
from typing import Any

import psycopg
from psycopg.abc import PQGen

CONNECT_SECONDS = 10
"""How long a host may take to answer the first word."""

GRACE = 1.2
"""The server gives a statement up by itself after its time; this much later it has not answered."""

LOCK_SECONDS = 1
"""How long a driver waits for a lock whose holder may just be leaving."""

SPACE = int.from_bytes(b"mclb", "big")
"""The first of an advisory lock's two numbers; the second is the sweep's id."""

TABLES = SPACE + 1
"""The lock under which tables are made: two that begin at once would both make them."""

APPLICATION = "mcl-bench: "
"""What a driver's connections are called begins with this; who it is follows."""

MAX_NAME = 63
"""The server cuts longer names of applications."""

HOLDER = """\
select application_name from pg_stat_activity join pg_locks using (pid)
where locktype = 'advisory' and classid = %s and objid = %s and objsubid = 2 and granted
"""

STILL_HELD = """\
select exists (select from pg_locks
where locktype = 'advisory' and classid = %s and objid = %s and objsubid = 2 and granted
and pid = %s)
"""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed, with an OperationalError, where an answer takes too long."""

    seconds = 30.0

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """What the server answers, or an OperationalError after `seconds`."""
        limit = GRACE * self.seconds if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != psycopg.pq.TransactionStatus.ACTIVE:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer for {limit:g} s") from error


def connect(address: str, *, seconds: float, autocommit: bool = False) -> BoundedConnection:
    """A connection of this driver, whose name says which process it is.

    The server gives up a statement after `seconds`, keeps an idle session, and notices within a
    minute when this machine is gone, so that its lock goes too.

    Raises:
        psycopg.OperationalError: nothing answers there, or lets this user in.
    """
    name = f"{APPLICATION}process {os.getpid()} on {socket.gethostname()}"
    connection = BoundedConnection.connect(
        address,
        autocommit=True,
        connect_timeout=min(CONNECT_SECONDS, max(2, round(seconds))),
        application_name=name[:MAX_NAME],
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
    )
    connection.seconds = seconds
    settings = {
        "statement_timeout": f"{int(1000 * seconds)}ms",
        "idle_session_timeout": "0",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    for setting, value in settings.items():
        # Those that an older server does not know are left out.
        known = "select set_config(name, %s, false) from pg_settings where name = %s"
        connection.execute(known, (value, setting))
    connection.autocommit = autocommit
    return connection


class SweepLock:
    """The advisory lock on a sweep's id: it is held for as long as its connection lives."""

    def __init__(self, connection: BoundedConnection, sweep_id: str) -> None:
        self._connection = connection
        self._number = int(sweep_id, 16)

    def acquire(self) -> str | None:
        """Take the lock; None if it is ours now, else who holds it."""
        ask = "select set_config('lock_timeout', %s, false)"
        self._connection.execute(ask, (f"{LOCK_SECONDS}s",))
        try:
            numbers = (SPACE, _signed(self._number))
            self._connection.execute("select pg_advisory_lock(%s::int, %s::int)", numbers)
        except psycopg.errors.LockNotAvailable:
            found = self._connection.execute(HOLDER, (SPACE, self._number)).fetchone()
            return str(found[0]).removeprefix(APPLICATION) if found else "it has just left"
        self._connection.execute(ask, ("0",))
        return None

    def is_held(self, cursor: psycopg.Cursor[Any]) -> bool:
        """Whether the server still knows this lock as ours, asked on any connection."""
        pid = self._connection.info.backend_pid
        found = cursor.execute(STILL_HELD, (SPACE, self._number, pid)).fetchone()
        return bool(found and found[0])


def _signed(number: int) -> int:
    """32 bits as the server's int4, which has a sign; in `pg_locks` they have none."""
    return number - (1 << 32) if number >= 1 << 31 else number
