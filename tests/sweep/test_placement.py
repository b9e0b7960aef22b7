"""Room on nodes, whose turn it is where trials differ in size, and what is refused; without Ray."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tracked import tracked

from mcl_bench.records import EpochRecord, UserError
from mcl_bench.results import write_table
from mcl_bench.spec import load
from mcl_bench.spec.schema import ResourcesSpec
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.cluster import trial_resources
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.places import Need, Node, Places
from mcl_bench.sweep.placing import FOLLOW_SECONDS, Placer
from mcl_bench.sweep.plan import Finished
from mcl_bench.sweep.settings import Settings
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.trials import Launch

SMALL, BIG = "parts-convnet-ce", "parts-convnet-mc"
ONE = {"CPU": 1.0, "GPU": 0.0}
TWO = {"CPU": 2.0, "GPU": 0.0}


def node(name: str, cpus: float, gpus: int = 0) -> Node:
    return Node(id=name, address=name, name=name, cpus=cpus, gpus=gpus)


def gpu(share: float) -> Need:
    return {"CPU": 0.5, "GPU": share}


def test_a_share_of_a_gpu_lies_on_one_gpu() -> None:
    places = Places([node("a", 8, gpus=2)])
    assert places.count(gpu(0.6)) == 2  # not the 3 that 2 GPUs are in sum
    places.take("one", gpu(0.6))
    places.take("two", gpu(0.6))
    assert not places.fits(gpu(0.6))
    assert places.fits(gpu(0.4))
    assert Places([node("a", 8, gpus=1)]).count(gpu(0.1)) == 10


def test_the_tightest_node_is_taken_so_that_a_big_trial_still_fits() -> None:
    places = Places([node("a", 4), node("b", 2)])
    places.take("small", ONE)
    places.take("second", ONE)
    assert places.fits({"CPU": 4.0, "GPU": 0.0})


def test_a_trial_that_is_elsewhere_than_thought_holds_room_there() -> None:
    places = Places([node("a", 2), node("b", 2)])
    for lease in ("one", "two"):
        places.take(lease, ONE)
    places.stands("one", "a")
    places.stands("two", "b")
    assert not places.fits(TWO)
    places.free("two")
    assert places.fits(TWO)


def test_trials_that_have_changed_places_free_none() -> None:
    places = Places([node("a", 1), node("b", 1)])
    for lease in ("one", "two"):
        places.take(lease, ONE)
    places.stands("one", "b")
    assert not places.fits(ONE)
    places.stands("two", "a")
    assert not places.fits(ONE)


def test_a_lost_node_takes_its_room_along_and_a_new_one_brings_some() -> None:
    places = Places([node("a", 1), node("b", 1)])
    places.take("one", ONE)
    places.stands("one", "b")
    places.follow([node("a", 1)])
    assert places.fits(ONE)
    places.take("two", ONE)
    places.free("one")
    assert not places.fits(ONE)
    places.follow([node("a", 1), node("c", 3)])
    assert places.fits(TWO)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"cpus": 5}, "resources.cpus: a trial needs 5 CPU, the biggest node has 4"),
        ({"gpus": 0.5, "cpus": 3}, "a trial needs 3 CPU beside its GPU, the biggest node"),
    ],
)
def test_what_no_single_node_can_hold_is_refused_though_all_together_could(
    spec: dict[str, float], told: str
) -> None:
    nodes = [node("a", 4), node("b", 2, gpus=1)]
    with pytest.raises(UserError, match=told):
        trial_resources(ResourcesSpec.model_validate(spec), nodes)


def test_a_gpu_where_there_is_none_is_refused_and_auto_takes_one_where_there_is() -> None:
    with pytest.raises(UserError, match="a trial needs 1 GPU, the biggest node has 0"):
        trial_resources(ResourcesSpec(gpus=1), [node("a", 4)])
    assert trial_resources(ResourcesSpec(), [node("a", 4)]) == ONE
    assert trial_resources(ResourcesSpec(), [node("a", 4), node("b", 1, gpus=1)])["GPU"] == 1


MakeDriver = Callable[..., Driver]


@pytest.fixture
def make_driver(tmp_path: Path, tiny_experiment: str) -> Iterator[MakeDriver]:
    """Makes a driver of two cells, of random search without a pruner; its records are real."""
    with ExitStack() as opened:

        def make(
            needs: dict[str, Need], *overrides: str, alone: dict[str, Need] | None = None
        ) -> Driver:
            file, home = tmp_path / "tiny.yaml", tmp_path / "runs"
            file.write_text(tiny_experiment)
            experiment = load(file, ["search.pruner=none", "confirm.seeds=1", *overrides])
            folder = SweepFolder(home / "sweeps/tiny")
            folder.open(experiment)
            opened.callback(folder.close)
            settings = Settings(seed=0, store=home / "store")
            settings.prepare(experiment.cells)
            studies = Studies(
                folder.database,
                sweep="tiny",
                sweep_id=folder.id,
                cells={cell.id: cell for cell in experiment.cells},
                search=experiment.spec.search,
                seed=0,
            )
            tracker = tracked("tiny", home)
            opened.callback(tracker.close)
            book = Book(
                folder=folder,
                studies=studies,
                tracker=tracker,
                write_table=write_table,
                listener=lambda _event: None,
            )
            driver = Driver(experiment, book=book, studies=studies, settings=settings)
            driver.open()
            driver.begin(needs, alone=alone)
            return driver

        yield make


class Line:
    """Runs a placer's trials by hand, as a cluster would: a trial starts once it fits a node."""

    def __init__(
        self,
        driver: Driver,
        needs: dict[str, Need],
        nodes: list[Node],
        *,
        limit: int | None = None,
        limits: dict[str, int] | None = None,
    ) -> None:
        self.driver, self.needs, self.nodes = driver, needs, nodes
        self.now = 0.0
        self.notes: list[str] = []
        self.cluster = Places(nodes)
        self.waiting: list[Launch] = []
        self.running: dict[str, Launch] = {}
        self.started: list[str] = []
        self.most = 0
        self.placer = Placer(
            driver,
            watch=lambda: list(self.nodes),
            needs=needs,
            limits={SMALL: None, BIG: None, **(limits or {})},
            limit=limit,
            tell=self.notes.append,
            clock=lambda: self.now,
        )

    def fill(self) -> bool:
        """Start all that can start; True at the sweep's end."""
        while isinstance(step := self.placer.next(), Launch):
            self.waiting.append(step)
        self.most = max(self.most, len(self.running) + len(self.waiting))
        for launch in list(self.waiting):
            if self.cluster.fits(launch.resources):
                self.cluster.take(launch.trial.lease, launch.resources)
                self.waiting.remove(launch)
                self.running[launch.trial.lease] = launch
                self.started.append(launch.trial.id.cell)
        return isinstance(step, Finished)

    def used(self) -> float:
        return sum(launch.resources["CPU"] for launch in self.running.values())

    def runs(self, cell: str) -> int:
        return sum(launch.trial.id.cell == cell for launch in self.running.values())

    def follow(self, *nodes: Node) -> None:
        """The cluster has these nodes from now on."""
        self.nodes = list(nodes)
        self.cluster.follow(nodes)

    def leave_first(self) -> Launch:
        """Let the trial that started first leave its node; the driver has not heard of it yet."""
        lease = next(iter(self.running))
        self.cluster.free(lease)
        self.now += FOLLOW_SECONDS
        return self.running.pop(lease)

    def lose_first(self, cause: str) -> None:
        """Let the worker of the trial that started first be killed."""
        lease = self.leave_first().trial.lease
        self.placer.free(lease)
        self.driver.on_lost(lease, cause=cause)

    def end_first(self) -> None:
        """Let the trial that started first end."""
        launch = self.leave_first()
        lease = launch.trial.lease
        search = {"val/top1": 0.5, "val/macro_top1": 0.5, "val/loss": 1.0, "train/loss": 1.0}
        scores = search if launch.trial.id.stage == "search" else {"test/top1": 0.5}
        record = EpochRecord(epoch=1, timestamp_ms=1, metrics=scores, last=True)
        result = {"lease": lease, "seconds": 1.0, "earlier": "[]", "pid": 1}
        self.driver.on_result({**result, "record": json.dumps(record.to_dict())})
        self.placer.free(lease)


