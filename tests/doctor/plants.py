"""Faults, planted for real in the files of a finished sweep."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from mcl_bench.results import read_records, write_table

Plant = Callable[[Path], None]

CE, MC = "parts-convnet-ce", "parts-convnet-mc"
CONFIRM = f"{CE}/confirm-0"


def edit(database: Path, *statements: str, **words: Any) -> None:
    """Change a SQLite file by hand; the last statement must have changed something."""
    with closing(sqlite3.connect(database)) as connection, connection:
        changed = [connection.execute(statement, words).rowcount for statement in statements]
    assert changed[-1], statements[-1]


def run_of(home: Path, name: str) -> str:
    """The id of a trial's run, as its record has it."""
    cell, _, trial = name.partition("/")
    stage, _, number = trial.rpartition("-")
    (found,) = (
        record.run_id
        for record in read_records(home / "sweeps/tiny")
        if (record.cell, record.stage, record.trial) == (cell, stage, int(number))
    )
    return found


def in_optuna(*statements: str, name: str) -> Plant:
    """A change of the storage, where `{trial}` is the trial of this name."""
    cell, _, trial = name.partition("/")
    stage, _, number = trial.rpartition("-")
    found = (
        "(select t.trial_id from trials t join studies s on s.study_id = t.study_id "
        f"where t.number = {number} and s.study_name like '%/{cell}/{stage}')"
    )

    def plant(home: Path) -> None:
        for statement in statements:
            edit(home / "sweeps/tiny/study.db", statement.format(trial=found))

    return plant


def in_mlflow(statement: str, *, name: str) -> Plant:
    """A change of MLflow's store, where `:run` is the trial's run."""
    return lambda home: edit(home / "mlflow.db", statement, run=run_of(home, name))


def no_optuna_storage(home: Path) -> None:
    (home / "sweeps/tiny/study.db").unlink()


def purged(name: str) -> Plant:
    """The trial's run gone for good."""

    def plant(home: Path) -> None:
        run = run_of(home, name)
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            edit(home / "mlflow.db", f"delete from {table} where run_uuid = :run", run=run)

    return plant


def another_run(name: str, **tags: str) -> Plant:
    """One more run with the tags of this trial's, and these."""

    def plant(home: Path) -> None:
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        run = client.get_run(run_of(home, name))
        own = {key: value for key, value in run.data.tags.items() if key.startswith("mcl.")}
        more = {f"mcl.{key}": value for key, value in tags.items()}
        made = client.create_run(run.info.experiment_id, tags={**own, **more})
        client.set_terminated(made.info.run_id)

    return plant


def a_run_without_its_predictions(home: Path) -> None:
    (found,) = home.glob(f"mlartifacts/**/{run_of(home, CONFIRM)}/**/predictions.parquet")
    found.unlink()


def an_open_sweep(home: Path) -> None:
    of = "(select run_uuid from tags where key = 'mcl.kind' and value = 'sweep')"
    edit(home / "mlflow.db", f"update runs set status = 'RUNNING' where run_uuid in {of}")


def a_deleted_cell(home: Path) -> None:
    edit(
        home / "mlflow.db",
        "update runs set lifecycle_stage = 'deleted' where run_uuid in "
        "(select run_uuid from tags where key = 'mcl.kind' and value = 'cell') and run_uuid in "
        "(select run_uuid from tags where key = 'mcl.cell' and value = :cell)",
        cell=CE,
    )


def no_mlflow_store(home: Path) -> None:
    (home / "mlflow.db").unlink()


def no_table(home: Path) -> None:
    (home / "sweeps/tiny/results.parquet").unlink()


def a_damaged_table(home: Path) -> None:
    (home / "sweeps/tiny/results.parquet").write_bytes(b"PAR1, and no more")


def a_table_that_lacks_a_row(home: Path) -> None:
    folder = home / "sweeps/tiny"
    write_table(read_records(folder)[1:], folder / "results.parquet")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in found))


def an_end_told_otherwise(home: Path) -> None:
    path = home / "sweeps/tiny/events.jsonl"
    found = lines(path)
    next(line for line in found if line["event"] == "tell")["state"] = "pruned"
    rewrite(path, found)


