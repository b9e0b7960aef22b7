"""The verb that writes a sweep's page: report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcl_bench import files
from mcl_bench.records import DataError, UserError

if TYPE_CHECKING:
    from mcl_bench.results import SpooledTracker
    from mcl_bench.results.confusions import Confusions
    from mcl_bench.results.page import Beside
    from mcl_bench.results.story import Story


def report(
    name: Annotated[str, typer.Argument(help="The sweep.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write; by default the sweep's report.html."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a sweep's page: one HTML file that works offline and can be sent to anyone."""
    from mcl_bench.results.folder import sweep_folders

    (folder,) = sweep_folders(files.home(), [name])
    path = write_report(folder, out)
    typer.echo(str(path))
    if open_:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())


def keep_report(folder: Path, tracker: "SpooledTracker", *, quiet: bool = False) -> None:
    """Write the page of a sweep that has ended, and hand it to the tracker.

    Nothing is done where it is there already, younger than the records. What goes wrong is told,
    and costs the sweep nothing: `report` writes the page at any time.
    """
    from mcl_bench.results.folder import PAGE

    page, records = folder / PAGE, folder / "records.jsonl"
    if not records.exists():
        return
    if page.exists() and page.stat().st_mtime >= records.stat().st_mtime:
        return
    remedy = f"mcl-bench report {folder.name} writes it again"
    try:
        tracker.keep_page(write_report(folder))
    except (UserError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        typer.echo(f"the sweep's page was not kept: {error}; {remedy}", err=True)
    except KeyboardInterrupt:  # the sweep itself has ended, and is told of after this
        typer.echo(f"the sweep's page was not kept: interrupted; {remedy}", err=True)
    else:
        if not quiet:
            typer.echo(f"page: {page}", err=True)


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the sweep in this folder; where it was written.

    Raises:
        UserError: it can't be written there.
        DataError: the sweep's record is damaged.
    """
    from mcl_bench.results.folder import PAGE
    from mcl_bench.results.page import write_page
    from mcl_bench.results.story import read_story

    story = read_story(folder)
    path = folder / PAGE if out is None else out
    try:
        write_page(path, story, _beside(story))
    except OSError as error:
        raise UserError(f"the page can't be written to {path}: {error.strerror}") from error
    return path


def _beside(story: "Story") -> "Beside":
    """What the other rooms know that belongs on the page."""
    from mcl_bench import data
    from mcl_bench.results.confusions import confusions
    from mcl_bench.results.page import Beside
    from mcl_bench.sweep.importance import importances

    found = confusions(story)
    notes = [fault for one in found for fault in one.faults]
    pictures = {}
    for one in found:
        try:
            pictures[one.group] = _pictures(story, one)
        except DataError as error:
            notes.append(f"no pictures of {one.group}: {error.rule}")
    names = dict.fromkeys(cell.cell.spec.data.name for cell in story.cells)
    facts = [data.facts_of(dataset) for dataset in names]
    return Beside(
        importances=importances(story.folder, story.experiment),
        confusions=found,
        pictures=pictures,
        citations={entry.title: entry.citation for entry in facts},
        notes=notes,
    )


def _pictures(story: "Story", found: "Confusions") -> dict[str, bytes]:
    """Thumbnails of these pairs' images; none where their look or their store is not there."""
    from mcl_bench import data

    ids = [name for pair in found.pairs for name in pair.images]
    if found.look is None or found.cell is None or not ids:
        return {}
    digest = story.digests.get(found.cell.data_label)
    if digest is None:
        return {}
    return data.thumbnails(
        found.cell.spec.data,
        store=story.folder.parent.parent / "store",
        digest=digest,
        ids=ids,
        grant=found.look,
    )
