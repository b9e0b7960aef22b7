"""The spool's file, the thread that sends it, and which trials have a run."""

import json
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from results_stories import CE, MC, epochs, record
from tracked import tracked
from tracker_contract import CONFIG, config, name, words

from mcl_bench.records import DataError, EpochRecord, TrialName, TrialRecord
from mcl_bench.results import MlflowTracker, SpooledTracker, chosen, writer
from mcl_bench.results.chosen import Chosen
from mcl_bench.results.delivery import deliver
from mcl_bench.results.spool import Entry, Spool, read_state
from mcl_bench.results.writer import Writer

SECONDS = 60.0


def entry(call: str = "start", number: int = 0, **more: object) -> Entry:
    return Entry(call=call, at=1.5, trial=name(number=number), words=more)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool.jsonl")
    made.open()
    return made


def test_what_was_noted_as_sent_is_not_taken_again_by_the_next_driver(spool: Spool) -> None:
    for number in range(3):
        spool.append(entry(number=number), sync=True)
    batch = spool.take()
    assert batch is not None
    assert [one.trial for one in batch.entries] == [name(number=number) for number in range(3)]
    spool.append(entry(number=3), sync=False)
    again = Spool(spool.path)
    again.open()
    assert again.unsent == 4
    spool.sent(batch)
    again.open()
    assert again.entries() == [entry(number=3)]


def test_a_file_whose_entries_have_all_been_sent_is_deleted(spool: Spool) -> None:
    spool.append(entry(), sync=True)
    spool.clear()
    batch = spool.take()
    assert batch is not None
    spool.sent(batch)
    assert spool.path.exists()
    spool.clear()
    assert not spool.path.exists()
    spool.append(entry(number=1), sync=True)
    assert spool.entries() == [entry(number=1)]


def test_a_file_that_has_grown_is_begun_anew_once_all_is_sent(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl_bench.results.spool.MAX_SENT_BYTES", 1000)
    for number in range(100):
        spool.append(entry(number=number), sync=False)
        batch = spool.take()
        assert batch is not None
        spool.sent(batch)
    assert not spool.path.exists() or spool.path.stat().st_size < 2000


def test_a_line_torn_by_a_crash_is_cut_off(spool: Spool) -> None:
    spool.append(entry(text="é\u2028\r"), sync=True)
    with spool.path.open("ab") as file:
        file.write(b'{"call": "sta')
    again = Spool(spool.path)
    again.open()
    assert again.entries() == [entry(text="é\u2028\r")]
    assert spool.path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("line", ["{}", "no json", "[1]", '{"sent": "x"}'])
def test_a_damaged_line_is_told_with_its_place_and_the_remedy(spool: Spool, line: str) -> None:
    spool.append(entry(), sync=True)
    with spool.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"spool\.jsonl:2: damaged.*\n.*doctor NAME --fix"):
        read_state(spool.path)


