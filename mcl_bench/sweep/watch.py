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
            dead = _dead_processes()
            if dead and not left.is_set():
                on_death(
                    RunError(
                        f"the local Ray has died ({', '.join(dead)})",
                        remedy="nothing is lost: the same command goes on",
                    )
                )
                signal.raise_signal(signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _dead_processes() -> list[str]:
    from ray._private import worker

    # Ray has no public word for this; a node that is not ours has no processes here.
    node = worker._global_node
    dead: list[tuple[str, object]] = [] if node is None else node.dead_processes()
    return sorted({kind for kind, _ in dead} & NEEDED)
