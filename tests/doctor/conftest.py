"""A finished sweep of seconds, which each test of the doctor gets as it was left."""

import shutil
from pathlib import Path

import pytest
from driven import drive

from mcl_bench.results.artifacts_side import ArtifactsSide
from mcl_bench.spec import load


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    """The home of a finished sweep."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(tiny_experiment)
    drive(load(folder / "tiny.yaml", ["search.trials=3"]), folder / "runs")
    return folder / "runs"


@pytest.fixture
def home(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_temporary_folder: None,  # noqa: ARG001
) -> Path:
    """A copy of the finished sweep's home, at a place of its own: MLflow keeps its files open."""
    home = tmp_path / "runs"
    shutil.copytree(finished, home)
    ArtifactsSide(home).mend(())
    monkeypatch.setenv("MCL_HOME", str(home))
    return home
