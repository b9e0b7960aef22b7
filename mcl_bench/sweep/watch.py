"""Watching a local Ray: where it dies, Tune and Ray's own code would wait for it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcl_bench.records import RunError

LOOK_SECONDS = 1.0
"""How often the processes are looked at."""

HELD_SECONDS = 10.0
"""How long Ray's own code may hold the main thread after Ray has died: it would for a minute."""

NEEDED = frozenset({"raylet", "gcs_server"})
"""The processes without which no trial can be placed."""

Abandon = Callable[[RunError], None]
"""Ends this process, whatever its main thread does, and tells why."""


class Watch:
    """Notices when a process of the local Ray dies; of a cluster elsewhere nothing is known here.

    `abandon` is called where the main thread has not come back `HELD_SECONDS` later.
    """

    def __init__(self, abandon: Abandon) -> None:
        self._abandon = abandon
        self._death: RunError | None = None
        self._on_death: Callable[[RunError], None] | None = None
        self._telling = threading.Lock()
        self._looked = threading.Event()
        self._left = threading.Event()

    @contextmanager
    def telling(self, on_death: Callable[[RunError], None]) -> Iterator[None]:
        """Tell `on_death` of a death in the block, then raise SIGTERM.

        The signal brings the main thread out of Tune.
        """
        self._on_death = on_death
        try:
            yield
        finally:
            with self._telling:
                self._on_death = None

    def look(self) -> RunError | None:
        """What to tell where Ray has died; None while it lives."""
        self._death = self._death or _death_of_ray()
        return self._death

    def look_no_more(self) -> None:
        """Look a last time: from now on Ray's processes are ended by their own will."""
        self.look()
        self._looked.set()

    def leave(self) -> None:
        """The main thread is back from Ray."""
        self._looked.set()
        self._left.set()

    def run(self) -> None:
        """Look until nobody needs it any more."""
        while self._death is None and not self._looked.wait(LOOK_SECONDS):
            self.look()
        death = self._death
        if death is None:
            return
        with self._telling:
            if self._on_death is not None:
                self._on_death(death)
                signal.raise_signal(signal.SIGTERM)
        if not self._left.wait(HELD_SECONDS):
            self._abandon(death)


@contextmanager
def watching(abandon: Abandon) -> Iterator[Watch]:
    """Watch the local Ray in a thread of its own while the block runs."""
    watch = Watch(abandon)
    thread = threading.Thread(target=watch.run, name="ray-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.leave()
        thread.join()


def _death_of_ray() -> RunError | None:
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
