"""One sweep as its page tells it: its experiment, its rows, and what each cell's trials left."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench.records import Costs, DataError, TrialRecord
from mcl_bench.results.folder import read_events, read_records
from mcl_bench.results.leaderboard import sweep_rows
from mcl_bench.results.row import Row
from mcl_bench.results.winners import best_search, by_cell, confirmed, derive_superseded
from mcl_bench.spec import Cell, Experiment, load

KEY_WORDS = {
    "model.xi": "ξ",
    "loss.mu": "μ",
    "loss.lambda": "λ",
    "loss.mask_ratio": "mask ratio",
    "loss.plus.mu": "μ",
    "loss.plus.lambda": "λ",
    "loss.plus.mask_ratio": "mask ratio",
    "train.optimizer.lr": "learning rate",
    "train.optimizer.weight_decay": "weight decay",
}
"""How settings are called on a page, in the order that they stand there; others by their keys."""


@dataclass(frozen=True, kw_only=True)
class CellStory:
    """One cell: its row, its trials (superseded ones marked), its best, and who speaks for it."""

    cell: Cell
    row: Row
    records: Sequence[TrialRecord]
    best: TrialRecord | None
    confirm: Sequence[TrialRecord]

    @property
    def arm(self) -> str:
        """The arm's name."""
        return self.cell.arm

    @property
    def search(self) -> list[TrialRecord]:
        """The search trials, by number."""
        found = [record for record in self.records if record.stage == "search"]
        return sorted(found, key=lambda record: record.trial)

    @property
    def top1_by_seed(self) -> dict[int, float]:
        """Top-1 on test by confirm seed."""
        return {
            record.seed: record.test_top1 for record in self.confirm if record.test_top1 is not None
        }


@dataclass(frozen=True, kw_only=True)
class Group:
    """One data × model: its cells, the highest mean first."""

    data: str
    model: str
    cells: Sequence[CellStory]

    @property
    def label(self) -> str:
        """What it is called on the page."""
        return f"{self.data} · {self.model}"


@dataclass(frozen=True, kw_only=True)
class Story:
    """One sweep: its name and id, when it was made and by which version, its state and groups.

    `digests` are those of the images and of the user's own code, by label. `folder` is the
    sweep's, `files` where its trials left their files.
    """

    name: str
    id: str
    created: float | None
    version: str
    state: str
    digests: Mapping[str, str]
    experiment: Experiment
    groups: Sequence[Group]
    records: Sequence[TrialRecord]
    folder: Path
    files: Path

    @property
    def metric(self) -> str:
        """What the search was judged by."""
        return str(self.experiment.spec.search.metric)

    @property
    def cells(self) -> list[CellStory]:
        """All cells, in the order of the groups."""
        return [cell for group in self.groups for cell in group.cells]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the sweep's looks at test, each once."""
        return list(dict.fromkeys(text for cell in self.cells for text in cell.row.aside.warnings))

    @property
    def costs(self) -> Costs | None:
        """Where the sweep's time went, as its driver last wrote it down."""
        return next((cell.row.aside.costs for cell in self.cells), None)

    def trial(self, record: TrialRecord) -> Path:
        """The folder of what a trial left."""
        return self.files / "trials" / record.cell / f"{record.stage}-{record.trial}"


def read_story(folder: Path) -> Story:
    """The sweep in this folder, whole or on its way.

    Raises:
        DataError: a file of it is damaged.
    """
    experiment = load(folder / "experiment.yaml")
    metric = experiment.spec.search.metric
    facts = _facts(folder)
    records = derive_superseded(read_records(folder), metric=metric)
    rows = {row.cell: row for row in sweep_rows(folder)}
    own = by_cell(records)
    stories = [
        _cell_story(cell, rows[cell.id], own.get(cell.id, []), metric=metric)
        for cell in experiment.cells
    ]
    keys = dict.fromkeys(story.cell.group for story in stories)
    return Story(
        name=experiment.name,
        id=str(facts.get("id", "")),
        created=facts.get("created"),
        version=str(facts.get("version", "")),
        state=_state(folder),
        digests=facts.get("digests", {}),
        experiment=experiment,
        groups=[
            Group(data=key[0], model=key[1], cells=_ranked(stories, key, rows)) for key in keys
        ],
        records=records,
        folder=folder,
        files=_files(folder, experiment, str(facts.get("id", ""))),
    )


def searched_keys(cells: Sequence[CellStory]) -> list[str]:
    """The settings that any of these cells searched: those of `KEY_WORDS` first, in its order."""
    found = {key for cell in cells for key in cell.cell.space}
    known = list(KEY_WORDS)
    return sorted(found, key=lambda key: (known.index(key) if key in known else len(known), key))


def key_word(key: str) -> str:
    """What a setting is called on a page."""
    return KEY_WORDS.get(key, key)


def _cell_story(cell: Cell, row: Row, records: Sequence[TrialRecord], *, metric: str) -> CellStory:
    best = best_search(records, metric=metric)
    return CellStory(
        cell=cell, row=row, records=records, best=best, confirm=confirmed(records, best)
    )


def _ranked(
    stories: Sequence[CellStory], key: tuple[str, str], rows: Mapping[str, Row]
) -> list[CellStory]:
    order = list(rows)
    mine = [story for story in stories if story.cell.group == key]
    return sorted(mine, key=lambda story: order.index(story.cell.id))


def _facts(folder: Path) -> dict[str, Any]:
    """What `sweep.json` says; nothing where it is not there."""
    path = folder / "sweep.json"
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is damaged: {error}", remedy="put the file back from a copy"
        ) from error
    return found


def _state(folder: Path) -> str:
    """How the last driver ended; `running` where one began and has not ended."""
    state = "not started"
    for event in read_events(folder):
        if event["event"] == "end":
            state = str(event.get("state", "interrupted"))
        elif event["event"] == "start":
            state = "running or interrupted"
    return state


def _files(folder: Path, experiment: Experiment, sweep_id: str) -> Path:
    elsewhere = experiment.spec.files
    if elsewhere is None:
        return folder
    return Path(elsewhere).expanduser().absolute() / f"{folder.name}@{sweep_id}"
