"""The embedded MLflow store: made whole, upgraded under a lock, opened without a word.

MLflow is imported inside the functions: it costs a second, and the leaderboard needs none of it.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SILENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Set before MLflow is imported: it sends nothing about its use, and prints no URLs."""


def embedded_uri(home: Path) -> str:
    """The tracking URI of the store that is kept under `home`."""
    return f"sqlite:///{home / 'mlflow.db'}"


def open_client(uri: str, home: Path, *, verbose: bool = False) -> "MlflowClient":
    """A client of the MLflow at `uri`, with its store made or upgraded if it is the one in `home`.

    Raises:
        UserError: nothing that MLflow can use is there.
    """
    for name, value in SILENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with without_deprecations():
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if not verbose:
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if uri == embedded_uri(home):
                _prepare(home)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # The first contact: a wrong address shows here, not in the middle of a sweep.
            client.search_experiments(max_results=1)
        except MlflowException as error:
            raise UserError(
                f"tracking.uri: MLflow at {uri} can't be used: {_first_line(error)}",
                key="tracking.uri",
                remedy="name an MLflow server or a database, or leave tracking.uri out",
            ) from error
    return client


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