def test_a_full_disk_is_raised_and_tears_no_line(spool: Spool) -> None:
    """The kernel's limit on a file's size cuts a line in its middle, as a full disk does."""
    spool.append(entry(), sync=True)
    before = spool.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            spool.append(entry(text="x" * 100), sync=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert spool.path.read_bytes() == before
    assert spool.unsent == 1


class Counting(MlflowTracker):
    """A real one, which remembers how often and of which epochs it was told."""

    told: list[tuple[TrialName, list[int]]]

    def log_epochs(self, trial: TrialName, records: Sequence[EpochRecord]) -> None:
        self.told.append((trial, [one.epoch for one in records]))
        super().log_epochs(trial, records)


def test_the_epochs_of_a_trial_go_together_and_those_of_one_that_ends_with_its_record(
    tmp_path: Path,
) -> None:
    mlflow = Counting(sweep="story", uri=f"sqlite:///{tmp_path}/mlflow.db", home=tmp_path)
    mlflow.told = []
    mlflow.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    mlflow.open_cell(words())
    known = epochs([0.2, 0.3, 0.4])
    entries = [
        entry(number=k, config=config("story", number=k).to_dict(), known=None) for k in (0, 1)
    ]
    for epoch in known:
        entries += [entry("epochs", number=k, records=[epoch.to_dict()]) for k in (0, 1)]
    ended = record(trial=1, epochs=known).to_json()
    entries.append(entry("finish", number=1, record=ended, artifacts=[]))
    learnt: dict[TrialName, str] = {}
    deliver(entries, mlflow, learn=lambda trial, run_id: learnt.update({trial: run_id}))
    assert mlflow.told == [(name(number=1), [1, 2, 3]), (name(number=0), [1, 2, 3])]
    assert learnt == {one: mlflow.run_id(one) for one in (name(), name(number=1))}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for constant in ("FIRST_PAUSE", "LONGEST_PAUSE", "GHOST_SECONDS"):
        monkeypatch.setattr(writer, constant, 0.01)


class Store:
    """What is sent to; it fails so many times first."""

    def __init__(self, fails: int) -> None:
        self.fails = fails
        self.taken: list[Entry] = []
        self.asked = 0

    def send(self, entries: Sequence[Entry]) -> None:
        self.asked += 1
        if self.asked <= self.fails:
            raise ConnectionError(f"http://me:hush@tracking/?password=hush{'!' * 999}\nmore")
        self.taken += entries


@pytest.fixture
def write(spool: Spool) -> Iterator[Callable[[Store], tuple[Writer, list[str]]]]:
    made: list[Writer] = []

    def begin(store: Store) -> tuple[Writer, list[str]]:
        told: list[str] = []
        made.append(
            Writer(
                spool,
                send=store.send,
                probe=lambda: None,
                tell=told.append,
                reach=lambda _point: None,
            )
        )
        made[-1].start()
        return made[-1], told

    yield begin
    for one in made:
        one.stop()


@pytest.mark.usefixtures("quick")
def test_an_outage_is_told_once_and_so_is_its_end_and_no_password_is(
    spool: Spool, write: Callable[[Store], tuple[Writer, list[str]]]
) -> None:
    store = Store(fails=5)
    thread, told = write(store)
    for number in range(4):
        spool.append(entry(number=number), sync=False)
    assert thread.wait_for(lambda: spool.unsent == 0, SECONDS)
    assert [one.trial for one in store.taken] == [name(number=number) for number in range(4)]
    thread.stop()
    away, back = told
    assert away.startswith("MLflow does not take the record (ConnectionError: http://me:***@trac")
    assert "password=***" in away
    assert "hush" not in away + back
    assert "\n" not in away
    assert len(away) < 400
    assert back.startswith("MLflow takes the record again")


def test_what_ends_the_thread_is_raised_to_who_waits_for_it(spool: Spool) -> None:
    def end(_point: str) -> None:
        raise KeyboardInterrupt

    store = Store(fails=0)
    thread = Writer(spool, send=store.send, probe=lambda: None, tell=lambda _: None, reach=end)
    thread.start()
    spool.append(entry(), sync=False)
    with pytest.raises(KeyboardInterrupt):
        thread.wait_for(lambda: False, SECONDS)
    with pytest.raises(KeyboardInterrupt):
        thread.start()


def test_no_start_of_a_trial_waits_while_the_one_before_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracked("story", tmp_path)
    tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    tracker.open_cell(words())
    monkeypatch.setattr("mcl_bench.results.spooled.START_SECONDS", 0.2)
    with held(tracker):
        assert tracker.start_trial(config("story")) is None
        monkeypatch.setattr("mcl_bench.results.spooled.START_SECONDS", SECONDS)
        assert tracker.start_trial(config("story", number=1)) is None
        assert tracker.news().run_ids == {}
    assert tracker.settle(SECONDS) == 0
    named = tracker.news().run_ids
    assert named.keys() == {name(), name(number=1)}
    third = tracker.start_trial(config("story", number=2))
    assert third is not None
    assert tracker.news().run_ids == {}
    tracker.close()
    spool = tmp_path / "sweeps/story/spool.jsonl"
    assert not spool.exists()


@contextmanager
def held(tracker: SpooledTracker) -> Iterator[None]:
    """MLflow answers nothing meanwhile."""
    with tracker._calls:
        yield


def search(number: int, value: float | None, *, cell: str = CE, **more: object) -> TrialRecord:
    return record(cell, trial=number, value=value, **more)


def test_only_confirm_trials_have_a_run_with_confirmed() -> None:
    choice = Chosen("confirmed", metric="val/top1")
    assert not choice.runs("search")
    assert not choice.keeps(search(0, 0.9))
    assert choice.runs("confirm")
    assert choice.keeps(record(stage="confirm", value=0.1))


def test_with_top_a_search_trial_has_a_run_if_few_before_it_were_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chosen, "TOP", 2)
    records = [search(number, value) for number, value in enumerate([0.5, 0.7, 0.6, 0.4, 0.6, 0.8])]
    records += [search(6, 0.9, state="pruned"), search(7, None, state="failed")]
    records += [search(8, float("nan")), search(0, 0.1, cell=MC)]
    choice = Chosen("top", metric="val/top1")
    kept = [choice.keeps(one) for one in records]
    assert kept == [True, True, True, False, False, True, False, False, False, True]
    assert [choice.keeps(one) for one in reversed(records)] == kept[::-1], "asked again"
    again = Chosen("top", metric="val/top1")
    again.hear(records)
    assert [again.keeps(one) for one in records] == kept, "heard by the next driver"


def test_with_top_a_lower_loss_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "TOP", 1)
    choice = Chosen("top", metric="val/loss")
    assert [choice.keeps(search(k, value)) for k, value in enumerate([0.5, 0.7, 0.4])] == [
        True,
        False,
        True,
    ]


def test_a_spool_holds_no_word_of_where_mlflow_is(tmp_path: Path) -> None:
    tracker = tracked("story", tmp_path)
    tracker.open_sweep(sweep_id="0a1b2c3d", config={**CONFIG, "tracking": {"uri": "x://me:hush@y"}})
    tracker.open_cell(words())
    with held(tracker):
        tracker.finish_sweep(state="complete")
        text = (tmp_path / "sweeps/story/spool.jsonl").read_text()
        assert [json.loads(line)["call"] for line in text.splitlines()] == ["sweep"]
        assert "hush" not in text
    tracker.settle(SECONDS)
    tracker.close()
