"""Watching a local Ray: where it dies, Tune would wait for it for ever."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcl_bench.records import RunError, UserError

LOOK_SECONDS = 1.0
"""How often the processes are looked at."""

NEEDED = frozenset({"raylet", "gcs_server"})
"""The processes without which no trial can be placed."""


@contextmanager
def watched(on_death: Callable[[UserError], None]) -> Iterator[None]:
    """Tell `on_death` when a process of the local Ray dies in the block, then raise SIGTERM.

    The signal brings the main thread out of Tune; of a cluster elsewhere nothing is known here.
    """
    left = threading.Event()

    def watch() -> None:
        while not left.wait(LOOK_SECONDS):
            death = death_of_ray()
            if death is not None and not left.is_set():
                on_death(death)
                signal.raise_signal(signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def death_of_ray() -> RunError | None:
    """What to tell where a process of the local Ray has died; None while all live."""
    from ray._private import worker

    # Ray has no public word for this; a node that is not ours has no processes here.
    node = worker._global_node
    ended: list[tuple[str, object]] = [] if node is None else node.dead_processes()
    dead = sorted({kind for kind, _ in ended} & NEEDED)
    return local_ray_died(", ".join(dead)) if dead else None


def local_ray_died(what: str) -> RunError:
    """What to tell where the Ray that was started here is gone."""
    return RunError(
        f"the local Ray has died ({what})", remedy="nothing is lost: the same command goes on"
    )
