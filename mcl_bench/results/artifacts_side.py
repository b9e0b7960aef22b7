"""Where the embedded MLflow store says that artifacts lie, after its home has been moved.

MLflow keeps whole URIs. All that the store was told by us lie under its home's `mlartifacts`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mcl_bench.records import Finding, Inventory

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The columns of MLflow's own tables that hold URIs of artifacts."""

MARK = "/mlartifacts/"
"""What stands before the part of a URI that a move leaves as it is."""


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """One URI of the store that is not under its home."""

    table: str
    column: str
    old: str
    new: str


class ArtifactsSide:
    """The URIs of artifacts in the store under `home`, of whatever sweep."""

    name = "artifacts"

    def __init__(self, home: Path) -> None:
        self._home = home

    def inventory(self) -> Inventory:
        """The finding that the home has been moved, if it has."""
        moved = list(self._moved())
        if not moved:
            return Inventory(side=self.name)
        before = moved[0].old.partition(MARK)[0]
        fault = Finding(
            side=self.name,
            kind="moved",
            what=f"{len(moved)} URIs of artifacts are of another place, such as {before}",
            where=str(self._path),
            remedy=f"they are made to name {self._home}",
            mends=True,
        )
        return Inventory(side=self.name, faults=(fault,))

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - there is but one
        """Let every URI name the home where it is now; all at once, or none."""
        import filelock

        with (
            filelock.FileLock(self._home / "mlflow.lock"),
            closing(sqlite3.connect(self._path)) as database,
            database,
        ):
            for one in list(self._moved()):
                database.execute(
                    f"update {one.table} set {one.column} = ? where {one.column} = ?",
                    (one.new, one.old),
                )

    @property
    def _path(self) -> Path:
        return self._home / "mlflow.db"

    def _moved(self) -> Iterator[_Moved]:
        """Every URI under another home's `mlartifacts`, unless its files are only there."""
        if not self._path.exists():
            return
        with closing(sqlite3.connect(self._path)) as database:
            for table, column in PLACES:
                columns = {row[1] for row in database.execute(f"pragma table_info({table})")}
                if column not in columns:
                    continue
                for (uri,) in database.execute(f"select distinct {column} from {table}"):
                    new = None if uri is None else self._here(uri)
                    if new is not None:
                        yield _Moved(table=table, column=column, old=uri, new=new)

    def _here(self, uri: str) -> str | None:
        """The URI under this home; None if it is, or is none of ours."""
        scheme = urlsplit(uri).scheme
        head, mark, rest = uri.partition(MARK)
        if scheme not in {"", "file"} or not mark:
            return None
        new = f"{self._home.as_uri()}{MARK}{rest}"
        if head in {self._home.as_uri(), str(self._home)}:
            return None
        elsewhere = Path(unquote(urlsplit(uri).path)).exists()
        return None if elsewhere and not Path(unquote(urlsplit(new).path)).exists() else new
