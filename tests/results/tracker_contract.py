"""What every tracker must keep to; subclass it, give the fixtures, inherit the tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from results_stories import CE, MC, confirms, epochs, record

from mcl_bench.records import CellWords, Stage, TrialConfig, TrialId, TrialName, TrialRecord
from mcl_bench.sweep.tracker import Tracker

CONFIG = {"name": "story", "search": {"metric": "val/top1"}, "data": {"root": None}}
"""A sweep's resolved configuration, as far as a tracker reads it."""


def words(cell: str = CE) -> CellWords:
    return CellWords(
        id=cell,
        dataset="parts",
        backbone="convnet",
        weights="none",
        arm=cell.rpartition("-")[2],
    )


def config(
    sweep: str, cell: str = CE, stage: Stage = "search", number: int = 0, **settings: Any
) -> TrialConfig:
    like = record(cell, stage, number)
    return TrialConfig(
        id=TrialId(sweep=sweep, cell=cell, stage=stage, number=number),
        settings={**like.config, **settings},
        seed=like.seed,
        key=like.key,
        lease="aa",
        device="cpu",
        threads=1,
        folder="/nowhere",
        digest="d" * 64,
        store="/nowhere",
    )


def name(cell: str = CE, stage: Stage = "search", number: int = 0) -> TrialName:
    return cell, stage, number


def opened_run(run_id: str | None) -> str:
    """An id that is known."""
    assert run_id is not None
    return run_id


@dataclass(frozen=True, kw_only=True)
class SeenTrial:
    """A trial's run as the tracker's own store has it.

    `points` are all (metric, step, timestamp_ms, value) it holds, sorted.
    """

    status: str
    parent: str | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[tuple[str, int, int, float], ...]

    @property
    def steps(self) -> list[int]:
        """The steps of `train/loss`, with repetitions."""
        return [step for name, step, *_ in self.points if name == "train/loss"]


MakeTracker = Callable[[], Tracker]
See = Callable[[str], SeenTrial]