def no_events(home: Path) -> None:
    (home / "sweeps/tiny/events.jsonl").write_text(
        '{"time": 1.0, "event": "end", "state": "complete"}\n'
    )


def torn_events(home: Path) -> None:
    with (home / "sweeps/tiny/events.jsonl").open("a") as file:
        file.write('{"time": 1.0, "eve')


def torn_records(home: Path) -> None:
    with (home / "sweeps/tiny/records.jsonl").open("a") as file:
        file.write('{"sweep": "ti')


def a_driver_that_was_killed(home: Path) -> None:
    path = home / "sweeps/tiny/events.jsonl"
    rewrite(path, lines(path)[:-1])


def a_lost_record(home: Path) -> None:
    path = home / "sweeps/tiny/records.jsonl"
    rewrite(path, [line for line in lines(path) if line["trial"] != 1 or line["cell"] != MC])


def no_records(home: Path) -> None:
    (home / "sweeps/tiny/records.jsonl").unlink()


def a_checkpoint_of_a_finished_trial(home: Path) -> None:
    lease = home / f"sweeps/tiny/trials/{CONFIRM}/deadbeef"
    lease.mkdir()
    (lease / "checkpoint.pt").write_bytes(b"late")
    (lease / "predictions.parquet").write_bytes(b"late")


def a_checkpoint_of_no_trial(home: Path) -> None:
    lease = home / f"sweeps/tiny/trials/{CE}/search-77/deadbeef"
    lease.mkdir(parents=True)
    (lease / "checkpoint.pt").write_bytes(b"late")


def an_unfinished_file(home: Path) -> None:
    (home / "sweeps/tiny/.results.parquet.ab12cd34").write_bytes(b"PAR")


def a_word_to_stop(home: Path) -> None:
    (home / "sweeps/tiny/stop").touch()


Fault = tuple[Plant, tuple[str, str, str]]
"""A plant, and the side, the kind and the place of what is found of it."""

STEP = "run_uuid = :run and step = 2"

OPTUNA: tuple[Fault, ...] = (
    (
        in_optuna(
            "delete from trial_values where trial_id = {trial}",
            "update trials set state = 'RUNNING' where trial_id = {trial}",
            name=f"{CE}/search-0",
        ),
        ("optuna", "untold", f"{CE}/search-0"),
    ),
    (
        in_optuna("update trials set state = 'FAIL' where trial_id = {trial}", name=CONFIRM),
        ("optuna", "differs", CONFIRM),
    ),
    (
        in_optuna(
            "delete from trial_intermediate_values where trial_id = {trial} and step = 1",
            name=f"{CE}/search-2",
        ),
        ("optuna", "differs", f"{CE}/search-2"),
    ),
    (
        in_optuna(
            "update trial_values set value = 0.999 where trial_id = {trial}", name=f"{MC}/search-0"
        ),
        ("optuna", "differs", f"{MC}/search-0"),
    ),
    (
        in_optuna(
            "update trial_params set param_value = 0.01 "
            "where trial_id = {trial} and param_name = 'train.optimizer.lr'",
            name=f"{MC}/search-1",
        ),
        ("optuna", "differs", f"{MC}/search-1"),
    ),
    (
        in_optuna(
            "update trial_user_attributes set value_json = '\"0123\"' "
            "where trial_id = {trial} and key = 'run_id'",
            name=f"{MC}/search-2",
        ),
        ("optuna", "differs", f"{MC}/search-2"),
    ),
)

