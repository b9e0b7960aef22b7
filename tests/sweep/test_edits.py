"""Studies that somebody has changed by hand, on a real file: each change is told, with exit 3."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from mcl_bench.records import DataError, Stage, TrialRecord, TrialState
from mcl_bench.spec import Choice, FloatRange, SearchSpec
from mcl_bench.sweep.edits import find_edits, refuse_edits
from mcl_bench.sweep.storage import SqliteStorage
from mcl_bench.sweep.studies import Studies

SPACE = {
    "train.optimizer.lr": FloatRange(low=0.1, high=1.0),
    "loss.mask_ratio": Choice(values=(0.2, 0.4)),
}
CELL: Any = SimpleNamespace(id="c", space=SPACE, enqueue=({"loss.mask_ratio": 0.2},), most_epochs=9)
PREFIX = "s@deadbeef"
SEARCH, CONFIRM = f"{PREFIX}/c/search", f"{PREFIX}/c/confirm"


def record(stage: Stage, number: int, state: TrialState, params: Any, **values: Any) -> TrialRecord:
    plain = dict.fromkeys(("sweep", "cell", "dataset", "backbone", "weights", "arm", "xi"), "c")
    return TrialRecord(
        **{**plain, "maps": 1, "parameters": 1, "seed": 7, "key": "k", "run_id": ""},
        stage=stage,
        trial=number,
        state=state,
        config={"data.name": "parts", **params},
        started=0.0,
        finished=1.0,
        **values,
    )


class Left:
    """A sweep as a driver left it: four search trials, one of them running, and a confirm trial."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "study.db"
        self.studies = self.open()
        self.studies.open()
        self.records: list[TrialRecord] = []
        ends: tuple[tuple[TrialState, float | None], ...] = (
            ("complete", 0.1 + 0.2),
            ("pruned", None),
            ("failed", None),
        )
        for state, value in ends:
            trial = self.studies.ask("c")
            self.studies.report("c", trial.number, epoch=1, value=0.5)
            self.end("search", trial.number, state, trial.params, value=value)
        self.studies.ask("c")
        confirm = self.studies.ask_confirm("c", of=0, seed=7, key="k")
        self.end("confirm", 0, "complete", confirm.params, value=0.5, of=0)
        self.confirm_running = self.studies.ask_confirm("c", of=0, seed=8, key="k").number

    def open(self) -> Studies:
        spec = SearchSpec.model_validate(
            {"trials": 9, "sampler": "random", "pruner": {"name": "none"}}
        )
        return Studies(
            SqliteStorage(self.file).open(),
            sweep="s",
            sweep_id="deadbeef",
            cells={"c": CELL},
            search=spec,
            seed=0,
        )

    def end(self, stage: Stage, number: int, state: TrialState, params: Any, **values: Any) -> None:
        self.records.append(record(stage, number, state, params, **values))
        self.studies.tell("c", stage, number, outcome=state, value=values["value"])

    def change(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.file)) as database:
            for statement in statements:
                assert database.execute(statement).rowcount > 0, statement
            database.commit()

    @property
    def edits(self) -> list[str]:
        storage = SqliteStorage(self.file).open()
        return list(find_edits(storage, PREFIX, cells=[CELL], records=self.records))

    def study(self, name: str = SEARCH) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=f"sqlite:///{self.file}")


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def test_a_study_as_it_was_left_has_no_edits(left: Left) -> None:
    assert left.edits == []


def test_a_trial_that_was_recorded_and_not_told_is_no_edit(left: Left) -> None:
    left.records.append(record("search", 3, "complete", left.study().trials[3].params, value=0.5))
    assert left.edits == []


TRIAL = "(select trial_id from trials join studies using (study_id) where study_name = '{}' and "
THIRD = TRIAL.format(SEARCH) + "number = {})"