def test_small_trials_take_the_room_that_a_big_one_cannot_and_it_is_not_starved(
    make_driver: MakeDriver,
) -> None:
    needs: dict[str, Need] = {SMALL: ONE, BIG: TWO}
    driver = make_driver(needs, "search.trials=12")
    line = Line(driver, needs, [node("a", 2)])
    idle = 0.0
    while not line.fill():
        idle += 2 - line.used()
        assert line.used() <= 2
        line.end_first()
    assert line.started.count(SMALL) == line.started.count(BIG) == 13
    # Were the big ones only taken when both halves happen to be free, they would all come last.
    firsts = [index for index, cell in enumerate(line.started) if cell == BIG]
    assert firsts[6] < 20
    # Room stands idle only while it is made for a big trial: once a tenth of the work or less.
    assert idle <= 8


def test_a_big_trial_that_waits_leaves_the_other_nodes_to_small_ones(
    make_driver: MakeDriver,
) -> None:
    needs: dict[str, Need] = {SMALL: ONE, BIG: TWO}
    line = Line(make_driver(needs, "search.trials=8"), needs, [node("a", 2), node("b", 1)])
    line.fill()
    assert line.used() == 3
    while not line.fill():
        owed = line.started.count(SMALL) < 8
        assert line.runs(SMALL) or not owed, "node b stands idle"
        line.end_first()


