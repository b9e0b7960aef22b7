"""The room of a sweep's checkpoints, with real files."""

import json
import os
from pathlib import Path

import pytest

from mcl_bench.spec.schema import AdamWSpec, SgdSpec
from mcl_bench.sweep.quota import Quota, checkpoint_bytes, keep_weights
from mcl_bench.sweep.worker import TrialWorker


class Files:
    """A sweep's files: trials in the order of their launch, and a quota in bytes."""

    def __init__(self, folder: Path, quota: int | None) -> None:
        self.folder = folder
        self.notes: list[str] = []
        gigabytes = None if quota is None else quota / 1e9
        self.quota = Quota(gigabytes, files=folder, note=self.notes.append)
        self.quota.open()
        self.trials: list[Path] = []

    def save(self, name: str, *, lease: str = "l", size: int = 100, age: float = 0.0) -> Path:
        trial = self.folder / "trials/c" / name
        if trial not in self.trials:
            self.trials.append(trial)
        path = trial / lease / "checkpoint.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (1e9 - age, 1e9 - age))
        return path

    def tend(self) -> list[str]:
        self.quota.tend(self.trials, at_once=True)
        return sorted(path.parent.parent.name for path in self.folder.rglob("checkpoint.pt"))


def test_within_the_quota_every_trial_keeps_its_newest_checkpoint(tmp_path: Path) -> None:
    files = Files(tmp_path, 400)
    old = files.save("search-0", lease="a", age=10)
    files.save("search-0", lease="b")
    files.save("search-1")
    assert files.tend() == ["search-0", "search-1"]
    assert not old.exists()
    assert not files.quota.full_file.exists()
    assert files.notes == []


def test_over_the_quota_the_last_launched_lose_theirs_and_no_first_one_is_written(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path, 250)
    for number in range(4):
        files.save(f"search-{number}")
    assert files.tend() == ["search-0", "search-1"]
    assert files.quota.full_file.exists()
    assert files.tend() == ["search-0", "search-1"]
    assert files.quota.full_file.exists(), "there is no room for a third"
    assert len(files.notes) == 1
    assert "2 of running trials deleted" in files.notes[0]
    files.trials[0].joinpath("l/checkpoint.pt").unlink()
    files.tend()
    assert not files.quota.full_file.exists()


def test_a_cells_weights_count_and_only_the_last_confirmed_best_keeps_them(tmp_path: Path) -> None:
    files = Files(tmp_path, 250)
    cell = tmp_path / "trials/c"
    for number in (0, 3):
        (cell / f"confirm-{number}").mkdir(parents=True)
        (cell / f"confirm-{number}/weights.safetensors").write_bytes(b"x" * 100)
    files.save("search-0")
    assert files.tend() == []
    keep_weights(cell, cell / "confirm-3")
    keep_weights(cell, cell / "confirm-4")  # failed, and left none
    assert [path.parent.name for path in cell.rglob("weights.safetensors")] == ["confirm-3"]
    files.save("search-0")
    assert files.tend() == ["search-0"]


def test_without_a_quota_nothing_is_looked_at(tmp_path: Path) -> None:
    files = Files(tmp_path, None)
    files.save("search-0", lease="a")
    files.save("search-0", lease="b")
    assert files.tend() == ["search-0", "search-0"]


@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [(SgdSpec(momentum=0.9), 2), (SgdSpec(momentum=0.0), 1), (AdamWSpec(name="adamw"), 3)],
)
def test_a_checkpoint_holds_the_weights_and_what_the_optimiser_keeps_of_each(
    optimizer: SgdSpec | AdamWSpec, copies: int
) -> None:
    assert checkpoint_bytes(1000, optimizer) == 4000 * copies


def test_while_there_is_no_room_a_trial_writes_no_first_checkpoint_but_goes_on_with_its_own(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path, 250)
    worker: TrialWorker = object.__new__(TrialWorker)  # without Ray, which would set it up
    trial = {"folder": str(tmp_path / "trials/c/search-9/lease")}
    worker._config = {"full": str(files.quota.full_file), "trial": json.dumps(trial)}

    def saves() -> bool:
        worker._saved = 0.0
        return worker._due()

    assert saves()
    files.quota.full_file.touch()
    assert not saves()
    files.save("search-9", lease="earlier")
    assert saves()
