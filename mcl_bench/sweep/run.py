"""Running one sweep from its checked experiment to its end, or as far as it gets."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mcl_bench import __version__, data
from mcl_bench.records import DataError, RunError, TrialRecord, UserError
from mcl_bench.spec import Experiment, load
from mcl_bench.sweep.book import Book, Listener, WriteTable, ask_tracker
from mcl_bench.sweep.cluster import alone, connected, trial_resources
from mcl_bench.sweep.disk import disk_told
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.edits import refuse_edits
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.growth import is_moved, is_tracked_elsewhere, refuse_changes
from mcl_bench.sweep.notes import notes
from mcl_bench.sweep.places import Places
from mcl_bench.sweep.settings import Progress, Settings, cell_words, sources
from mcl_bench.sweep.storage import Storage, storage_at
from mcl_bench.sweep.studies import Studies
from mcl_bench.sweep.tracker import Tracker
from mcl_bench.sweep.watch import RayWatch

if TYPE_CHECKING:
    from mcl_bench.sweep.nodes import Nodes

ELSEWHERE = (
    "tracking.uri names another MLflow than before: `mcl-bench doctor {} --fix` sends it what was "
    "recorded until now"
)

LEAVE_SECONDS = 6.0
"""How long an interrupted driver waits for running trials to write their checkpoints."""


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """How a sweep ended: its state, the exit status, its trials by state, and what failed.

    `failed` has each failed trial with its log, `unmet` why each failed cell has no whole result.
    """

    state: str
    exit: int
    trials: Mapping[str, int]
    failed: tuple[tuple[TrialRecord, Path], ...] = ()
    unmet: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outlets:
    """Whom a sweep tells what: the record for people, the table, and who watches it.

    `check` looks at data and networks, before anything is packed or started. `abandon` ends the
    process where a Ray that has died holds the main thread: it tells why, or, with None, that the
    sweep had been asked to leave.
    """

    tracker: Tracker
    write_table: WriteTable
    listener: Listener
    check: Callable[[], None]
    progress: Progress | None = None
    abandon: Callable[[UserError | None], None] = lambda _why: None


def run_sweep(
    experiment: Experiment,
    *,
    home: Path,
    outlets: Outlets,
    address: str | None = None,
    verbose: bool = False,
    new: bool = False,
) -> SweepOutcome:
    """Run a sweep, or go on with it; nothing is done where nothing is left to do.

    With `new` a sweep of this name that is there is kept under another one, and a fresh one is
    run; the looks at test of both count.

    Raises:
        UserError: another driver holds it, the file was changed, or the cluster can't place it.
        DataError: data is missing or damaged.
        RunError: the record could not be kept, or the Optuna storage does not answer any more.
    """
    folder = SweepFolder(home / "sweeps" / experiment.name, files_at=experiment.spec.files)
    settings = Settings(seed=experiment.spec.train.seed, store=home / "store")
    if new and folder.exists:
        outlets.check()
        settings.prepare(experiment.cells, outlets.progress)
        folder = _retire(experiment, folder, outlets.tracker)
    there = folder.open(experiment)
    try:
        with disk_told(), _held_storage(experiment, folder) as storage:
            kept = _refuse_change(experiment, folder, storage, there=there)
            studies = _studies(experiment, folder, storage, new=new)
            if kept is not None and is_tracked_elsewhere(kept, experiment):
                outlets.listener({"event": "note", "text": ELSEWHERE.format(experiment.name)})
            return _run(
                experiment, folder, studies, settings, outlets, address=address, verbose=verbose
            )
    except RunError:
        raise  # the same command goes on, with the same id
    except UserError:
        folder.discard()
        raise
    finally:
        outlets.tracker.close()
        folder.close()


@contextmanager
def _held_storage(experiment: Experiment, folder: SweepFolder) -> Iterator[Storage]:
    """The storage of the sweep's studies, which this driver holds meanwhile."""
    url = experiment.spec.search.storage or folder.database
    storage = storage_at(url, sweep=experiment.name, sweep_id=folder.id)
    try:
        storage.hold()
        yield storage
    finally:
        storage.close()


