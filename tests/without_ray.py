"""Trials trained in the driver's own process, one epoch of each in turn, where Ray is no subject.

Everything else is real: the trainings, what workers say, studies, tracker, table and folder.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from mcl_bench.sweep.cluster import this_machine
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.places import Node
from mcl_bench.sweep.placing import Placer
from mcl_bench.sweep.trials import Launch
from mcl_bench.sweep.watch import Abandon, RayWatch
from mcl_bench.sweep.worker import Spoiled, TrialWorker


class Worker(TrialWorker):
    """The trainable that Tune would place, which asks nothing of Ray."""

    def __init__(self, launch: Launch, driver: Driver) -> None:
        self.lease = launch.trial.lease
        kept = signal.getsignal(signal.SIGTERM)  # the driver's, which this process has already
        self.setup(
            {
                "trial": json.dumps(launch.trial.to_dict()),
                "checkpoint": launch.checkpoint,
                "stop": str(driver.stop_file),
                "full": str(driver.limits.quota.full_file),
            }
        )
        signal.signal(signal.SIGTERM, kept)

    def step(self) -> dict[str, Any]:
        """What Tune passes on of a step, also where no other trial may follow in the process."""
        try:
            return super().step()
        except Spoiled as told:
            result: dict[str, Any] = json.loads(told.args[0])
            return result

    def __del__(self) -> None:
        self.cleanup()


class ThisMachine:
    """The only node there is."""

    selector = None

    def __init__(self, *_args: Any, **_settings: Any) -> None:
        self._nodes = [this_machine()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing has been opened."""

    def open(self, _mention: Any) -> list[Node]:
        """All nodes, which is this one."""
        return self._nodes

    def watch(self) -> list[Node]:
        """The same."""
        return self._nodes


def install() -> None:
    """Let a sweep that is run in this process do without Ray."""
    from mcl_bench.sweep import executor, nodes, run

    run.connected = _connected
    nodes.Nodes = ThisMachine  # type: ignore[assignment, misc]
    executor.execute = _execute


@contextmanager
def _connected(_address: str | None, *, abandon: Abandon, verbose: bool) -> Iterator[RayWatch]:  # noqa: ARG001
    yield RayWatch(abandon)


def _execute(driver: Driver, placer: Placer, *, nodes: Any, verbose: bool = False) -> None:  # noqa: ARG001
    """What Tune does: keep the places filled, and pass on what trials say."""
    live: list[Worker] = []
    while True:
        driver.mind_limits()
        while not driver.stopping and isinstance(step := placer.next(), Launch):
            live.append(Worker(step, driver))
        if not live:
            assert driver.stopping or driver.finished, "nothing runs and nothing can start"
            return
        worker = live.pop(0)
        if driver.on_result(worker.step()) == "go":
            live.append(worker)
        else:
            worker.cleanup()
            placer.free(worker.lease)
            driver.on_lost(worker.lease)