class TrackerContract:
    """Give `make_tracker` (each call another driver of one sweep), `see`, and `sweep`."""

    def opened(self, make_tracker: MakeTracker, sweep_id: str = "0a1b2c3d") -> Tracker:
        tracker = make_tracker()
        tracker.open_sweep(sweep_id=sweep_id, config=CONFIG)
        for cell in (CE, MC):
            tracker.open_cell(words(cell))
        return tracker

    def test_runs_nest_sweep_cell_trial(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = make_tracker()
        top = opened_run(tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG))
        cell = opened_run(tracker.open_cell(words(MC)))
        trial = opened_run(tracker.start_trial(config(sweep, MC)))
        assert see(top).parent is None
        assert see(cell).parent == top
        assert see(trial).parent == cell
        assert see(trial).status == "RUNNING"

    def test_opening_again_finds_the_same_runs(self, make_tracker: MakeTracker, see: See) -> None:
        first, second = make_tracker(), make_tracker()
        top = opened_run(first.open_sweep(sweep_id="0a1b2c3d", config=CONFIG))
        cell = opened_run(first.open_cell(words()))
        first.finish_sweep(state="interrupted")
        assert see(top).status == "KILLED"
        assert second.open_sweep(sweep_id="0a1b2c3d", config=CONFIG) == top
        assert second.open_cell(words()) == cell
        assert (see(top).status, see(top).tags["mcl.state"]) == ("RUNNING", "running")

    def test_epochs_sent_again_stand_once(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        known = epochs([0.2, 0.3, 0.4])
        tracker.log_epochs(name(), known[:2])
        tracker.log_epochs(name(), known)
        tracker.log_epochs(name(), [*known, known[0]])
        tracker.finish_trial(record(run_id=run, epochs=known, value=0.4))
        assert see(run).steps == [1, 2, 3]
        first = ("train/loss", 1, known[0].timestamp_ms, 1.0)
        assert first in see(run).points

    def test_another_driver_sends_only_the_missing_epochs(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        tracker.log_epochs(name(), epochs([0.2, 0.3]))
        again = self.opened(make_tracker)
        assert again.start_trial(config(sweep), known_run_id=run) == run
        # Trained again since the last checkpoint: the same epochs at other times.
        later = [
            type(epoch)(**{**epoch.to_dict(), "timestamp_ms": epoch.timestamp_ms + 999})
            for epoch in epochs([0.2, 0.3, 0.4])
        ]
        again.log_epochs(name(), later)
        assert see(run).steps == [1, 2, 3]

    def test_a_run_that_only_the_tracker_knows_is_adopted(
        self, make_tracker: MakeTracker, sweep: str
    ) -> None:
        run = opened_run(self.opened(make_tracker).start_trial(config(sweep, MC, number=4)))
        again = self.opened(make_tracker)
        assert again.start_trial(config(sweep, MC, number=3)) != run
        assert again.start_trial(config(sweep, MC, number=4)) == run
        assert len(again.inventory().trials) == 2

    def test_calls_that_are_repeated_make_no_second_run(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = make_tracker()
        top = opened_run(tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG))
        cell = opened_run(tracker.open_cell(words()))
        run = opened_run(tracker.start_trial(config(sweep)))
        assert tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG) == top
        assert tracker.open_cell(words()) == cell
        assert tracker.start_trial(config(sweep)) == run
        assert tracker.start_trial(config(sweep), known_run_id=run) == run
        assert see(run).parent == cell

    def test_an_unknown_run_id_makes_a_new_run(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep), known_run_id="0" * 32))
        assert see(run).tags["mcl.trial"] == "0"

    def test_an_interrupted_trial_is_killed_until_it_is_taken_up_again(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        tracker.interrupt_trial(name())
        assert (see(run).status, see(run).tags["mcl.state"]) == ("KILLED", "interrupted")
        again = self.opened(make_tracker)
        assert again.start_trial(config(sweep), known_run_id=run) == run
        assert (see(run).status, see(run).tags["mcl.state"]) == ("RUNNING", "running")

    @pytest.mark.parametrize(
        ("state", "status"),
        [
            ("complete", "FINISHED"),
            ("duplicate", "FINISHED"),
            ("pruned", "KILLED"),
            ("diverged", "KILLED"),
            ("failed", "FAILED"),
            ("retried", "FAILED"),
        ],
    )
    def test_a_finished_trial_has_the_status_of_its_state(
        self, make_tracker: MakeTracker, see: See, sweep: str, state: str, status: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        changes = {"state": state, "run_id": run, "cause": "a reason"}
        tracker.finish_trial(record(**changes))
        seen = see(run)
        assert (seen.status, seen.tags["mcl.state"]) == (status, state)
        assert seen.tags["mcl.cause"] == "a reason"

    def test_a_trial_finished_twice_stands_once(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        ended = record(run_id=run, epochs=epochs([0.2, 0.3]))
        tracker.finish_trial(ended)
        before = see(run)
        tracker.finish_trial(ended)
        self.opened(make_tracker).finish_trial(ended)
        assert see(run) == before
        assert before.steps == [1, 2]

    def test_a_duplicate_holds_the_values_that_it_was_told_and_whose(
        self, make_tracker: MakeTracker, see: See, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep)))
        twin = {"state": "duplicate", "duplicate_of": f"{MC}/search-0", "run_id": run}
        tracker.finish_trial(record(value=0.625, **twin))
        assert see(run).tags["mcl.duplicate_of"] == f"{MC}/search-0"
        assert [point[-1] for point in see(run).points if point[0] == "val/top1"] == [0.625]

    def test_a_cell_is_summarised_over_its_best_trials_seeds_once(
        self, make_tracker: MakeTracker, see: See
    ) -> None:
        tracker = make_tracker()
        tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
        cell = opened_run(tracker.open_cell(words()))
        old = confirms(CE, [0.1, 0.1])
        records: list[TrialRecord] = [
            record(value=0.5),
            record(trial=1, value=0.6),
            *old,
            *confirms(CE, [0.7, 0.8, 0.9], of=1, first=2),
        ]
        tracker.finish_cell(CE, state="complete", records=records)
        tracker.finish_cell(CE, state="complete", records=records)
        values = {name: value for name, _, _, value in see(cell).points}
        assert len(see(cell).points) == len(values)
        assert values["test/top1_mean"] == pytest.approx(0.8)
        assert values["test/top1_sd"] == pytest.approx(0.1)
        assert values["test/top1_ci_low"] == pytest.approx(0.8 - 4.302652729911275 * 0.1 / 3**0.5)
        assert values["seeds"] == 3
        assert (see(cell).status, see(cell).tags["mcl.state"]) == ("FINISHED", "complete")

    def test_the_inventory_tells_every_trial_with_its_state_and_the_steps_of_open_ones(
        self, make_tracker: MakeTracker, sweep: str
    ) -> None:
        tracker = self.opened(make_tracker)
        done = opened_run(tracker.start_trial(config(sweep)))
        tracker.finish_trial(record(run_id=done, state="pruned", epochs=epochs([0.2])))
        going = opened_run(tracker.start_trial(config(sweep, MC, "confirm", 2)))
        tracker.log_epochs(name(MC, "confirm", 2), epochs([0.2, 0.3]))
        found = {entry.run_id: entry for entry in self.opened(make_tracker).inventory().trials}
        assert found.keys() == {done, going}
        assert found[done].state == "pruned"
        assert (found[going].state, found[going].steps) == ("running", (1, 2))
        assert str(found[going].trial) == f"{sweep}/{MC}/confirm-2"

    def test_artifacts_are_kept(
        self, make_tracker: MakeTracker, sweep: str, tmp_path: Path
    ) -> None:
        tracker = self.opened(make_tracker)
        run = opened_run(tracker.start_trial(config(sweep, stage="confirm")))
        (tmp_path / "predictions.parquet").write_bytes(b"kept")
        kept = [tmp_path / "predictions.parquet"]
        tracker.finish_trial(record(stage="confirm", run_id=run), artifacts=kept)
        assert b"kept" in self.artifacts(run)

    def artifacts(self, run_id: str) -> list[bytes]:
        """The content of every artifact of a run."""
        raise NotImplementedError
