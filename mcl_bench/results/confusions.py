"""Which classes the confirmed networks take for which others, from their stored predictions."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mcl_bench import files
from mcl_bench.records import TestGrant, TrialRecord
from mcl_bench.results.story import CellStory, Group, Story
from mcl_bench.spec import Cell

MOST_PAIRS = 8
"""Pairs of classes that are shown of each data × model."""

MOST_IMAGES = 3
"""Images that are shown of each pair."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Images of class `true` that were taken for class `taken`.

    `share_by_arm` is the mean over an arm's seeds of the share of the class's images that it took
    so. `images` are the ids of those most often taken so, by all arms and seeds.
    """

    true: str
    taken: str
    share_by_arm: Mapping[str, float]
    images: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """The pairs of one data × model, the most frequent first; `absent` says why there are none.

    `look` is the look at test, in the ledger, of a trial that made these predictions: with it the
    images may be shown. `cell` is that trial's.
    """

    group: str
    cell: Cell | None = None
    look: TestGrant | None = None
    arms: Sequence[str] = ()
    pairs: Sequence[Pair] = ()
    absent: str | None = None
    faults: Sequence[str] = ()


@dataclass
class _Counts:
    """What one group's predictions add up to: shares by pair and arm, images by pair."""

    shares: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)
    images: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)
    trials: Counter[str] = field(default_factory=Counter)
    cell: Cell | None = None
    record: TrialRecord | None = None
    faults: list[str] = field(default_factory=list)
    classes: Sequence[str] = ()


def confusions(story: Story) -> list[Confusions]:
    """The confused pairs of each data × model, over the confirm trials that speak for its cells."""
    return [_of_group(story, group) for group in story.groups]


def _of_group(story: Story, group: Group) -> Confusions:
    counts = _Counts()
    for cell in group.cells:
        for record in cell.confirm:
            if record.state == "complete":
                _count(counts, cell, record, story.trial(record))
    if not counts.trials:
        return Confusions(
            group=group.label,
            absent="no confirm trial has left its predictions in the sweep's folder",
            faults=counts.faults,
        )
    arms = [cell.arm for cell in group.cells if counts.trials[cell.arm]]

    def mean(pair: tuple[int, int]) -> float:
        return sum(counts.shares[pair][arm] / counts.trials[arm] for arm in arms) / len(arms)

    ranked = sorted(counts.shares, key=lambda pair: (-mean(pair), pair))[:MOST_PAIRS]
    return Confusions(
        group=group.label,
        cell=counts.cell,
        look=_look(story, counts),
        arms=arms,
        pairs=[
            Pair(
                true=_class(counts.classes, pair[0]),
                taken=_class(counts.classes, pair[1]),
                share_by_arm={arm: counts.shares[pair][arm] / counts.trials[arm] for arm in arms},
                images=[name for name, _ in counts.images[pair].most_common(MOST_IMAGES)],
            )
            for pair in ranked
        ],
        faults=counts.faults,
    )


def _count(counts: _Counts, cell: CellStory, record: TrialRecord, folder: Path) -> None:
    path = folder / "predictions.parquet"
    if not path.exists():
        return
    try:
        table = pq.read_table(path, columns=["image_id", "label", "predicted"])
        names, labels, predicted = (table[name].to_pylist() for name in table.column_names)
    except (pa.ArrowException, OSError) as error:
        counts.faults.append(f"{path} can't be read: {str(error).splitlines()[0]}")
        return
    counts.trials[cell.arm] += 1
    counts.cell, counts.record = cell.cell, record
    of_class = Counter(labels)
    for name, label, said in zip(names, labels, predicted, strict=True):
        if label != said:
            pair = (label, said)
            shares = counts.shares.setdefault(pair, defaultdict(float))
            shares[cell.arm] += 1 / of_class[label]
            counts.images.setdefault(pair, Counter())[name] += 1
    counts.classes = counts.classes or _classes(folder, counts)


def _look(story: Story, counts: _Counts) -> TestGrant | None:
    """The line of the ledger by which the last counted trial saw test."""
    record = counts.record
    assert record is not None
    for line in files.read_lines(story.folder / "looks.jsonl"):
        look = json.loads(line)
        if (look["cell"], look["key"], look["seed"]) == (record.cell, record.key, record.seed):
            entry = files.line_hash(line)
            return TestGrant(cell=record.cell, key=record.key, seed=record.seed, entry=entry)
    return None


def _classes(folder: Path, counts: _Counts) -> Sequence[str]:
    """The classes' names as the trial left them; none where it did not."""
    path = folder / "confusion.json"
    if not path.exists():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["classes"]
        return [str(name) for name in found]
    except (ValueError, LookupError, TypeError) as error:
        counts.faults.append(f"{path} can't be read: {error}")
        return ()


def _class(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else f"class {label}"
