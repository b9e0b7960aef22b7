"""Where the studies of a sweep live: a SQLite file in its folder, or a shared database.

A storage is waited for so long and no longer. What it then says is told once, as a RunError: the
driver stops, nothing is lost, and the same command goes on when the storage is there again.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, ExceptionContext, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from mcl_bench.records import DataError, RunError, UserError

ANSWER_SECONDS = 30.0
"""How long a storage may take to answer, or another process to let it go."""

SQLITE = "sqlite:///"
"""What the URL of a file begins with."""

OWNER = "owner"
"""The attribute of a shared study that says who started its sweep."""

QUOTES = "'"
"""What a KeyError puts around its message."""

EDITED = (
    "mcl-bench doctor NAME --fix writes a storage in a file anew from the records; or put storage "
    "and folder back from copies of one moment, or start the sweep afresh with --new"
)
"""The remedy where somebody has changed a study by hand."""

AGAIN = "nothing is lost: when it is there again, the same command goes on"
"""The remedy where a storage does not answer."""


class SweepStorage(RDBStorage):
    """Optuna's storage, where a trial or study that is not as it was left is told by its name.

    Where it is shared, each study that is made in it bears the name of its `owner`.
    """

    def __init__(
        self, url: str, engine: Mapping[str, Any], *, shown: str, owner: str | None
    ) -> None:
        super().__init__(url, engine_kwargs=dict(engine))
        self._shown = shown
        self._owner = owner

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """The id of a new study."""
        study_id = super().create_new_study(directions, study_name)
        if self._owner is not None:
            self.set_study_user_attr(study_id, OWNER, self._owner)
        return study_id

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """The id of a new trial."""
        with self._unchanged():
            return super().create_new_trial(study_id, template_trial)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial as it stands."""
        with self._unchanged():
            return super().get_trial(trial_id)

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        """The trials of a study, which Optuna's own cache asks for by this name."""
        with self._unchanged():
            return super()._get_trials(*args, **kwargs)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Write down a parameter of a running trial."""
        with self._unchanged():
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Write down how a trial stands."""
        with self._unchanged():
            return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Write down the value of a running trial after a step."""
        with self._unchanged():
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write down an attribute of a running trial."""
        with self._unchanged():
            super().set_trial_user_attr(trial_id, key, value)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Tell of a trial that has been taken away or ended by somebody else."""
        try:
            yield
        except (KeyError, UpdateFinishedTrialError) as error:
            raise DataError(
                f"the Optuna storage {self._shown} has been changed by hand while this sweep ran: "
                f"{str(error).strip(QUOTES)}",
                remedy=EDITED,
            ) from error


class Storage:
    """The storage of one sweep's studies, used by the one driver that holds it."""

    def __init__(self, *, shown: str, seconds: float) -> None:
        self.shown = shown
        self._seconds = seconds
        self._fault: UserError | None = None
        self._engine: Engine | None = None

    def hold(self) -> None:
        """Keep other drivers of this sweep out.

        Raises:
            UserError: another driver holds it, or no studies can be kept here.
        """

    def count_trials(self) -> int:
        """How many trials of this sweep there are; 0 where nothing has been made yet."""
        raise NotImplementedError

    def open(self) -> RDBStorage:
        """Optuna's storage, its tables made if there are none."""
        raise NotImplementedError

    def refuse_others(self, *, kept: Collection[str]) -> None:
        """Refuse to begin beside another sweep of this name, unless its id is among those `kept`.

        Raises:
            UserError: with the other's id and owner.
        """

    def close(self) -> None:
        """Let it go."""
        if self._engine is not None:
            self._engine.dispose()

    def _optuna(
        self, url: str, engine: Mapping[str, Any], *, owner: str | None = None
    ) -> RDBStorage:
        """Optuna's storage at a URL; what the database says is told in one message."""
        with self._telling():
            storage = SweepStorage(url, engine, shown=self.shown, owner=owner)
        self._engine = storage.engine
        self._watch(storage.engine)
        return storage

    def _watch(self, engine: Engine) -> None:
        """Turn the database's errors into ours; what it has said once is not waited for again."""

        @event.listens_for(engine, "handle_error")
        def _error(context: ExceptionContext) -> None:
            if context.is_pre_ping or isinstance(context.sqlalchemy_exception, IntegrityError):
                return
            self._fault = self._told(context.original_exception)
            raise self._fault from context.original_exception

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if self._fault is not None:
                raise self._fault
            self._check(connection)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell the errors of a database that is not watched yet."""
        try:
            yield
        except (DBAPIError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            if not isinstance(cause, DBAPIError):
                raise
            raise self._told(cause.orig or cause) from error

    def _check(self, connection: Connection) -> None:
        """Look, as a transaction begins, whether this driver may still write."""

    def _told(self, error: BaseException) -> UserError:
        """What a database's error says to the user."""
        raise NotImplementedError


class SqliteStorage(Storage):
    """A file in the sweep's folder, whose lock keeps other drivers out."""

    def __init__(self, path: Path, *, seconds: float = ANSWER_SECONDS) -> None:
        super().__init__(shown=str(path), seconds=seconds)
        self._path = path

    def count_trials(self) -> int:
        """How many trials of any study the file holds; 0 where there is none yet.

        Raises:
            DataError: the file is damaged.
            RunError: another process has locked it.
        """
        if not self._path.exists():
            return 0
        try:
            with closing(sqlite3.connect(self._path, timeout=self._seconds)) as database:
                return int(database.execute("select count(*) from trials").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error):
                return 0
            raise self._told(error) from error

    def open(self) -> RDBStorage:
        """Optuna's storage, its tables made if there are none."""
        return self._optuna(f"{SQLITE}{self._path}", {"connect_args": {"timeout": self._seconds}})

    def _told(self, error: BaseException) -> UserError:
        if "locked" in str(error):
            return RunError(
                f"the Optuna storage {self.shown} has been locked by another process for "
                f"{self._seconds:g} s",
                remedy="nothing is lost: when that process has let it go, the same command goes on",
            )
        if isinstance(error, sqlite3.OperationalError):
            return RunError(f"the Optuna storage {self.shown} fails: {error}", remedy=AGAIN)
        return DataError(
            f"the Optuna storage {self.shown} is damaged: {error}",
            remedy="put the file back from a copy, or start the sweep afresh with --new",
        )


def storage_at(url: str, *, sweep: str, sweep_id: str) -> Storage:
    """The storage at a URL: a file in the sweep's folder, or a PostgreSQL database."""
    if url.startswith(SQLITE):
        return SqliteStorage(Path(url.removeprefix(SQLITE)))
    from mcl_bench.sweep.postgres import PostgresStorage

    return PostgresStorage(url, sweep=sweep, sweep_id=sweep_id)