def _studies(
    experiment: Experiment, folder: SweepFolder, storage: Storage, *, new: bool
) -> Studies:
    opened = storage.open()
    if not new:
        storage.refuse_others(kept=folder.kept_ids())
    refuse_edits(
        opened,
        f"{experiment.name}@{folder.id}",
        cells=experiment.cells,
        records=folder.records(),
    )
    return Studies(
        opened,
        sweep=experiment.name,
        sweep_id=folder.id,
        cells={cell.id: cell for cell in experiment.cells},
        search=experiment.spec.search,
        seed=experiment.spec.train.seed,
    )


def _run(
    experiment: Experiment,
    folder: SweepFolder,
    studies: Studies,
    settings: Settings,
    outlets: Outlets,
    *,
    address: str | None,
    verbose: bool,
) -> SweepOutcome:
    book = Book(
        folder=folder,
        studies=studies,
        tracker=outlets.tracker,
        write_table=outlets.write_table,
        listener=outlets.listener,
    )
    driver = Driver(experiment, book=book, studies=studies, settings=settings)
    if driver.finished and folder.closed:
        folder.keep(experiment)
        for note in notes(driver.plan, studies, book):
            book.mention(note)
        book.send_rest(map(cell_words, experiment.cells), config=experiment.resolved)
        return _outcome(driver, book, _state(driver))
    outlets.check()
    for note in data.notes(experiment):
        book.mention(note)
    images = settings.prepare(experiment.cells, outlets.progress)
    folder.hold_digests({**images, **sources(experiment.cells)})
    folder.keep(experiment)

    def start() -> None:
        driver.open()
        for note in notes(driver.plan, studies, book):
            book.note(note)

    if driver.finished:  # an earlier driver died between its last trial and its end
        start()
        driver.end(_state(driver))
        return _outcome(driver, book, _state(driver))

    def abandon(death: RunError) -> None:
        why = driver.fault or driver.broken
        outlets.abandon(why or (None if driver.stopping else death))

    with connected(address, abandon=abandon, verbose=verbose) as watch:
        nodes = _nodes(experiment, book, settings, local=not address)
        state = _drive(experiment, driver, book, nodes, watch, start=start, verbose=verbose)
    return _outcome(driver, book, state)


def _nodes(experiment: Experiment, book: Book, settings: Settings, *, local: bool) -> "Nodes":
    """The nodes of the connected Ray, which are to have the packed images of every cell."""
    from mcl_bench.sweep.nodes import Nodes, Packing  # Ray's environment stands now

    packings = {
        cell.data_label: Packing(
            data=cell.spec.data.model_dump_json(),
            digest=settings.packed(cell).digest,
            path=str(settings.packed(cell).train_path),
        )
        for cell in experiment.cells
    }
    return Nodes(
        book.folder.files,
        shared=experiment.spec.files is not None,
        store=settings.store,
        packings=list(packings.values()),
        local=local,
        tell=book.note,
    )


def _retire(experiment: Experiment, folder: SweepFolder, tracker: Tracker) -> SweepFolder:
    """Keep the sweep of this name under another; returns the folder of the new one."""
    folder.open(experiment)
    try:
        with _held_storage(experiment, folder):
            name = folder.next_name()
            ask_tracker(tracker.retire_sweep, sweep_id=folder.id, name=name)
            folder.retire(name)
    finally:
        folder.close()
    return SweepFolder(folder.path, files_at=experiment.spec.files)


