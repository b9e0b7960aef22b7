"""What a training's time goes to, told apart while it runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(kw_only=True)
class Spent:
    """Seconds since a training was opened: waiting for batches to learn from, and evaluating.

    `carried` are the seconds that its checkpoint's unfinished epoch had already taken elsewhere.
    """

    wait: float = 0.0
    evaluation: float = 0.0
    carried: float = 0.0

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the block as evaluation, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.evaluation += time.perf_counter() - began
