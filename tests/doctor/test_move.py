"""A sweep's record moved from the embedded MLflow to a server on PostgreSQL."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import running_mlflow
from postgres import Postgres
from recorded_runs import RecordedRun, recorded_runs
from running import mcl_bench

from mcl_bench.results.runs_side import REPLACES
from mcl_bench.sweep.folder import SweepFolder


def runs_at(uri: str, home: Path) -> dict[str, RecordedRun]:
    """All runs of the sweep; which runs they stand for is known to the doctor only."""
    folder = SweepFolder(home / "sweeps/tiny")
    folder.read()
    found = recorded_runs(uri, folder.id, "tiny")
    for run in found.values():
        run.tags.pop(REPLACES, None)
    return found


def rows_at(uri: str) -> dict[str, dict[str, float]]:
    """The rows of MLflow's leaderboard."""
    client = MlflowClient(tracking_uri=uri)
    board = client.get_experiment_by_name("leaderboard")
    assert board is not None
    runs = client.search_runs([board.experiment_id])
    return {str(run.info.run_name): run.data.metrics for run in runs}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_temporary_folder")
def test_the_doctor_brings_a_sweep_to_another_mlflow_whole(
    tiny_experiment: str, postgres: Postgres, tmp_path: Path
) -> None:
    home, first = tmp_path / "runs", tmp_path / "tiny.yaml"
    first.write_text(tiny_experiment)
    mcl_bench("sweep", str(first), "search.trials=2", home=home, ray=False)
    embedded = f"sqlite:///{home / 'mlflow.db'}"
    before, rows = runs_at(embedded, home), rows_at(embedded)
    file = str(home / "sweeps/tiny/experiment.yaml")
    with running_mlflow(postgres.database("moved"), tmp_path / "server") as server:
        words = ("sweep", file, f"tracking.uri={server}")
        said = " ".join(mcl_bench(*words, home=home, ray=False).stdout.split())
        assert "`mcl-bench doctor tiny --fix` sends it what was recorded until now" in said
        assert "MLflow has no run of" in mcl_bench("doctor", "tiny", home=home, code=1).stdout
        mcl_bench("doctor", "tiny", "--fix", home=home)
        assert runs_at(server, home) == before
        assert rows_at(server) == rows
        client = MlflowClient(tracking_uri=server, registry_uri=server)
        name = "mcl_bench-parts"
        versions = client.search_model_versions(f"name = '{name}'")
        cells = {version.tags["mcl.cell"] for version in versions}
        assert cells == {"parts-convnet-ce", "parts-convnet-mc"}
        assert client.get_model_version_by_alias(name, "best")
    assert runs_at(embedded, home) == before
