"""The tracker behind its spool, on a store that answers: it keeps to what every tracker must."""

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_tables import query, seen
from results_stories import epochs, record
from tracked import tracked
from tracker_contract import (
    CONFIG,
    MakeTracker,
    See,
    SeenTrial,
    TrackerContract,
    config,
    name,
    words,
)

from mcl_bench.results import SpooledTracker, spooled

SECONDS = 60.0
"""How long the store may take nothing."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: it takes seconds to make, and each test has its own sweep."""
    return tmp_path_factory.mktemp("a home") / "runs"


@pytest.fixture
def sweep() -> str:
    return f"story-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def drivers() -> Iterator[list[SpooledTracker]]:
    """The trackers of a test's drivers, of which only the last one lives."""
    made: list[SpooledTracker] = []
    yield made
    for tracker in made:
        tracker.close()


@pytest.fixture
def make_tracker(
    home: Path, sweep: str, drivers: list[SpooledTracker], monkeypatch: pytest.MonkeyPatch
) -> MakeTracker:
    monkeypatch.setattr(spooled, "START_SECONDS", SECONDS)

    def make() -> SpooledTracker:
        for earlier in drivers:
            earlier.settle(SECONDS)
            earlier.close()
        drivers.append(tracked(sweep, home))
        return drivers[-1]

    return make


@pytest.fixture
def see(home: Path, drivers: list[SpooledTracker]) -> See:
    def settled(run: str) -> SeenTrial:
        for driver in drivers:
            assert driver.settle(SECONDS) == 0
        return seen(home, run)

    return settled


class TestSpooled(TrackerContract):
    @pytest.fixture(autouse=True)
    def _home(self, home: Path, drivers: list[SpooledTracker]) -> None:
        self.home, self.drivers = home, drivers

    def artifacts(self, run_id: str) -> list[bytes]:
        self.drivers[-1].settle(SECONDS)
        ((uri,),) = query(self.home, "select artifact_uri from runs where run_uuid = ?", run_id)
        assert str(uri).startswith((self.home / "mlartifacts").as_uri())
        folder = next((self.home / "mlartifacts").rglob(run_id))
        return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def test_a_run_deleted_in_the_middle_of_its_trial_is_made_anew_and_blocks_nothing(
    make_tracker: MakeTracker, see: See, home: Path, sweep: str
) -> None:
    tracker = make_tracker()
    tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    tracker.open_cell(words())
    run = tracker.start_trial(config(sweep))
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("update runs set lifecycle_stage = 'deleted' where run_uuid = ?", (run,))
    known = epochs([0.2, 0.3])
    tracker.log_epochs(name(), known[:1])
    tracker.finish_trial(record(run_id=run, epochs=known))
    assert tracker.settle(SECONDS) == 0
    (note, back) = tracker.news().notes
    assert "must be in the 'active' state" in note
    assert back.startswith("MLflow takes the record again")
    (made,) = [one.run_id for one in tracker.inventory().trials]
    assert made is not None and made != run
    assert see(made).steps == [1, 2]
