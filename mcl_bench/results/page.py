"""A sweep's page: one HTML file that needs nothing else, with a verdict, the board and figures.

The template, its style and its script lie in `dashboards/`; Plotly's script is the one that the
package plotly brings. All of the user's text is escaped by the template, or by `figures.plot.label`
where Plotly reads it.
"""

import base64
import hashlib
import importlib.resources
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mcl_bench import __version__, files
from mcl_bench.records import Importance
from mcl_bench.results.board import COLUMNS, board
from mcl_bench.results.confusions import Confusions
from mcl_bench.results.costs import costs_rows, costs_words
from mcl_bench.results.failures import failures
from mcl_bench.results.figures.curves import curves
from mcl_bench.results.figures.forest import forest
from mcl_bench.results.figures.search import (
    best_so_far,
    coordinates,
    history,
    importance,
    slices,
)
from mcl_bench.results.row_words import hours, number_of, percent, points
from mcl_bench.results.spending import ENDS, spending
from mcl_bench.results.story import Story, key_word, searched_keys
from mcl_bench.results.verdicts import headline, verdict
from mcl_bench.spec import dump_yaml

MAPS_BYTES = 6_000_000
"""So much of channel maps is shown; of further cells the page says where they lie."""

EVERY = ""
"""The place of a figure that is of no one data × model."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What other rooms hand over for a page: each is shown where it is there.

    `pictures` are PNGs of test images by data × model and id, `citations` what to cite of the data
    sets, by their titles, `notes` what went wrong while these were gathered.
    """

    importances: Sequence[Importance] = ()
    confusions: Sequence[Confusions] = ()
    pictures: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    citations: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The channel maps of one cell: a picture as a data URI, or the file that it was left in."""

    group: str
    arm: str
    cell: str
    seed: int
    image: str | None
    path: Path


def render_page(story: Story, beside: Beside) -> str:
    """The page of a sweep, as HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(asset),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "hours": hours}
    script, plotly = asset("page.js"), plotly_script()
    return environment.get_template("page.html").render(
        **_words(story, beside),
        figures=embedded(_figures(story, beside)),
        style=asset("page.css"),
        script=script,
        plotly=plotly,
        hashes=[script_hash(script), script_hash(plotly)],
    )


def asset(name: str) -> str:
    """The text of a file of `dashboards/`."""
    folder = importlib.resources.files("mcl_bench") / "dashboards"
    return (folder / name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """Plotly's own script, minified, as the package plotly brings it."""
    folder = importlib.resources.files("plotly") / "package_data"
    return (folder / "plotly.min.js").read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """JSON that can stand in a script element: no `<`, so that nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def script_hash(script: str) -> str:
    """The script as the page's own policy names it; no other script is let run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _words(story: Story, beside: Beside) -> dict[str, Any]:
    """All that the template says."""
    verdicts = [verdict(group) for group in story.groups]
    spent = spending(story.groups)
    costs = story.costs
    return {
        "story": story,
        "verdicts": verdicts,
        "headline": headline(verdicts),
        "columns": COLUMNS,
        "lines": board(story.groups),
        "groups": [group.label for group in story.groups],
        "slices": _slice_keys(story),
        "importance_notes": _importance_notes(story, beside),
        "confusions": beside.confusions,
        "pictures": {
            group: {name: data_uri(png) for name, png in found.items()}
            for group, found in beside.pictures.items()
        },
        "maps": _maps(story),
        "ends": ENDS,
        "spent": spent,
        "costs": None if costs is None else costs_words(costs),
        "cost_rows": () if costs is None else costs_rows(costs),
        "seconds": sum(one.total for one in spent),
        "failures": failures(story.records),
        "failed_total": number_of(
            sum(failure.count for failure in failures(story.records)), "trial"
        ),
        "notes": [*story.warnings, *beside.notes],
        "citations": beside.citations,
        "versions": _versions(story),
        "experiment": dump_yaml(story.experiment.resolved),
        "made": datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "created": _day(story.created),
        "version": __version__,
    }


def _figures(story: Story, beside: Beside) -> dict[str, dict[str, dict[str, Any]]]:
    """Every figure by its slot, then by data × model, then by choice (`""`: there is none)."""
    found: dict[str, dict[str, dict[str, Any]]] = {}

    def put(slot: str, group: str, figures: Mapping[str, Any]) -> None:
        kept = {choice: figure for choice, figure in figures.items() if figure is not None}
        if kept:
            found.setdefault(slot, {})[group] = kept

    told = {entry.cell: entry for entry in beside.importances}
    put("forest", EVERY, {"": forest(story.groups)})
    for group in story.groups:
        put("history", group.label, {"": history(group, story.metric)})
        put("best", group.label, {"": best_so_far(group, story.metric)})
        put("importance", group.label, {"": importance(group, told)})
        for key, figure in slices(group, story.metric).items():
            put(f"slice {key}", group.label, {"": figure})
        put("coordinates", group.label, coordinates(group, story.metric))
        put("curves", group.label, curves(group))
    return found


def _slice_keys(story: Story) -> dict[str, str]:
    """What is searched, by key, and how it is called."""
    return {key: key_word(key) for key in searched_keys(story.cells)}


def _importance_notes(story: Story, beside: Beside) -> dict[str, list[str]]:
    """How each cell's importances were found, or why they were not, by data × model."""
    told = {entry.cell: entry for entry in beside.importances}
    notes: dict[str, list[str]] = {}
    for group in story.groups:
        lines = []
        for cell in group.cells:
            entry = told.get(cell.cell.id)
            if entry is None:
                lines.append(f"{cell.arm}: not worked out")
            elif entry.absent is not None:
                lines.append(f"{cell.arm}: {entry.absent}")
            else:
                lines.append(f"{cell.arm}: {entry.method} over {entry.trials:,} complete trials")
        notes[group.label] = lines
    return notes


def _maps(story: Story) -> list[Maps]:
    """The channel maps of each cell's first confirm seed that left some."""
    found: list[Maps] = []
    left = MAPS_BYTES
    for group in story.groups:
        for cell in group.cells:
            paths = [(story.trial(record) / "channels.png", record) for record in cell.confirm]
            there = next(((path, record) for path, record in paths if path.exists()), None)
            if there is None:
                continue
            path, record = there
            content = _compressed(path)
            left -= len(content)
            found.append(
                Maps(
                    group=group.label,
                    arm=cell.arm,
                    cell=cell.cell.id,
                    seed=record.trial,
                    image=data_uri(content, "webp") if content and left >= 0 else None,
                    path=path,
                )
            )
    return found


def _versions(story: Story) -> dict[str, str]:
    """The versions that the trials were run with; where there were several, all of them."""
    found: dict[str, dict[str, None]] = {}
    for record in story.records:
        for name, version in record.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(versions) for name, versions in sorted(found.items())}


def data_uri(picture: bytes, kind: str = "png") -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _compressed(path: Path) -> bytes:
    """The picture as a WebP, a tenth of the PNG's size; nothing where it is damaged."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.convert("RGB").save(buffer, "WEBP", quality=80)
    except (OSError, SyntaxError):  # what Pillow says of a broken PNG
        return b""
    return buffer.getvalue()


def _day(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def write_page(path: Path, story: Story, beside: Beside) -> None:
    """Write the page; it appears whole or not at all."""
    files.write_whole(path, render_page(story, beside))
