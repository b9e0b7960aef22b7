"""What is said at a sweep's end of what MLflow has not taken."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mcl_bench.results import SpooledTracker


def tell_unsent(tracker: "SpooledTracker", name: str) -> None:
    """Say how much is kept for MLflow, and what sends it; nothing where all has been sent."""
    if tracker.unsent:
        why = f" ({tracker.refusal})" if tracker.refusal else ""
        typer.echo(
            f"MLflow has not taken {tracker.unsent} of the sweep's entries{why}; kept in "
            f"{tracker.spool_path}; the same command, or mcl-bench doctor {name} --fix, sends them",
            err=True,
        )
