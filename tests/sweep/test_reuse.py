"""What other sweeps know: found by key among very many, and nothing in them can do harm."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from mcl_bench.records import EpochRecord, TrialRecord
from mcl_bench.sweep.reuse import KnownTrials


def record(key: str, **changes: Any) -> TrialRecord:
    plain: dict[str, Any] = {
        "sweep": "other",
        "cell": "parts-convnet-ce",
        "dataset": "parts",
        "backbone": "convnet",
        "weights": "none",
        "arm": "ce",
        "xi": "3",
        "maps": 12,
        "parameters": 10,
        "stage": "search",
        "trial": 0,
        "seed": 7,
        "state": "complete",
        "key": key * 64,
        "config": {"data.options": {"key": "x"}, "state": "no state"},
        "started": 1.0,
        "finished": 2.0,
        "run_id": "r",
        "epochs": (EpochRecord(epoch=1, timestamp_ms=1, metrics={"val/top1": 0.5}, last=True),),
        "value": 0.5,
        "val_top1": 0.5,
        "val_loss": 1.25,
        "device_seconds": 30.0,
    }
    return TrialRecord(**plain | changes)


def write(home: Path, sweep: str, *lines: TrialRecord | str) -> Path:
    path = home / sweep / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [line if isinstance(line, str) else line.to_json() + "\n" for line in lines]
    path.write_text("".join(text))
    return path


class Known(KnownTrials):
    """With the notes that it took."""

    def __init__(self, home: Path, *, metric: str = "val/top1") -> None:
        self.notes: list[str] = []
        super().__init__(home, without="mine", metric=metric, note=self.notes.append)


def test_a_complete_search_trial_is_found_by_its_key_and_bears_its_sweeps_name(
    tmp_path: Path,
) -> None:
    write(tmp_path, "other.1", record("a"), record("b", trial=1))
    found = Known(tmp_path).get("b" * 64)
    assert found == dataclasses.replace(record("b", trial=1), sweep="other.1")


def test_the_value_is_that_of_the_metric_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "other", record("a"), record("b", trial=1, val_macro_top1=None))
    found = Known(tmp_path, metric="val/loss").get("a" * 64)
    assert found is not None
    assert found.value == 1.25
    assert Known(tmp_path, metric="val/macro_top1").get("b" * 64) is None


@pytest.mark.parametrize(
    "changes", [{"state": "pruned"}, {"state": "duplicate"}, {"stage": "confirm"}]
)
def test_only_complete_search_trials_are_known(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, "other", record("a", **changes))
    assert len(Known(tmp_path)) == 0


def test_the_last_line_of_a_trial_decides(tmp_path: Path) -> None:
    write(tmp_path, "other", record("a"), record("a", state="failed"))
    assert Known(tmp_path).get("a" * 64) is None


def test_the_own_sweep_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "mine", record("a"))
    assert len(Known(tmp_path)) == 0


def test_damaged_and_newer_lines_are_skipped_with_a_note(tmp_path: Path) -> None:
    newer = json.dumps({**json.loads(record("b", trial=2).to_json()), "colour": "red"}) + "\n"
    broken = record("c", trial=3).to_json()
    cut = broken.replace('"config": {', '"config": [', 1) + "\n"
    torn = record("d", trial=4).to_json()[:200]
    path = write(tmp_path, "other", record("a"), "not JSON\n", newer, cut, torn)
    write(tmp_path, "bytes", record("e"))
    (tmp_path / "bytes/records.jsonl").write_bytes(b"\xff\xfe{\n")
    (tmp_path / "folder/records.jsonl").mkdir(parents=True)
    known = Known(tmp_path)
    assert [note.partition(": ")[2] for note in known.notes] == [
        f"{tmp_path / 'bytes/records.jsonl'} has lines that can't be read, 1 in all: skipped",
        f"{tmp_path / 'folder/records.jsonl'} is skipped: Is a directory",
        f"{path} has lines that can't be read, 1 in all: skipped",
    ]
    assert known.get("a" * 64) is not None
    assert known.get("b" * 64) is None
    assert known.get("b" * 64) is None
    assert known.get("c" * 64) is None
    assert known.get("d" * 64) is None
    assert len(known.notes) == 5
    assert known.notes[-2].startswith(f"search.reuse: a record of {path} is skipped: ")
    assert "colour" in known.notes[-2]


def test_a_thousand_sweeps_are_looked_through_once(tmp_path: Path) -> None:
    lines = [record("0", trial=number).to_json() for number in range(40)]
    for number in range(1000):
        text = "\n".join(line.replace("0" * 64, f"{number:064x}") for line in lines) + "\n"
        write(tmp_path, f"s{number}", text)
    began = time.process_time()
    known = Known(tmp_path)
    assert time.process_time() - began < 5
    assert len(known) == 1000
    found = known.get(f"{999:064x}")
    assert found is not None
    assert (found.sweep, found.trial) == ("s999", 0)
