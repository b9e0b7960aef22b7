"""A sweep of which one arm runs out of memory: all arms of its data × model go on in pieces."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from in_process import Killed, Sweep
from running import read_lines

from mcl_bench.cli.doctor import sides_of
from mcl_bench.doctor import examine
from mcl_bench.records import Finding, TrialRecord
from mcl_bench.results import leaderboard, read_records
from mcl_bench.results.status import sweep_status
from mcl_bench.results.terminal import table_text
from mcl_bench.spec import load
from mcl_bench.sweep import faults
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.replay import replay

TEXT = """\
version: 1
name: tiny
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  own: {loss: {name: 'own_losses:Hungry', options: {images: 4}}}
train:
  epochs: 1
  batch_size: 8
  optimizer: {name: adamw, lr: 0.01}
  allow_micro_batch: true
search:
  trials: 2
  sampler: random
  pruner: none
  space: {train.optimizer.lr: {log: [0.001, 0.05]}}
matrix:
  data:
    - {name: parts, label: big}
    - {name: parts, label: small, train: {batch_size: 4}}
confirm: {seeds: 1}
"""
GROUP = ("big-convnet-ce", "big-convnet-own")
OTHERS = ("small-convnet-ce", "small-convnet-own")
POINTS = ("before-pieces", "after-pieces", "in-pieces", "after-record", "before-tell", "after-tell")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT)
    monkeypatch.setenv("MCL_HOME", str(tmp_path / "runs"))
    return Sweep(file=file, home=tmp_path / "runs", slots=2)


def by_cell(home: Path) -> dict[str, list[TrialRecord]]:
    found: dict[str, list[TrialRecord]] = {}
    for record in read_records(home / "sweeps/tiny"):
        found.setdefault(record.cell, []).append(record)
    return found


def pieces(record: TrialRecord) -> int:
    return int(record.config.get("train.micro_batches", 1))


def wrong(sweep: Sweep) -> list[Finding]:
    folder = SweepFolder(sweep.home / "sweeps/tiny")
    folder.read()
    sides = sides_of(load(sweep.file, list(sweep.overrides)), folder, running=False)
    return examine([side.inventory() for side in sides])


def events(sweep: Sweep, kind: str) -> list[dict[str, Any]]:
    lines = read_lines(sweep.home / "sweeps/tiny/events.jsonl")
    return [line for line in lines if line["event"] == kind]


def values(sweep: Sweep) -> dict[tuple[str, str, str], Any]:
    """What counts of every cell, by what was trained: not by numbers, which a kill may move."""
    return {
        (record.cell, record.stage, record.key): (record.state, record.value, record.test_top1)
        for records in by_cell(sweep.home).values()
        for record in records
        if record.state != "retried"
    }


def check(sweep: Sweep) -> None:
    """All that counts of the group is trained in two pieces; of the others nothing is touched."""
    cells = by_cell(sweep.home)
    for cell in GROUP:
        counted = [record for record in cells[cell] if record.state != "retried"]
        assert Counter(record.stage for record in counted) == {"search": 2, "confirm": 1}
        assert {pieces(record) for record in counted} == {2}
        assert {record.state for record in counted} == {"complete"}
        assert {pieces(one) for one in cells[cell] if one.state == "retried"} <= {1}
    for cell in OTHERS:
        assert [record.state for record in cells[cell]] == ["complete"] * 3
        assert {pieces(record) for record in cells[cell]} == {1}
    for row in leaderboard(sweep.home, ["tiny"]):
        assert (row.state, row.trials, row.n) == ("complete", 2, 1)
        assert row.pieces == (2 if row.cell in GROUP else 1)
    assert wrong(sweep) == []


def test_all_arms_of_the_data_and_model_are_run_again_in_pieces_and_no_other(
    sweep: Sweep,
) -> None:
    sweep.drive()
    check(sweep)
    (event,) = events(sweep, "pieces")
    assert tuple(event["cells"]) == GROUP
    assert (event["pieces"], event["by"]) == (2, "big-convnet-own/search-0")
    assert event["cause"].startswith("oom: OutOfMemoryError")
    first = by_cell(sweep.home)["big-convnet-own"][0]
    assert first.state == "retried"
    assert first.cause == event["cause"]
    status = sweep_status(sweep.home / "sweeps/tiny")
    assert {cell.cell: cell.pieces for cell in status.cells} == {
        **dict.fromkeys(GROUP, 2),
        **dict.fromkeys(OTHERS, 1),
    }
    text = table_text(leaderboard(sweep.home, ["tiny"]))
    assert text.count("(batches in 2 pieces)") == len(GROUP)
    assert text.count("Batches in pieces:") == 1
