"""A trial's checkpoints are gone once it has ended, even if its driver dies in between."""

from pathlib import Path

import pytest
from driven import drive

from mcl_bench.spec import load
from mcl_bench.sweep import book


class Killed(BaseException):
    """Ends a driver where a SIGKILL would."""


def test_the_driver_that_goes_on_deletes_checkpoints_of_trials_that_had_been_recorded(
    tmp_path: Path, tiny_experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_experiment)
    experiment = load(tmp_path / "tiny.yaml", ["search.trials=1", "confirm.seeds=1"])

    def kill(point: str) -> None:
        if point == "after-record":
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(book, "reach", kill)
        drive(experiment, tmp_path / "runs")
    trials = tmp_path / "runs/sweeps/tiny/trials"
    assert list(trials.rglob("checkpoint.pt"))
    drive(experiment, tmp_path / "runs")
    assert not list(trials.rglob("checkpoint.pt"))
    assert len(list(trials.rglob("predictions.parquet"))) == 2