RUNS: tuple[Fault, ...] = (
    (
        in_mlflow(
            "update runs set status = 'RUNNING' where run_uuid = :run", name=f"{CE}/search-0"
        ),
        ("mlflow", "differs", f"{CE}/search-0"),
    ),
    (
        in_mlflow(
            "update tags set value = 'pruned' where run_uuid = :run and key = 'mcl.state'",
            name=f"{CE}/search-1",
        ),
        ("mlflow", "differs", f"{CE}/search-1"),
    ),
    (
        in_mlflow(
            "update tags set value = '0' where run_uuid = :run and key = 'mlflow.parentRunId'",
            name=f"{CE}/search-2",
        ),
        ("mlflow", "differs", f"{CE}/search-2"),
    ),
    (
        in_mlflow(
            "update runs set lifecycle_stage = 'deleted' where run_uuid = :run",
            name=f"{MC}/search-0",
        ),
        ("mlflow", "missing", f"{MC}/search-0"),
    ),
    (purged(f"{MC}/search-1"), ("mlflow", "missing", f"{MC}/search-1")),
    (another_run(f"{MC}/search-2"), ("mlflow", "doubled", f"{MC}/search-2")),
    (another_run(f"{MC}/search-2", trial="99"), ("mlflow", "apart", f"{MC}/search-99")),
    (
        in_mlflow(f"delete from metrics where {STEP}", name=CONFIRM),
        ("mlflow", "differs", CONFIRM),
    ),
    (an_open_sweep, ("mlflow", "parents", "the sweep")),
)

NUMBERS: tuple[Fault, ...] = (
    (
        in_mlflow(f"delete from metrics where {STEP} and key = 'val/top1'", name=f"{CE}/search-0"),
        ("mlflow", "anew", f"{CE}/search-0"),
    ),
    (
        in_mlflow(
            "insert into metrics select key, value, timestamp + 5, run_uuid, step, is_nan "
            f"from metrics where {STEP} and key = 'val/top1'",
            name=f"{CE}/search-1",
        ),
        ("mlflow", "anew", f"{CE}/search-1"),
    ),
    (
        in_mlflow(
            "update params set value = '0.5' where run_uuid = :run and key = 'train.optimizer.lr'",
            name=f"{CE}/search-2",
        ),
        ("mlflow", "anew", f"{CE}/search-2"),
    ),
    (
        in_mlflow(
            "delete from params where run_uuid = :run and key = 'train.optimizer.lr'",
            name=f"{MC}/search-0",
        ),
        ("mlflow", "differs", f"{MC}/search-0"),
    ),
)

BATCHES: dict[str, tuple[Fault, ...]] = {
    "trials changed in Optuna": OPTUNA,
    "a last trial that Optuna lacks": (
        (
            in_optuna("delete from trials where trial_id = {trial}", name=f"{CE}/search-2"),
            ("optuna", "missing", f"{CE}/search-2"),
        ),
    ),
    "a trial in between that Optuna lacks": (
        (
            in_optuna("delete from trials where trial_id = {trial}", name=f"{CE}/search-1"),
            ("optuna", "missing", f"{CE}/search-1"),
        ),
    ),
    "no Optuna storage, no table, and leftovers": (
        (no_optuna_storage, ("optuna", "missing", CONFIRM)),
        (no_table, ("table", "behind", "results.parquet")),
        (torn_events, ("events", "torn", "events.jsonl")),
        (an_unfinished_file, ("disk", "leftover", ".results.parquet.ab12cd34")),
        (a_word_to_stop, ("disk", "leftover", "stop")),
    ),
    "runs changed in MLflow": RUNS,
    "numbers changed in MLflow": NUMBERS,
    "a cell without a run, a damaged table, and checkpoints": (
        (a_deleted_cell, ("mlflow", "parents", f"cell {CE}")),
        (a_damaged_table, ("table", "damaged", "results.parquet")),
        (an_end_told_otherwise, ("events", "untold", f"{CE}/search-0")),
        (a_checkpoint_of_a_finished_trial, ("disk", "checkpoints", CONFIRM)),
        (a_checkpoint_of_no_trial, ("disk", "checkpoints", f"{CE}/search-77")),
    ),
    "no MLflow store, and a table behind its records": (
        (no_mlflow_store, ("mlflow", "store", "mlflow.db")),
        (a_table_that_lacks_a_row, ("table", "behind", "results.parquet")),
        (torn_records, ("records", "torn", "records.jsonl")),
    ),
    "a driver that was killed, and a record that is lost": (
        (a_driver_that_was_killed, ("lock", "gone", "lock")),
        (a_lost_record, ("records", "lost", f"{MC}/search-1")),
    ),
    "no records": ((no_records, ("records", "lost", CONFIRM)),),
    "no events": ((no_events, ("events", "untold", CONFIRM)),),
}
"""Faults that are found and mended together."""