CHANGES: dict[str, tuple[tuple[str, ...], str]] = {
    "a trial deleted": (
        (f"delete from trials where trial_id = {THIRD.format(1)}",),
        f"{SEARCH}: trial 1, which ended pruned, is gone",
    ),
    "a running trial deleted before others": (
        (f"delete from trials where trial_id = {TRIAL.format(CONFIRM)}number = 0)",),
        f"{CONFIRM}: trial 0, which ended complete, is gone",
    ),
    "a value changed": (
        (f"update trial_values set value = 0.99 where trial_id = {THIRD.format(0)}",),
        f"{SEARCH}: trial 0 has the value 0.99, and ended with 0.30000000000000004",
    ),
    "a state changed": (
        (f"update trials set state = 'PRUNED' where trial_id = {THIRD.format(2)}",),
        f"{SEARCH}: trial 2 is PRUNED, and ended failed",
    ),
    "a running trial ended": (
        (f"update trials set state = 'FAIL' where trial_id = {THIRD.format(3)}",),
        f"{SEARCH}: trial 3 is FAIL, and records.jsonl has no record of it",
    ),
    "a parameter beyond its range": (
        (
            "update trial_params set param_value = 5.5 where param_name = 'train.optimizer.lr' "
            f"and trial_id = {THIRD.format(3)}",
        ),
        f"{SEARCH}: trial 3 has train.optimizer.lr: 5.5, outside of its range",
    ),
    "a parameter changed within its range": (
        (
            "update trial_params set param_value = 0.5 where param_name = 'train.optimizer.lr' "
            f"and trial_id = {THIRD.format(0)}",
        ),
        f"{SEARCH}: trial 0 has train.optimizer.lr: 0.5, and was trained with ",
    ),
    "a choice that is none": (
        (
            "update trial_params set param_value = 7 where param_name = 'loss.mask_ratio' "
            f"and trial_id = {THIRD.format(0)}",
        ),
        f"{SEARCH} can't be read: ",
    ),
    "a parameter renamed": (
        (
            "update trial_params set param_name = 'lr' where param_name = 'train.optimizer.lr' "
            f"and trial_id = {THIRD.format(0)}",
        ),
        f"{SEARCH}: trial 0 has lr, which is not searched",
    ),
    "a parameter deleted": (
        (
            "delete from trial_params where param_name = 'train.optimizer.lr' "
            f"and trial_id = {THIRD.format(0)}",
        ),
        f"{SEARCH}: trial 0 has no train.optimizer.lr",
    ),
    "a study renamed": (
        (f"update studies set study_name = 'mine' where study_name = '{SEARCH}'",),
        f"{SEARCH} is gone, 3 trials of it have ended",
    ),
    "a confirm trial of another": (
        (
            "update trial_user_attributes set value_json = '2' where key = 'of' and trial_id = "
            f"{TRIAL.format(CONFIRM)}number = 0)",
        ),
        f"{CONFIRM}: trial 0 confirms search trial 2 with seed 7, and was trained for 0 with 7",
    ),
    "a confirm trial of none": (
        (
            "update trial_user_attributes set value_json = '44' where key = 'of' and trial_id = "
            f"{TRIAL.format(CONFIRM)}number = 1)",
        ),
        f"{CONFIRM}: trial 1 confirms search trial 44 with seed 8, which is none",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_hand_is_told(left: Left, change: str) -> None:
    statements, said = CHANGES[change]
    left.change(*statements)
    assert left.edits[0].startswith(said), left.edits


def test_a_study_that_was_deleted_is_told(left: Left) -> None:
    optuna.delete_study(study_name=CONFIRM, storage=f"sqlite:///{left.file}")
    assert left.edits == [f"{CONFIRM} is gone, 1 trials of it have ended"]


def test_trials_that_were_added_are_told(left: Left) -> None:
    study = left.study()
    study.add_trial(study.trials[0])
    study.enqueue_trial({"loss.mask_ratio": 0.4})
    study.enqueue_trial({"loss.mask_ratio": 0.4}, user_attrs={"retry_of": 2})
    left.study(CONFIRM).ask()
    assert left.edits == [
        f"{SEARCH}: trial 4 is COMPLETE, and records.jsonl has no record of it",
        f"{SEARCH}: trial 5 waits to be asked, and the experiment file does not have its settings",
        f"{CONFIRM}: trial 2 confirms search trial None with seed None, which is none",
    ]


def test_edits_are_refused_with_what_to_do_and_exit_3(left: Left) -> None:
    left.change("update trial_values set value = 0.99", "update trials set state = 'FAIL'")
    storage = SqliteStorage(left.file).open()
    with pytest.raises(DataError, match="changed by hand since this sweep wrote it") as told:
        refuse_edits(storage, PREFIX, cells=[CELL], records=left.records)
    assert told.value.exit_code == 3
    assert "from copies of one moment" in str(told.value.remedy)


WHILE_RUNNING: dict[str, Callable[[Left], object]] = {
    "ended": lambda left: left.study().tell(3, state=optuna.trial.TrialState.FAIL),
    "deleted": lambda left: left.change(f"delete from trials where trial_id = {THIRD.format(3)}"),
    "deleted with its study": lambda left: optuna.delete_study(
        study_name=SEARCH, storage=f"sqlite:///{left.file}"
    ),
}


@pytest.mark.parametrize("change", WHILE_RUNNING)
def test_a_change_while_the_sweep_runs_stops_it_at_the_next_word(left: Left, change: str) -> None:
    WHILE_RUNNING[change](left)
    with pytest.raises(DataError, match="changed by hand while this sweep ran") as told:
        left.studies.report("c", 3, epoch=2, value=0.5)
    assert told.value.exit_code == 3
    with pytest.raises(DataError, match="changed by hand while this sweep ran"):
        left.studies.note("c", "search", 3, cause="x")


def test_a_study_deleted_while_the_sweep_runs_is_told_at_the_next_ask(left: Left) -> None:
    optuna.delete_study(study_name=SEARCH, storage=f"sqlite:///{left.file}")
    with pytest.raises(DataError, match="changed by hand while this sweep ran"):
        left.studies.ask("c")
    with pytest.raises(DataError, match="changed by hand while this sweep ran"):
        left.studies.tell("c", "search", 3, outcome="complete", value=0.5)