def test_no_more_run_than_max_concurrent_says_of_the_sweep_or_of_a_cell(
    make_driver: MakeDriver,
) -> None:
    needs: dict[str, Need] = {SMALL: ONE, BIG: ONE}
    line = Line(make_driver(needs), needs, [node("a", 8)], limit=3, limits={BIG: 1})
    while not line.fill():
        assert line.runs(BIG) <= 1
        line.end_first()
    assert line.most == 3


def test_slots_follow_the_nodes_and_a_cell_without_a_node_says_so(
    make_driver: MakeDriver,
) -> None:
    needs: dict[str, Need] = {SMALL: ONE, BIG: TWO}
    line = Line(make_driver(needs, "search.trials=8"), needs, [node("a", 1), node("b", 2)])
    line.fill()
    assert line.used() == 3
    line.follow(node("a", 1))
    for _ in range(4):
        line.end_first()
        line.fill()
    assert line.notes == [f"{BIG}: no node can hold its trials now; they wait for one"]
    assert (line.runs(SMALL), line.runs(BIG)) == (1, 0)
    line.follow(node("a", 1), node("c", 4))
    line.end_first()
    line.fill()
    assert line.used() == 5


def test_a_trial_that_is_to_run_alone_says_so_where_its_node_has_gone_and_waits_for_another(
    make_driver: MakeDriver,
) -> None:
    needs: dict[str, Need] = {SMALL: ONE, BIG: ONE}
    driver = make_driver(needs, alone={cell: {"CPU": 4.0, "GPU": 0.0} for cell in needs})
    line = Line(driver, needs, [node("a", 1), node("b", 4)])
    line.fill()
    lost = line.started[0]
    line.follow(node("a", 1))
    line.lose_first("oom: Task was killed")
    line.fill()
    assert [launch.alone for launch in line.waiting] == [True]
    for _ in range(2):
        line.end_first()
        line.fill()
    told = f"{lost}: no node can hold its trial that is to run alone now; it waits for one"
    assert line.notes == [told]
    line.follow(node("a", 1), node("c", 4))
    while not line.fill():
        line.end_first()
    assert line.waiting == []
    assert line.notes == [told]
