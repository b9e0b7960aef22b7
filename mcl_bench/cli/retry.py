"""The verb retry: failed trials of a sweep are to run again."""

import json
import shlex
from collections import Counter
from typing import Annotated

import typer

from mcl_bench import files
from mcl_bench.cli.experiment import Json
from mcl_bench.cli.recorded import stored
from mcl_bench.records import UserError


def retry(
    name: Annotated[str, typer.Argument(help="The sweep.", show_default=False)],
    failed: Annotated[  # noqa: ARG001 - the word people look for; nothing else is retried
        bool, typer.Option("--failed", help="Failed trials: what is retried anyway.")
    ] = True,
    cause: Annotated[
        str | None, typer.Option(help="Only those that failed of this: oom, disk, bug, …")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a sweep's failed trials run again: prepares it, and says what runs them."""
    from mcl_bench.sweep.failures import KINDS
    from mcl_bench.sweep.retry import retry as prepare

    kind = next((kind for kind in KINDS if kind == cause), None)
    if cause is not None and kind is None:
        raise UserError(f"--cause {cause}: no such cause", remedy=f"causes: {', '.join(KINDS)}")
    experiment = stored(name)
    marked = prepare(experiment, home=files.home(), name=name, kind=kind)
    file = files.home() / "sweeps" / name / "experiment.yaml"
    command = f"mcl-bench sweep {shlex.quote(str(file))}"
    if as_json:
        document = {
            "sweep": name,
            "retried": [
                {
                    "cell": record.cell,
                    "stage": record.stage,
                    "trial": record.trial,
                    "cause": record.cause,
                }
                for record in marked
            ],
            "command": command,
        }
        typer.echo(json.dumps(document))
        return
    of = "" if cause is None else f" of {cause}"
    if not marked:
        typer.echo(f"nothing to retry: no trial of sweep {name} has failed{of}")
        return
    for record in marked:
        typer.echo(f"{record.cell}/{record.stage}-{record.trial}: {record.cause}")
    counted = ", ".join(
        f"{count} {stage}" for stage, count in Counter(record.stage for record in marked).items()
    )
    typer.echo(
        f"{counted} will run again, with the same settings: run the sweep's own command, or\n"
        f"  {command}"
    )
