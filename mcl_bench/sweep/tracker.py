"""What a sweep asks of whoever keeps the record for people; handed in, as this room knows none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mcl_bench.records import (
    CellWords,
    Costs,
    EpochRecord,
    Inventory,
    News,
    TrialConfig,
    TrialName,
    TrialRecord,
)


class Tracker(Protocol):
    """Where the record for people is kept. One writer, the driver; every call can be repeated.

    No call waits for a store that does not answer. What has no answer yet is None, and comes as
    news; what is not taken yet is kept, and counts as `unsent`.
    """

    @property
    def unsent(self) -> int:
        """How many entries are kept for a store that has not taken them."""
        ...

    def open_sweep(self, *, sweep_id: str, config: Mapping[str, Any]) -> str | None:
        """The run id of the sweep, made or found by its id."""
        ...

    def retire_sweep(self, *, sweep_id: str, name: str) -> None:
        """Give an older sweep's record, if it carries this id, another name."""
        ...

    def open_cell(self, cell: CellWords) -> str | None:
        """The run id of a cell under the sweep's run, made or found."""
        ...

    def start_trial(self, config: TrialConfig, *, known_run_id: str | None = None) -> str | None:
        """The run id of a trial under its cell's run; sets it running again if it is known."""
        ...

    def log_epochs(self, trial: TrialName, records: Sequence[EpochRecord]) -> None:
        """Send these epochs' metrics; what the trial's run already has is not doubled."""
        ...

    def finish_trial(self, record: TrialRecord, *, artifacts: Sequence[Path] = ()) -> None:
        """Send what is missing of a finished trial and close its run."""
        ...

    def interrupt_trial(self, trial: TrialName) -> None:
        """Mark a trial's run, if it has one, as interrupted until it is taken up again."""
        ...

    def finish_cell(
        self,
        cell: str,
        *,
        state: str,
        records: Sequence[TrialRecord],
        weights: Mapping[int, Path] | None = None,
    ) -> None:
        """Summarise a cell's confirm trials on its run and close it.

        `weights` are the files that its confirm trials have left, by number; of a complete cell
        the model is kept.
        """
        ...

    def finish_sweep(self, *, state: str, costs: Costs | None = None) -> None:
        """Close the sweep's run, with how it ended and where its time went."""
        ...

    def inventory(self) -> Inventory:
        """All trials of this sweep that the tracker knows."""
        ...

    def news(self) -> News:
        """What has been learnt since this was last asked."""
        ...

    def send_rest(
        self, cells: Sequence[CellWords], *, sweep_id: str, config: Mapping[str, Any]
    ) -> None:
        """Begin to send what an earlier driver has left unsent of a sweep that has ended."""
        ...

    def settle(self, seconds: float) -> int:
        """Wait until all is taken, or nothing has been for so long; how many entries are left."""
        ...

    def close(self) -> None:
        """Send no more; what has not been taken stays kept."""
        ...
