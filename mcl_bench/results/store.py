"""The embedded MLflow store: made whole, upgraded under a lock, opened without a word.

MLflow is imported inside the functions: it costs a second, and the leaderboard needs none of it.
"""

import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import DataError, Finding, Inventory, UserError
from mcl_bench.spec import masked

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
"""Set before MLflow is imported, where it is not set.

It sends nothing about its use, prints no URLs and no bars, and gives up a request that has no
answer (after so many seconds) without repeating it: who repeats it here looks first whether it was
carried out after all.
"""


LOG_LEVELS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
}
"""What of its log is let through; what the last one says of a database's error is raised too."""


class Unreachable(UserError):
    """Nothing that MLflow can use answers at its address."""


def embedded_uri(home: Path) -> str:
    """The tracking URI of the store that is kept under `home`."""
    return f"sqlite:///{home / 'mlflow.db'}"


def open_client(uri: str, home: Path, *, verbose: bool = False) -> "MlflowClient":
    """A client of the MLflow at `uri`, with its store made or upgraded if it is the one in `home`.

    Raises:
        Unreachable: nothing that MLflow can use answers there.
        UserError: the store was made by another MLflow.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with without_deprecations():
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if not verbose:
            for name, level in LOG_LEVELS.items():
                logging.getLogger(name).setLevel(level)
        try:
            if uri == embedded_uri(home):
                _prepare(home)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # The first contact: a wrong address shows here, not in the middle of a sweep.
            client.search_experiments(max_results=1)
        except MlflowException as error:
            raise Unreachable(
                f"tracking.uri: MLflow at {masked(uri)} can't be used: "
                f"{masked(_first_line(error))}",
                key="tracking.uri",
                remedy="name an MLflow server or a database, or leave tracking.uri out",
            ) from error
    return client


def store_fault(uri: str, home: Path) -> Finding | None:
    """What is wrong with the store at `uri`, if it is the one under `home` and can be mended.

    Nothing is made or upgraded.

    Raises:
        DataError: its file is no database any more.
    """
    path = home / "mlflow.db"
    if uri != embedded_uri(home):
        return None
    made = "opening it makes it"
    if not path.exists():
        what = "there is no MLflow store"
    else:
        found, wanted = _schema(path)
        if found == wanted:
            return None
        what = f"the tables of the MLflow store are of {found}, and MLflow needs {wanted}"
        made = "they are brought to the present form"
    return Finding(side="mlflow", kind="store", what=what, where=str(path), remedy=made, mends=True)


class StoreSide:
    """The embedded store under `home`, of whatever sweeps; one that is not there is no fault."""

    name = "mlflow"

    def __init__(self, home: Path) -> None:
        self._home = home

    def inventory(self) -> Inventory:
        """Whether its tables are what this MLflow needs."""
        there = (self._home / "mlflow.db").exists()
        fault = store_fault(embedded_uri(self._home), self._home) if there else None
        return Inventory(side="mlflow store", faults=() if fault is None else (fault,))

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - opening it mends all
        """Bring its tables to the present form."""
        open_client(embedded_uri(self._home), self._home)

    def facts(self) -> dict[str, str]:
        """What is there, in a few words."""
        path = self._home / "mlflow.db"
        if not path.exists():
            return {"MLflow store": "none yet"}
        return {"MLflow store": f"{path}, tables of {_schema(path)[0]}"}


def _schema(path: Path) -> tuple[str, str]:
    """The version of a store's tables, and the one that this MLflow needs."""
    from mlflow.store.db import utils

    database: Any = utils
    try:
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute("select version_num from alembic_version").fetchone()
    except (sqlite3.DatabaseError, TypeError) as error:
        raise DataError(
            f"the MLflow store {path} is damaged: {error}",
            remedy="put the file back from a copy, or move it away: a new one is made of the "
            "records by mcl-bench doctor NAME --fix",
        ) from error
    return str(found), str(database._get_latest_schema_revision())


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Keep what MLflow and SQLAlchemy say to their own developers from our users."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


def _prepare(home: Path) -> None:
    """Make the store, or bring its tables to what this MLflow needs; one process at a time."""
    import filelock

    home.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(home / "mlflow.lock"):
        if (home / "mlflow.db").exists():
            _upgrade(home)
        else:
            _create(home)


def _create(home: Path) -> None:
    """Make the store beside its place and move it there: a crash leaves none, not half of one."""
    from mlflow.store.tracking import sqlalchemy_store

    database: Any = sqlalchemy_store
    unfinished = home / ".mlflow.db.unfinished"
    unfinished.unlink(missing_ok=True)
    store = database.SqlAlchemyStore(f"sqlite:///{unfinished}", (home / "mlartifacts").as_uri())
    store.engine.dispose()
    unfinished.replace(home / "mlflow.db")


def _upgrade(home: Path) -> None:
    """Bring the tables of a store that an earlier MLflow made to the present form."""
    from alembic.util.exc import CommandError
    from mlflow.store.db import utils

    database: Any = utils
    engine = database.create_sqlalchemy_engine(embedded_uri(home))
    try:
        if database._get_schema_version(engine) != database._get_latest_schema_revision():
            database._upgrade_db(engine)
    except CommandError as error:
        raise UserError(
            f"{home / 'mlflow.db'} was made by another MLflow: {_first_line(error)}",
            remedy="install the newest MLflow that has used it, or move the file away",
        ) from error
    finally:
        engine.dispose()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
