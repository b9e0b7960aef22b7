import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from mlflow_tables import query, seen
from results_stories import CE, MC, epochs, record
from tracker_contract import CONFIG, See, config, name, words

from mcl_bench.records import UserError
from mcl_bench.results import MlflowTracker
from mcl_bench.results.store import embedded_uri

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: it takes seconds to make, and each test has its own sweep."""
    return tmp_path_factory.mktemp("a home") / "runs"


@pytest.fixture
def sweep() -> str:
    return f"story-{uuid.uuid4().hex[:8]}"


MakeMlflow = Callable[[], MlflowTracker]


@pytest.fixture
def make_tracker(home: Path, sweep: str) -> MakeMlflow:
    return lambda: MlflowTracker(sweep=sweep, uri=embedded_uri(home), home=home)


@pytest.fixture
def see(home: Path) -> See:
    return partial(seen, home)


def opened(tracker: MlflowTracker, sweep_id: str = "0a1b2c3d") -> MlflowTracker:
    tracker.open_sweep(sweep_id=sweep_id, config=CONFIG)
    tracker.open_cell(words(CE))
    return tracker


@pytest.fixture
def tracker(make_tracker: MakeMlflow) -> MlflowTracker:
    return opened(make_tracker())


def test_a_trials_run_has_its_name_tags_and_flat_parameters(
    tracker: MlflowTracker, see: See, sweep: str
) -> None:
    settings = {"data.options.classes": 12, "loss.lambda": 5.0, "train.milestones": [1, 2]}
    run = see(tracker.start_trial(config(sweep, number=3, **settings)))
    assert {key: value for key, value in run.tags.items() if key.startswith("mcl.")} == {
        "mcl.sweep_id": "0a1b2c3d",
        "mcl.kind": "trial",
        "mcl.stage": "search",
        "mcl.sweep": sweep,
        "mcl.cell": CE,
        "mcl.dataset": "parts",
        "mcl.backbone": "convnet",
        "mcl.arm": "ce",
        "mcl.trial": "3",
        "mcl.seed": "7",
        "mcl.key": record(trial=3).key,
        "mcl.state": "running",
    }
    assert run.tags["mlflow.runName"] == f"{CE}/search-3"
    assert run.params == {
        "data.name": "parts",
        "data.resize.short": "32",
        "model.xi": "3",
        "train.epochs": "2",
        "confirm.refit": "true",
        "loss.name": "ce",
        "data.options.classes": "12",
        "loss.lambda": "5.0",
        "train.milestones": "[1, 2]",
    }


def test_a_trial_ends_when_its_record_says(tracker: MlflowTracker, home: Path, sweep: str) -> None:
    run = tracker.start_trial(config(sweep))
    tracker.finish_trial(record(run_id=run))
    assert query(home, "select end_time from runs where run_uuid = ?", run) == [
        (1_700_000_090_500,)
    ]


def test_more_metrics_than_one_batch_takes_arrive_whole(
    tracker: MlflowTracker, see: See, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep))
    tracker.log_epochs(name(), epochs([k / 1000 for k in range(1000)]))
    assert len(see(run).points) == 2000
    assert see(run).steps == list(range(1, 1001))


def test_a_value_longer_than_mlflow_keeps_does_not_stop_a_trial(
    tracker: MlflowTracker, see: See, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep, **{"data.options.names": ["é" * 9000]}))
    tracker.finish_trial(record(run_id=run, state="failed", cause="c" * 9000))
    assert see(run).status == "FAILED"
    assert len(see(run).params["data.options.names"]) == 6000


def test_an_adopted_run_gets_the_parameters_that_its_maker_did_not_send(
    tracker: MlflowTracker, make_tracker: MakeMlflow, see: See, home: Path, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep))
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("delete from params where run_uuid = ? and key = 'data.name'", (run,))
    again = make_tracker()
    assert opened(again).start_trial(config(sweep)) == run
    assert see(run).params["data.name"] == "parts"


def test_a_run_of_another_sweep_is_not_adopted(
    tracker: MlflowTracker, home: Path, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep))
    beside = f"{sweep}-other"
    other = opened(MlflowTracker(sweep=beside, uri=embedded_uri(home), home=home), "99999999")
    assert other.start_trial(config(beside), known_run_id=run) != run


def test_a_trials_run_that_was_deleted_is_made_anew(
    tracker: MlflowTracker, make_tracker: MakeMlflow, home: Path, see: See, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep))
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("update runs set lifecycle_stage='deleted' where run_uuid = ?", (run,))
    again = make_tracker()
    made = opened(again).start_trial(config(sweep), known_run_id=run)
    assert made != run
    assert see(made).status == "RUNNING"


def test_a_record_without_a_run_gets_one_when_it_is_finished(
    tracker: MlflowTracker, home: Path
) -> None:
    tracker.finish_trial(record(run_id="", epochs=epochs([0.5])))
    ((entry,),) = [tracker.inventory().trials]
    assert entry.state == "complete"
    text = "select count(*) from metrics where run_uuid = ? and key = 'train/loss'"
    assert query(home, text, entry.run_id) == [(1,)]


def test_a_confirm_trial_keeps_its_configuration_and_environment(
    tracker: MlflowTracker, home: Path, sweep: str
) -> None:
    run = tracker.start_trial(config(sweep, stage="confirm"))
    ended = record(stage="confirm", run_id=run)
    tracker.finish_trial(ended)
    folder = next((home / "mlartifacts").rglob(run)) / "artifacts"
    assert json.loads((folder / "config.json").read_text()) == ended.config
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["mlflow"]
    assert environment["hardware"]["cpus"] == os.cpu_count()
    assert environment["versions"] == {"torch": "2.14"}


def test_the_looks_of_a_cell_are_counted_in_its_summary(
    tracker: MlflowTracker, home: Path, see: See, sweep: str
) -> None:
    folder = home / "sweeps" / sweep
    folder.mkdir(parents=True)
    looks = [(CE, 1), (CE, 2), (CE, 2), (MC, 1)]
    lines = [json.dumps({"cell": cell, "key": "k", "seed": seed}) for cell, seed in looks]
    (folder / "looks.jsonl").write_text("\n".join(lines) + "\n")
    records = [record(), record(stage="confirm", value=0.5)]
    tracker.finish_cell(CE, state="confirm", records=records)
    run = tracker.open_cell(words(CE))
    values = {name: value for name, _, _, value in see(run).points}
    assert values == {"test/top1_mean": 0.5, "seeds": 1, "test_looks": 2}


@pytest.mark.usefixtures("tracker")
def test_an_experiment_of_another_sweep_of_this_name_is_refused(home: Path, sweep: str) -> None:
    other = MlflowTracker(sweep=sweep, uri=embedded_uri(home), home=home)
    with pytest.raises(UserError, match=f"{sweep} .* id 0a1b2c3d, started by .+ on .+; "):
        other.open_sweep(sweep_id="99999999", config=CONFIG)
    ((count,),) = query(
        home,
        "select count(*) from tags where key = 'mcl.sweep_id' and value = '99999999' and "
        "run_uuid in (select run_uuid from tags where key = 'mcl.sweep' and value = ?)",
        sweep,
    )
    assert count == 0


def test_sweeps_of_several_names_may_share_an_experiment_that_is_named(
    home: Path, sweep: str
) -> None:
    uri, shared = embedded_uri(home), f"team/{sweep}"
    for beside, sweep_id in ((sweep, "11111111"), (f"{sweep}-b", "22222222")):
        opened(MlflowTracker(sweep=beside, uri=uri, home=home, experiment=shared), sweep_id)
    again = MlflowTracker(sweep=sweep, uri=uri, home=home, experiment=shared)
    with pytest.raises(UserError, match="11111111"):
        again.open_sweep(sweep_id="33333333", config=CONFIG)


@pytest.mark.usefixtures("tracker")
def test_an_experiment_that_was_deleted_is_refused_with_the_way_back(
    home: Path, sweep: str
) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        text = "update experiments set lifecycle_stage = 'deleted' where name = ?"
        database.execute(text, (sweep,))
    again = MlflowTracker(sweep=sweep, uri=embedded_uri(home), home=home)
    with pytest.raises(UserError, match="has been deleted") as caught:
        again.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    assert "mlflow experiments restore -x" in str(caught.value)


def test_a_plain_folder_as_tracking_uri_is_refused_by_name(tmp_path: Path, sweep: str) -> None:
    tracker = MlflowTracker(sweep=sweep, uri=f"file://{tmp_path}/mlruns", home=tmp_path)
    with pytest.raises(
        UserError, match=r"tracking\.uri: MLflow at file:.* can't be used"
    ) as caught:
        tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
    assert caught.value.key == "tracking.uri"


DRIVER = """\
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tracker_contract import CONFIG, config, words
from mcl_bench.results import MlflowTracker
home, sweep = Path(sys.argv[1]), sys.argv[2]
tracker = MlflowTracker(sweep=sweep, uri=f"sqlite:///{{home / 'mlflow.db'}}", home=home)
tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)
tracker.open_cell(words())
tracker.start_trial(config(sweep))
"""


def drive(home: Path, sweep: str, folder: Path) -> subprocess.Popen[str]:
    code = DRIVER.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home), sweep],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_two_drivers_make_one_store_at_once_without_a_word(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    drivers = [drive(home, name, tmp_path) for name in ("left", "right")]
    for driver in drivers:
        out, err = driver.communicate(timeout=60)
        assert (driver.returncode, out, err) == (0, "", "")
    found = query(home, "select name from experiments where experiment_id != 0 order by name")
    assert found == [("left",), ("right",)]
    kept = {path.name for path in home.iterdir()}
    assert kept == {"mlflow.db", "mlflow.lock", "mlartifacts"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_half_a_store_that_a_crash_left_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.unfinished").write_bytes(b"half")
    opened(MlflowTracker(sweep="s", uri=embedded_uri(tmp_path), home=tmp_path))
    assert not (tmp_path / ".mlflow.db.unfinished").exists()
    assert query(tmp_path, "select name from experiments where name = 's'") == [("s",)]


def test_a_store_that_an_earlier_mlflow_made_is_brought_up_to_date(tmp_path: Path) -> None:
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = utils.create_sqlalchemy_engine(embedded_uri(tmp_path))
    Base.metadata.create_all(engine)
    engine.dispose()
    opened(MlflowTracker(sweep="s", uri=embedded_uri(tmp_path), home=tmp_path))
    ((version,),) = query(tmp_path, "select version_num from alembic_version")
    assert version == utils._get_latest_schema_revision()


def test_a_store_of_a_later_mlflow_is_refused_by_name(
    home: Path, sweep: str, tmp_path: Path
) -> None:
    import shutil

    opened(MlflowTracker(sweep=sweep, uri=embedded_uri(home), home=home))
    shutil.copy(home / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    tracker = MlflowTracker(sweep=sweep, uri=embedded_uri(tmp_path), home=tmp_path)
    with pytest.raises(UserError, match=r"mlflow\.db was made by another MLflow"):
        tracker.open_sweep(sweep_id="0a1b2c3d", config=CONFIG)


def test_importing_the_results_loads_no_mlflow() -> None:
    code = (
        "import sys, mcl_bench.results;"
        "print([m for m in ('mlflow', 'torch', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_mlflow_sends_nothing_about_its_use(home: Path, sweep: str) -> None:
    code = (
        "from pathlib import Path; from mcl_bench.results.store import open_client;"
        "from sys import argv; home = Path(argv[1]);"
        "open_client(f'sqlite:///{home}/mlflow.db', home);"
        "from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY;"
        "from mlflow.telemetry.client import get_telemetry_client;"
        "print(MLFLOW_DISABLE_TELEMETRY.get(), get_telemetry_client())"
    )
    opened(MlflowTracker(sweep=sweep, uri=embedded_uri(home), home=home))
    told = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    plain = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=plain,
    )
    assert done.stdout.strip() == "True None"
