"""A tracking server that is away, frozen, or answers 500 while a sweep runs: nothing is missing."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from in_process import Killed, Sweep
from mlflow_proxy import Proxy, proxied
from mlflow_server import MlflowServer, served
from recorded_runs import RecordedRun, recorded_runs
from running import mcl_bench, read_lines

from mcl_bench.results.table import read_table

OVERRIDES = (
    "arms.mc=null",
    *(f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio")),
    "search.pruner=none",
    "search.trials=3",
    "confirm.seeds=1",
    "train.epochs=2",
)

pytestmark = pytest.mark.usefixtures("own_temporary_folder")
STEPS = 8
"""So many epochs are trained in all."""

numbers = itertools.count(1)


@dataclass(kw_only=True)
class Outage:
    """One sweep on the server, with what happens before each of its epochs."""

    file: Path
    home: Path
    server: MlflowServer
    proxy: Proxy
    at: dict[int, Callable[[], object]] = field(default_factory=dict)
    experiment: str = field(default_factory=lambda: f"outage-{next(numbers)}")

    def drive(self) -> None:
        """Run the sweep, or go on with it."""
        epochs = itertools.count(1)

        def come_to_epoch() -> bool:
            self.at.pop(next(epochs), lambda: None)()
            return False

        words = (f"tracking.uri={self.proxy.uri}", f"tracking.experiment={self.experiment}")
        Sweep(
            file=self.file, home=self.home, overrides=(*OVERRIDES, *words), disturb=come_to_epoch
        ).drive()

    @property
    def folder(self) -> Path:
        return self.home / "sweeps/tiny"

    @property
    def notes(self) -> list[str]:
        """What people are told."""
        events = read_lines(self.folder / "events.jsonl")
        return [event["text"] for event in events if event["event"] == "note"]

    def recorded(self) -> dict[str, RecordedRun]:
        """What the server holds of it."""
        first = read_lines(self.folder / "events.jsonl")[0]
        return recorded_runs(self.server.uri, first["id"], self.experiment)

    def check(self, undisturbed: dict[str, RecordedRun]) -> None:
        """The record is the undisturbed one, the table knows its runs, and nothing is kept."""
        assert self.recorded() == undisturbed
        rows = read_table(self.folder / "results.parquet")
        assert len(rows) == len({row.run_id for row in rows} - {""}) == 4
        assert not (self.folder / "spool.jsonl").exists()

    def doctor(self) -> str:
        """What the doctor says, who finds nothing to mend."""
        return mcl_bench("doctor", "tiny", home=self.home).stdout


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: str) -> Path:
    path = tmp_path_factory.mktemp("outages") / "tiny.yaml"
    path.write_text(tiny_experiment)
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(f"sqlite:///{file.parent}/mlflow.db", file.parent / "mlflow")
    with served(made):
        yield made


@pytest.fixture(scope="module")
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    with proxied(server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def undisturbed(file: Path, server: MlflowServer, proxy: Proxy) -> dict[str, RecordedRun]:
    home = file.parent / "undisturbed"
    sweep = Outage(file=file, home=home, server=server, proxy=proxy)
    sweep.drive()
    assert sweep.notes == []
    return sweep.recorded()


@pytest.fixture
def outage(
    file: Path,
    tmp_path: Path,
    server: MlflowServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Outage:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    proxy.fault = None
    return Outage(file=file, home=tmp_path / "runs", server=server, proxy=proxy)


def set_fault(proxy: Proxy, fault: str | None) -> Callable[[], None]:
    return lambda: setattr(proxy, "fault", fault)


def test_the_undisturbed_record_is_whole(undisturbed: dict[str, RecordedRun]) -> None:
    assert sorted(undisturbed) == [
        "cell parts-convnet-ce",
        "sweep tiny",
        "trial parts-convnet-ce/confirm-0",
        *(f"trial parts-convnet-ce/search-{number}" for number in range(3)),
    ]
    assert {run.status for run in undisturbed.values()} == {"FINISHED"}
    trial = undisturbed["trial parts-convnet-ce/confirm-0"]
    assert trial.points["train/loss", 1] == trial.points["train/loss", 2] == 1
    assert "predictions.parquet" in trial.files


@pytest.mark.parametrize("fault", ["500", pytest.param("refuse", marks=pytest.mark.soak), "late"])
def test_a_server_that_fails_for_a_while_has_everything_afterwards(
    outage: Outage, undisturbed: dict[str, RecordedRun], fault: str
) -> None:
    outage.at = {2: set_fault(outage.proxy, fault), 6: set_fault(outage.proxy, None)}
    outage.drive()
    outage.check(undisturbed)
    assert outage.doctor() == "nothing is wrong with tiny\n"
    away, back = outage.notes
    assert away.startswith("MLflow does not take the record (")
    assert back.startswith("MLflow takes the record again")


@pytest.mark.soak
def test_a_server_killed_and_started_again_has_everything_afterwards(
    outage: Outage, undisturbed: dict[str, RecordedRun]
) -> None:
    outage.at = {2: outage.server.kill, 6: outage.server.begin}
    outage.drive()
    outage.check(undisturbed)
    assert len(outage.notes) == 2


def test_a_frozen_server_holds_up_no_trial_and_has_everything_afterwards(
    outage: Outage, undisturbed: dict[str, RecordedRun]
) -> None:
    frozen = outage.server.frozen()
    outage.at = {2: frozen.__enter__, STEPS: lambda: frozen.__exit__(None, None, None)}
    outage.drive()
    outage.check(undisturbed)


def test_a_driver_killed_while_the_server_is_away_is_gone_on_with_without_it(
    outage: Outage, undisturbed: dict[str, RecordedRun]
) -> None:
    def die() -> None:
        raise Killed

    outage.at = {2: set_fault(outage.proxy, "refuse"), 5: die}
    with pytest.raises(Killed):
        outage.drive()
    kept = read_lines(outage.folder / "spool.jsonl")
    assert "finish" in {line.get("call") for line in kept}
    outage.at = {2: set_fault(outage.proxy, None)}
    outage.drive()
    outage.check(undisturbed)
    away = [note for note in outage.notes if note.startswith("MLflow does not take the record (")]
    assert len(away) == 2, "each driver says so"


def test_a_sweep_that_ends_without_its_server_is_whole_but_for_mlflow(
    outage: Outage, undisturbed: dict[str, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl_bench.sweep.book.DRAIN_SECONDS", 0.5)
    monkeypatch.setattr("mcl_bench.sweep.book.WORD_SECONDS", 0.1)
    outage.at = {2: set_fault(outage.proxy, "refuse")}
    outage.drive()
    rows = read_table(outage.folder / "results.parquet")
    assert {row.state for row in rows} == {"complete"}
    assert [row for row in rows if not row.run_id]
    told = mcl_bench("doctor", "tiny", home=outage.home, code=1).stdout
    assert "spool: spool.jsonl: MLflow has not taken " in told
    assert "MLflow: tracking.uri: MLflow at http://127.0.0.1" in told
    outage.proxy.fault = None
    told = mcl_bench("doctor", "tiny", "--fix", home=outage.home).stdout
    assert "mended: spool: spool.jsonl: MLflow has not taken " in told
    assert "the record does not name its run" in told
    outage.check(undisturbed)
    assert outage.doctor() == "nothing is wrong with tiny\n"


@pytest.mark.soak
def test_the_same_command_sends_what_a_finished_sweep_has_kept(
    outage: Outage, undisturbed: dict[str, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcl_bench.sweep.book.DRAIN_SECONDS", 0.5)
    monkeypatch.setattr("mcl_bench.sweep.book.WORD_SECONDS", 0.1)
    outage.at = {2: set_fault(outage.proxy, "refuse")}
    outage.drive()
    words = (f"tracking.uri={outage.proxy.uri}", f"tracking.experiment={outage.experiment}")
    outage.proxy.fault = None
    mcl_bench("sweep", str(outage.file), *OVERRIDES, *words, home=outage.home, ray=False)
    outage.check({**undisturbed, "sweep tiny": outage.recorded()["sweep tiny"]})
