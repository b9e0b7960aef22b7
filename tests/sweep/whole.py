"""Whether a sweep's records agree: every trial once, every epoch once, on every side."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
from running import read_lines

TIMES = {"device_seconds", "wait_seconds", "started", "finished", "run_id", "epochs"}
"""The columns of the table that no two runs of a sweep share."""

Rows = Mapping[tuple[str, str, int], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a sweep was asked for; `name` is the sweep's."""

    name: str
    cells: tuple[str, ...]
    trials: int
    seeds: int
    epochs: int

    def rows(self, home: Path) -> Rows:
        """The table's rows by cell, stage and trial."""
        table = pq.read_table(self.folder(home) / "results.parquet").to_pylist()
        rows = {(row["cell"], row["stage"], row["trial"]): row for row in table}
        assert len(rows) == len(table), "a trial stands twice in the table"
        return rows

    def values(self, home: Path) -> Rows:
        """Every column of the table but the times."""
        return {
            name: {key: value for key, value in row.items() if key not in TIMES}
            for name, row in self.rows(home).items()
        }

    def looks(self, home: Path) -> list[dict[str, Any]]:
        """The lines of the ledger of looks."""
        return read_lines(self.folder(home) / "looks.jsonl")

    def folder(self, home: Path) -> Path:
        """The sweep's folder."""
        return home / "sweeps" / self.name

    def check(self, home: Path) -> None:
        """Optuna, MLflow, the table and the ledger hold every trial once, every epoch once."""
        expected = {
            (cell, stage, number)
            for cell in self.cells
            for stage, count in (("search", self.trials), ("confirm", self.seeds))
            for number in range(count)
        }
        table = self.rows(home)
        assert set(table) == expected
        assert {row["state"] for row in table.values()} <= {"complete", "duplicate"}
        url = f"sqlite:///{self.folder(home) / 'study.db'}"
        stored = {
            (*name.split("/")[1:], trial.number): trial.state.name
            for name in optuna.get_all_study_names(url)
            for trial in optuna.load_study(study_name=name, storage=url).trials
        }
        assert stored == dict.fromkeys(expected, "COMPLETE")
        self._check_runs(home, table)
        looks = [(look["cell"], look["key"], look["seed"]) for look in self.looks(home)]
        confirm = [row for row in table.values() if row["stage"] == "confirm"]
        assert sorted(looks) == sorted((row["cell"], row["key"], row["seed"]) for row in confirm)

    def _check_runs(self, home: Path, table: Rows) -> None:
        with sqlite3.connect(home / "mlflow.db") as database:
            runs = database.execute(
                "select r.run_uuid, r.status from runs r join tags t on t.run_uuid = r.run_uuid "
                "where t.key = 'mcl.kind' and t.value = 'trial'"
            ).fetchall()
            assert sorted(run for run, _ in runs) == sorted(row["run_id"] for row in table.values())
            assert {status for _, status in runs} == {"FINISHED"}
            for row in table.values():
                if row["state"] == "complete":
                    steps = database.execute(
                        "select step from metrics where run_uuid = ? and key = 'train/loss' "
                        "order by step",
                        (row["run_id"],),
                    ).fetchall()
                    assert [step for (step,) in steps] == list(range(1, self.epochs + 1)), row
