"""The verb that ends a running sweep: stop."""

import json
from typing import Annotated

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import Json

SAY_SECONDS = 5.0
"""How often a person who waits is told for how long."""

Name = Annotated[str, typer.Argument(help="The sweep.", show_default=False)]


def stop(
    name: Name,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for its driver.")] = 60.0,
    as_json: Json = False,
) -> None:
    """End a running sweep cleanly: trials write checkpoints; the same command goes on with it."""
    from mcl_bench.sweep.stopping import stop_sweep

    told = 0.0

    def progress(waited: float) -> None:
        nonlocal told
        if waited >= told:
            typer.echo(f"waiting for the driver of {name}: {waited:.0f} s", err=True)
            told += SAY_SECONDS

    state = stop_sweep(files.home() / "sweeps" / name, progress=progress, seconds=timeout)
    if as_json:
        typer.echo(json.dumps({"sweep": name, "was_running": state is not None, "state": state}))
    elif state is None:
        typer.echo(f"no driver runs {name}")
    else:
        typer.echo(f"{name}: {state}; its sweep command goes on with it")
