"""One arm runs out of memory: all arms of its data × model go on in pieces, and no other cell."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driven import driving, epoch, told, train
from in_process import Killed, Sweep
from running import read_lines

from mcl_bench.cli.doctor import sides_of
from mcl_bench.cli.tally import Goal, Tally
from mcl_bench.doctor import examine
from mcl_bench.records import Finding, TrialRecord
from mcl_bench.results import Row, leaderboard, read_records
from mcl_bench.results.status import sweep_status
from mcl_bench.results.terminal import table_text
from mcl_bench.spec import load
from mcl_bench.sweep import faults
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.lease import named_lease
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.replay import replay
from mcl_bench.sweep.scratch import ScratchSide
from mcl_bench.sweep.trials import Launch

TEXT = """\
version: 1
name: tiny
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  own: {loss: {name: 'own_losses:Hungry', options: {images: 4}}}
train:
  epochs: 1
  batch_size: 8
  optimizer: {name: adamw, lr: 0.01}
  allow_micro_batch: true
search:
  trials: 2
  sampler: random
  pruner: none
  space: {train.optimizer.lr: {log: [0.001, 0.05]}}
matrix:
  data:
    - {name: parts, label: big}
    - {name: parts, label: small, train: {batch_size: 4}}
confirm: {seeds: 1}
"""
GROUP = ("big-convnet-ce", "big-convnet-own")
OTHERS = {"small-convnet-ce", "small-convnet-own"}
OWN = "big-convnet-own"
OOM = "oom: OutOfMemoryError: CUDA out of memory"
KILLS = (
    *faults.PIECES_POINTS,
    "in-pieces",
    "before-record",
    "after-record",
    "after-tell",
)
"""Where the driver dies, one after another: each one goes on with what the others have left."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home of all these sweeps: making its databases takes longer than most of them."""
    return tmp_path_factory.mktemp("pieces") / "runs"