def _drive(
    experiment: Experiment,
    driver: Driver,
    book: Book,
    nodes: "Nodes",
    watch: RayWatch,
    *,
    start: Callable[[], None],
    verbose: bool,
) -> str:
    """Run what is left on the connected Ray; the state that the sweep ends in.

    Nothing is written before it is known that the cluster can hold every trial.
    """
    from mcl_bench.sweep.executor import execute  # Ray reads its environment when imported
    from mcl_bench.sweep.placing import Placer

    limit = experiment.spec.resources.max_concurrent
    with nodes:
        there = nodes.open(book.mention)
        needs = {cell.id: trial_resources(cell.resources, there) for cell in experiment.cells}
        whole = {cell: alone(need, there) for cell, need in needs.items()}
        slots = max(Places(there).count(need) for need in needs.values())
        start()
        placer = Placer(
            driver,
            watch=nodes.watch,
            needs=needs,
            limits={cell.id: cell.resources.max_concurrent for cell in experiment.cells},
            limit=limit,
            tell=book.note,
        )
        try:
            with _interruptible(driver), watch.over(driver.lose_ray):
                driver.begin(needs, slots=min(slots, limit or slots), alone=whole)
                execute(driver, placer, nodes=nodes, verbose=verbose)
        except KeyboardInterrupt:
            driver.stopping = True
        except UserError:
            raise
        except Exception as error:
            if not (driver.stopping and watch.look()):
                raise
            book.note(f"Ray died while trials left: {type(error).__name__}")
    if driver.fault is not None:
        raise driver.fault
    if driver.broken is not None:
        driver.end("failed")
        raise driver.broken
    driver.end(_state(driver))
    return _state(driver)


def _state(driver: Driver) -> str:
    """How the sweep stands if it ends here."""
    states = {cell.state() for cell in driver.plan.cells.values()}
    if driver.stopping and not driver.limits.spent:
        return "stopped" if driver.stopped else "interrupted"
    if "failed" in states:
        return "failed"
    return "complete" if states <= {"complete"} and not driver.plan.short else "budget"


def _outcome(driver: Driver, book: Book, state: str) -> SweepOutcome:
    failed = tuple(record for record in book.records if record.state == "failed")
    code = {"interrupted": 130, "stopped": 130, "failed": 1}.get(state, 1 if failed else 0)
    return SweepOutcome(
        state=state,
        exit=code,
        trials=dict(Counter(record.state for record in book.records)),
        failed=tuple(
            (record, book.folder.trial(record.cell, record.stage, record.trial) / "log.txt")
            for record in failed
        ),
        unmet={
            cell.id: cell.shortfall()
            for cell in driver.plan.cells.values()
            if cell.state() == "failed"
        },
    )


def _refuse_change(
    experiment: Experiment, folder: SweepFolder, storage: Storage, *, there: bool
) -> Experiment | None:
    """Refuse to go on with trials of another file, or without those that have been asked.

    Returns the experiment that they are of, as it was kept; None if there are none.
    """
    count, asked = storage.count_trials(), folder.has_asked
    if not (count or asked):
        return None
    if there:
        _refuse_version(folder)
    kept = load(folder.path / "experiment.yaml") if there else None
    if not count and (kept is None or not is_moved(kept, experiment)):
        raise DataError(
            f"the Optuna storage of this sweep's trials is gone: {storage.shown}",
            remedy="put it back from a copy, or start the sweep afresh with --new",
        )
    if kept is not None:
        refuse_changes(kept, experiment)
    return kept


def _refuse_version(folder: SweepFolder) -> None:
    made_by = folder.version
    if made_by.split(".")[:2] != __version__.split(".")[:2]:
        raise UserError(
            f"sweep {folder.path.name} was made by mcl_bench {made_by}, this is {__version__}: "
            "results compare within one Major.Minor only",
            remedy=f"go on with mcl_bench {made_by}, start afresh with --new, or give the sweep "
            "another name (name=OTHER)",
        )


@contextmanager
def _interruptible(driver: Driver) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the driver: kindly the first time, at once the second.

    Kindly: running trials have `LEAVE_SECONDS` to write their checkpoints.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_signal: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, kill)
        signal.signal(signal.SIGALRM, kill)
        signal.setitimer(signal.ITIMER_REAL, LEAVE_SECONDS)
        driver.stop()

    def kill(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
