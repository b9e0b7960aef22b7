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

SHUTDOWN_SECONDS = 30.0
"""The same while Ray is being shut down, which ends its processes too."""

NEEDED = frozenset({"raylet", "gcs_server"})
"""The processes without which no trial can be placed."""

Abandon = Callable[[RunError], None]
"""Ends this process, whatever its main thread does, and tells why."""


class RayWatch:
    """Notices when the local Ray dies; of a cluster elsewhere nothing is known here."""

    def __init__(self, abandon: Abandon) -> None:
        self._abandon = abandon
        self._death: RunError | None = None

    def look(self) -> RunError | None:
        """What to tell where Ray has died; None while it lives."""
        self._death = self._death or _death_of_ray()
        return self._death

    @contextmanager
    def over(
        self,
        on_death: Callable[[RunError], None] | None = None,
        *,
        seconds: float = HELD_SECONDS,
    ) -> Iterator[None]:
        """Watch over a block in which Ray's own code has the main thread.

        Where Ray dies, `on_death` is told, and SIGTERM raised, which brings the main thread out of
        Tune. Where the block has not ended `seconds` later, the process is abandoned.
        """
        left = threading.Event()

        def watch() -> None:
            while not left.wait(LOOK_SECONDS):
                death = self.look()
                if death is None or left.is_set():
                    continue
                if on_death is not None:
                    on_death(death)
                    signal.raise_signal(signal.SIGTERM)
                if not left.wait(seconds):
                    self._abandon(death)
                return

        thread = threading.Thread(target=watch, name="ray-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            left.set()
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