@pytest.fixture
def sweep(home: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setenv("MCL_HOME", str(home))
    name = f"sweep{len(list(home.parent.glob('*.yaml')))}"
    file = home.parent / f"{name}.yaml"
    file.write_text(TEXT.replace("tiny", name))
    return Sweep(file=file, home=home, slots=2)


@pytest.fixture
def one_group(sweep: Sweep) -> Sweep:
    """The same without the other data set."""
    lines = [line for line in sweep.file.read_text().splitlines() if "label: small" not in line]
    sweep.file.write_text("\n".join(lines) + "\n")
    return sweep


def folder_of(sweep: Sweep) -> Path:
    return sweep.home / "sweeps" / sweep.file.stem


def rows_of(sweep: Sweep) -> list[Row]:
    return leaderboard(sweep.home, [sweep.file.stem])


Hungry = Callable[[Launch], bool]
"""Whether there is no memory for a trial."""


def has_no_memory(launch: Launch) -> bool:
    """Of the one arm there is memory for half a batch."""
    return launch.trial.id.cell == OWN and of_launch(launch) < 2


def soon_has_no_memory(launch: Launch) -> bool:
    """The same, after some trials have ended."""
    return has_no_memory(launch) and launch.trial.id.number >= 2


def of_launch(launch: Launch) -> int:
    return int(launch.trial.settings.get("train.micro_batches", 1))


def play(sweep: Sweep, hungry: Hungry = has_no_memory, *, prepare: Any = None) -> None:
    """Drive the sweep to its end by workers that train nothing."""
    with driving(load(sweep.file, list(sweep.overrides)), sweep.home) as driver:
        live: list[Launch] = []
        while True:
            while len(live) < sweep.slots and isinstance(step := driver.next(), Launch):
                live.append(step)
            if not live:
                assert isinstance(step, Finished), "nothing runs and nothing can start"
                break
            _play(driver, live.pop(0), hungry, prepare)
        driver.end("complete")


def _play(driver: Driver, launch: Launch, hungry: Hungry, prepare: Any) -> None:
    if named_lease(Path(launch.trial.folder).parent) != launch.trial.lease:
        assert driver.on_result(epoch(launch, 1, 0.5, last=True)) == "stop"
    elif hungry(launch):
        if prepare is not None:
            prepare(driver)
        driver.on_result(told(launch, outcome="failed", cause=OOM))
    else:
        train(driver, launch)


def by_cell(sweep: Sweep) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for record in read_records(folder_of(sweep)):
        found.setdefault(record.cell, []).append(record)
    return found


def pieces(record: TrialRecord) -> int:
    return int(record.config.get("train.micro_batches", 1))


def wrong(sweep: Sweep) -> list[Finding]:
    """What `doctor` finds, but for the temporary folders of this machine."""
    folder = SweepFolder(folder_of(sweep))
    folder.read()
    sides = sides_of(load(sweep.file, list(sweep.overrides)), folder, running=False)
    return examine([side.inventory() for side in sides if not isinstance(side, ScratchSide)])


def decisions(sweep: Sweep) -> list[dict[str, Any]]:
    lines = read_lines(folder_of(sweep) / "events.jsonl")
    return [line for line in lines if line["event"] == "pieces"]


def values(sweep: Sweep) -> dict[tuple[str, str, str], Any]:
    """What counts of every cell, by what was trained: not by numbers, which a kill may move."""
    return {
        (record.cell, record.stage, record.key): (record.state, record.value, record.test_top1)
        for records in by_cell(sweep).values()
        for record in records
        if record.state != "retried"
    }


def check(sweep: Sweep, *, trials: int = 2, count: int = 2) -> None:
    """All that counts of the group is trained in these pieces; of the others nothing is touched."""
    cells = by_cell(sweep)
    for cell in GROUP:
        counted = [record for record in cells[cell] if record.state != "retried"]
        assert Counter(record.stage for record in counted) == {"search": trials, "confirm": 1}
        assert {pieces(record) for record in counted} == {count}
        assert all(pieces(one) < count for one in cells[cell] if one.state == "retried")
    for cell in OTHERS & cells.keys():
        assert len(cells[cell]) == trials + 1
        assert {pieces(record) for record in cells[cell]} == {1}
        assert "retried" not in {record.state for record in cells[cell]}
    for row in rows_of(sweep):
        assert (row.state, row.trials, row.n) == ("complete", trials, 1)
        assert row.pieces == (count if row.cell in GROUP else 1)
    assert wrong(sweep) == []


def check_counted(sweep: Sweep) -> None:
    """The live count of an undisturbed sweep comes to what is recorded."""
    experiment = load(sweep.file, list(sweep.overrides))
    goals = [Goal(cell=cell.id, trials=cell.trials, seeds=1, epochs=1) for cell in experiment.cells]
    tally = Tally(sweep.file.stem, goals, metric="val/top1")
    for event in read_lines(folder_of(sweep) / "events.jsonl"):
        tally.hear(event)
    count = tally.count()
    records = [record for found in by_cell(sweep).values() for record in found]
    assert count.states == Counter(record.state for record in records)
    assert count.done == count.total == len(records)


def check_replayed(sweep: Sweep) -> None:
    """What was asked, in which order, is asked again."""
    experiment = load(sweep.file, list(sweep.overrides))
    folder = SweepFolder(folder_of(sweep))
    folder.read()
    found = replay(experiment, folder.path, sweep_id=folder.id, records=folder.records())
    assert [cell.difference for cell in found] == [None] * len(experiment.cells)


def test_all_arms_of_the_data_and_model_are_run_again_in_pieces_and_no_other(
    sweep: Sweep,
) -> None:
    sweep.drive()
    check(sweep)
    check_counted(sweep)
    check_replayed(sweep)
    (event,) = decisions(sweep)
    assert tuple(event["cells"]) == GROUP
    assert (event["pieces"], event["by"]) == (2, "big-convnet-own/search-0")
    assert event["cause"].startswith("oom: OutOfMemoryError")
    first = by_cell(sweep)["big-convnet-own"][0]
    assert first.state == "retried"
    assert first.cause == event["cause"]
    status = sweep_status(folder_of(sweep))
    assert {cell.cell: cell.pieces for cell in status.cells} == {
        **dict.fromkeys(GROUP, 2),
        **dict.fromkeys(OTHERS, 1),
    }
    text = table_text(rows_of(sweep))
    assert text.count("(batches in 2 pieces)") == len(GROUP)
    assert text.count("Batches in pieces:") == 1


def test_a_driver_that_dies_over_the_decision_is_followed_by_one_that_ends_it(
    one_group: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, overrides = one_group.file, ("search.trials=3",)
    killed = Sweep(file=file, home=one_group.home, overrides=overrides, slots=3)
    for wanted in KILLS:
        decided = False

        def end_there(point: str, wanted: str = wanted) -> None:
            nonlocal decided
            decided = decided or point == "before-pieces" or bool(decisions(killed))
            if decided and point == wanted:
                raise Killed(point)

        monkeypatch.setattr(faults, "at_point", end_there)
        with pytest.raises(Killed, match=wanted):
            play(killed, soon_has_no_memory)
    monkeypatch.setattr(faults, "at_point", faults.hold)
    play(killed, soon_has_no_memory)
    check(killed, trials=3)
    check_replayed(killed)
    (event,) = decisions(killed)
    assert event["by"].startswith(OWN)
    other = file.with_stem(f"{file.stem}_undisturbed")
    other.write_text(file.read_text().replace(file.stem, other.stem))
    undisturbed = Sweep(file=other, home=one_group.home, overrides=overrides, slots=3)
    play(undisturbed, soon_has_no_memory)
    assert values(killed) == values(undisturbed)


def test_samplers_and_pruners_learn_nothing_from_what_is_run_again(one_group: Sweep) -> None:
    """As `replay` finds, which forgets it at the same moment; and a resumed sweep does."""
    words = ("search.sampler=tpe", "search.pruner={name: asha, grace: 1, reduction: 2}")
    overrides = (*words, "search.trials=5")
    sweep = Sweep(file=one_group.file, home=one_group.home, overrides=overrides, slots=2)
    play(sweep, soon_has_no_memory)
    check(sweep, trials=5)
    check_counted(sweep)
    check_replayed(sweep)
    with driving(load(sweep.file, list(overrides)), sweep.home) as driver:
        again = {one.number: one for one in driver._studies.trials(OWN, "search")}
    for record in by_cell(sweep)[OWN]:
        if record.stage == "search" and record.state == "retried":
            assert (again[record.trial].state, again[record.trial].value) == ("FAIL", None)


def test_a_confirm_trial_out_of_memory_has_the_search_made_again_and_all_looks_counted(
    one_group: Sweep,
) -> None:
    sweep = one_group
    play(sweep, lambda launch: launch.trial.id.stage == "confirm" and has_no_memory(launch))
    check(sweep)
    check_counted(sweep)
    check_replayed(sweep)
    assert Counter(record.state for record in by_cell(sweep)[OWN]) == {
        "retried": 3,
        "complete": 3,
    }
    looks = {row.cell: row.test_looks for row in rows_of(sweep)}
    assert looks[OWN] == 2


def test_pieces_are_halved_until_one_would_hold_fewer_than_two_images(one_group: Sweep) -> None:
    sweep = one_group
    play(sweep, lambda launch: launch.trial.id.cell == OWN)
    assert [event["pieces"] for event in decisions(sweep)] == [2, 4]
    cells = by_cell(sweep)
    failed = [record for record in cells[OWN] if record.state != "retried"]
    assert [(record.state, record.cause, pieces(record)) for record in failed] == [
        ("failed", OOM, 4)
    ] * 2
    others = [record for record in cells["big-convnet-ce"] if record.state != "retried"]
    assert [(record.state, pieces(record)) for record in others] == [("complete", 4)] * 3
    assert wrong(sweep) == []


@pytest.mark.parametrize("override", ["arms.ce.train.allow_micro_batch=false", None])
def test_where_an_arm_forbids_it_or_the_search_is_closed_a_trial_fails(
    one_group: Sweep, override: str | None
) -> None:
    overrides = ("search.trials=1", *([] if override is None else [override]))
    changed = Sweep(file=one_group.file, home=one_group.home, overrides=overrides)
    play(changed, prepare=(lambda driver: driver.plan.close()) if override is None else None)
    assert decisions(changed) == []
    states = {(one.state, one.cause) for one in by_cell(changed)[OWN]}
    assert states == {("failed", OOM)}
    assert {pieces(one) for records in by_cell(changed).values() for one in records} == {1}


def test_an_arm_that_is_added_later_is_trained_in_pieces_too(one_group: Sweep) -> None:
    sweep = one_group
    play(sweep)
    grown = Sweep(file=sweep.file, home=sweep.home, overrides=("arms.new={loss: {name: focal}}",))
    play(grown)
    cells = by_cell(sweep)
    assert {pieces(record) for record in cells["big-convnet-new"]} == {2}
