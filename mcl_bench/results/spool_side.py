"""What MLflow has not taken of a sweep, as `doctor` finds it and sends it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcl_bench.records import CellWords, Finding, Inventory
from mcl_bench.results.chosen import Log
from mcl_bench.results.sides import torn
from mcl_bench.results.spool import FILE, read_state
from mcl_bench.results.spooled import SpooledTracker
from mcl_bench.results.store import embedded_uri
from mcl_bench.results.tracking import MlflowTracker

PATIENCE_SECONDS = 10.0
"""How long MLflow may take nothing of what it is sent."""


class SpoolSide:
    """`spool.jsonl`: what is kept for MLflow; a `running` driver sends it by itself."""

    name = "spool"

    def __init__(
        self,
        folder: Path,
        *,
        sweep_id: str,
        home: Path,
        config: Mapping[str, Any],
        cells: Sequence[CellWords],
        log: Log,
        running: bool,
    ) -> None:
        self._folder = folder
        self._sweep_id = sweep_id
        self._home = home
        self._config = config
        self._cells = cells
        self._log = log
        self._running = running
        self._refusal: str | None = None

    def inventory(self) -> Inventory:
        """How much is kept, and that its last line is unfinished.

        Raises:
            DataError: a line is damaged.
        """
        path = self._folder / FILE
        if self._running:
            return Inventory(side=self.name)
        _, _, unsent = read_state(path)
        faults = list(torn(path, side=self.name))
        if unsent:
            why = f" ({self._refusal})" if self._refusal else ""
            faults.append(
                Finding(
                    side=self.name,
                    kind="unsent",
                    what=f"MLflow has not taken {unsent} of the entries{why}",
                    where=FILE,
                    remedy="they are sent, if MLflow takes them now",
                    mends=True,
                )
            )
        return Inventory(side=self.name, faults=tuple(faults))

    def mend(self, findings: Sequence[Finding]) -> None:  # noqa: ARG002 - one way mends all
        """Send what MLflow takes; what it does not take is found again."""
        tracking = self._config.get("tracking") or {}
        mlflow = MlflowTracker(
            sweep=self._folder.name,
            uri=tracking.get("uri") or embedded_uri(self._home),
            home=self._home,
            experiment=tracking.get("experiment"),
        )
        tracker = SpooledTracker(mlflow, log=self._log)
        tracker.send_rest(self._cells, sweep_id=self._sweep_id, config=self._config)
        tracker.settle(PATIENCE_SECONDS)
        self._refusal = tracker.refusal
        tracker.close()
