"""The verbs about single recorded trials: best, and a trial named as NAME/CELL/STAGE-NUMBER."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mcl_bench import files
from mcl_bench.records import TrialRecord, UserError

if TYPE_CHECKING:
    from mcl_bench.spec import Experiment

TRIAL = re.compile(r"([^/]+)/([^/]+)/(search|confirm)-(\d+)")
"""How a recorded trial is named: NAME/CELL/STAGE-NUMBER."""


class Recorded(NamedTuple):
    """A recorded trial, the experiment that it is of, and the name of the sweep's folder."""

    sweep: str
    experiment: "Experiment"
    record: TrialRecord


def find_trial(name: str) -> Recorded | None:
    """The recorded trial of this name; None if the text is no trial's name.

    Raises:
        UserError: there is no such sweep or trial.
    """
    found = TRIAL.fullmatch(name)
    if found is None:
        return None
    sweep, cell, stage, number = found.groups()
    experiment = stored(sweep)
    for record in records_of(sweep):
        if (record.cell, record.stage, record.trial) == (cell, stage, int(number)):
            return Recorded(sweep, experiment, record)
    raise UserError(
        f"sweep {sweep} has no finished trial {cell}/{stage}-{number}",
        remedy=f"its cells: {', '.join(cell.id for cell in experiment.cells)}",
    )


def stored(sweep: str) -> "Experiment":
    """The experiment that a sweep was started with.

    Raises:
        UserError: there is no such sweep.
    """
    from mcl_bench.spec import load

    path = files.home() / "sweeps" / sweep / "experiment.yaml"
    if not path.exists():
        raise UserError(
            f"there is no sweep {sweep} in {files.home() / 'sweeps'}",
            remedy="mcl-bench status lists the sweeps; MCL_HOME says where they are looked for",
        )
    return load(path)


def records_of(sweep: str) -> list[TrialRecord]:
    """The records of a sweep."""
    from mcl_bench import results

    return results.read_records(files.home() / "sweeps" / sweep)


def best(
    name: Annotated[str, typer.Argument(help="The sweep.", show_default=False)],
    cell: Annotated[
        str | None, typer.Option(help="The cell; needed where there are several.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it there; by default it is printed.")
    ] = None,
) -> None:
    """Print the best setting of a cell as an experiment file that sweep and train run."""
    from mcl_bench import results
    from mcl_bench.spec import dump_yaml, single_setting

    experiment = stored(name)
    cells = {entry.id: entry for entry in experiment.cells}
    wanted = next(iter(cells)) if cell is None and len(cells) == 1 else cell
    if wanted not in cells:
        said = "several cells" if wanted is None else f"no cell {wanted}"
        raise UserError(f"sweep {name} has {said}", remedy=f"--cell {' | '.join(cells)}")
    metric = experiment.spec.search.metric
    own = [record for record in records_of(name) if record.cell == wanted]
    found = results.best_search(own, metric=metric)
    if found is None:
        raise UserError(f"no search trial of {name}/{wanted} is complete yet")
    # Where the images are now: they may have been moved since the trial.
    settings = {**found.config, "data.root": cells[wanted].spec.data.root}
    plain = single_setting(experiment, cells[wanted], settings, name=f"{name}_{wanted}_best")
    text = (
        f"# The best setting of {name}/{wanted}: search-{found.trial}, {metric} {found.value:.4f}\n"
        f"{dump_yaml(plain)}"
    )
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            files.write_whole(out, text)
        except OSError as error:
            raise UserError(f"--out {out} can't be written: {error.strerror}") from error
        typer.echo(f"wrote {out}", err=True)
