"""Several people and drivers on one `mlflow server` and one PostgreSQL, by the real command."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from mlflow import MlflowClient
from mlflow_server import running_mlflow
from postgres import PASSWORD, Postgres, rows
from running import command, environment, mcl_bench, read_lines

from mcl_bench.records import UserError
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.postgres import PostgresStorage

pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]  # two servers, and five sweeps

SHORT = ("arms.mc=null", "search.trials=1", "confirm.seeds=1", "train.epochs=1")
SPACE = tuple(f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio"))
HERE = f"process {os.getpid()} on {socket.gethostname()}"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The servers, and the sweep `tiny` that Ann has finished on them."""

    folder: Path
    server: str
    studies: str
    tracking: str

    @property
    def ann(self) -> Path:
        return self.folder / "ann"

    def sweep(self, *more: str) -> list[str]:
        return ["sweep", str(self.folder / "tiny.yaml"), *SHORT, *SPACE, *more]

    def experiments(self) -> dict[str, str]:
        """The id of the sweep in each MLflow experiment, by the experiment's name."""
        client = MlflowClient(tracking_uri=self.server)
        found = {}
        for experiment in client.search_experiments():
            runs = client.search_runs([experiment.experiment_id], "tags.`mcl.kind` = 'sweep'")
            if runs:
                found[experiment.name] = runs[0].data.tags["mcl.sweep_id"]
        return found

    def written(self, sweep_id: str) -> list[Any]:
        """All that stands on both servers of the sweep with this id."""
        like = f"%@{sweep_id}/%"
        found: list[Any] = [
            rows(self.studies, f"select t.* from studies s {join} where s.study_name like %s", like)
            for join in (
                "join studies t using (study_id) ",
                "join trials t using (study_id) ",
                "join trials using (study_id) join trial_values t using (trial_id) ",
                "join trials using (study_id) join trial_user_attributes t using (trial_id) ",
            )
        ]
        ours = "select run_uuid from tags where key = 'mcl.sweep_id' and value = %s"
        found += [
            rows(self.tracking, f"select * from {table} where run_uuid in ({ours})", sweep_id)
            for table in ("runs", "tags", "params", "metrics")
        ]
        experiments = (
            f"select * from experiments where experiment_id in (select experiment_id from runs "
            f"where run_uuid in ({ours}))"
        )
        found.append(rows(self.tracking, experiments, sweep_id))
        return [sorted(map(str, part)) for part in found]


def sweep_id(home: Path) -> str:
    return str(json.loads((home / "sweeps/tiny/sweep.json").read_text())["id"])


@pytest.fixture(scope="module")
def shared(
    postgres: Postgres, tiny_experiment: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    tracking = postgres.database("tracking")
    with running_mlflow(tracking, folder / "mlflow") as server, pytest.MonkeyPatch.context() as env:
        found = Shared(folder=folder, server=server, studies=postgres.database(), tracking=tracking)
        env.setenv("MCL_TEST_STUDIES", found.studies)
        text = tiny_experiment.replace(
            "search:\n", "search:\n  storage: ${oc.env:MCL_TEST_STUDIES}\n"
        )
        (folder / "tiny.yaml").write_text(f"{text}tracking: {{uri: '{server}'}}\n")
        mcl_bench(*found.sweep(), home=found.ann)
        yield found


def test_the_second_of_two_people_is_told_whose_name_it_is_and_new_goes_on_beside_it(
    shared: Shared,
) -> None:
    ann, bob = sweep_id(shared.ann), shared.folder / "bob"
    before = shared.written(ann)
    assert all(before)
    for own in ((), (f"tracking.uri=sqlite:///{bob}/own.db",), ("search.storage=null",)):
        refused = mcl_bench(*shared.sweep(*own), home=bob, code=2)
        assert f"the sweep tiny with the id {ann}, started by " in refused.stderr
        assert f" on {socket.gethostname()}; " in refused.stderr
        assert "--new" in refused.stderr
        assert not (bob / "sweeps/tiny").exists()

    mcl_bench(*shared.sweep("--new"), home=bob)
    assert shared.experiments() == {"tiny": ann, f"tiny@{sweep_id(bob)}": sweep_id(bob)}
    assert shared.written(ann) == before
    beside = shared.written(sweep_id(bob))
    assert [len(part) for part in beside] == [len(part) for part in before]

    mcl_bench(*shared.sweep("search.trials=2"), home=shared.ann)
    assert len(read_lines(shared.ann / "sweeps/tiny/records.jsonl")) > 2
    assert shared.written(sweep_id(bob)) == beside
    again = mcl_bench(*shared.sweep("--json"), home=bob)
    assert json.loads(again.stdout)["state"] == "complete"


def test_a_second_driver_on_another_machine_is_told_who_holds_the_sweep(shared: Shared) -> None:
    elsewhere = shared.folder / "elsewhere"
    shutil.copytree(shared.ann, elsewhere)
    held = PostgresStorage(shared.studies, sweep="tiny", sweep_id=sweep_id(shared.ann))
    held.hold()
    try:
        told = mcl_bench(*shared.sweep(), home=elsewhere, code=2).stderr
        assert f"sweep tiny is being run by another driver ({HERE})" in told
        told = mcl_bench(*shared.sweep("--new"), home=elsewhere, code=2).stderr
        assert f"sweep tiny is being run by another driver ({HERE})" in told
        assert [path.name for path in (elsewhere / "sweeps").iterdir()] == ["tiny"]
    finally:
        held.close()
    mcl_bench(*shared.sweep("search.trials=2"), home=elsewhere)


def test_a_second_driver_on_this_machine_is_told_who_holds_the_sweep(
    tmp_path: Path, tiny_experiment: str
) -> None:
    (tmp_path / "tiny.yaml").write_text(tiny_experiment)
    held = SweepFolder(tmp_path / "runs/sweeps/tiny")
    experiment: Any = type("Named", (), {"name": "tiny"})
    held.open(experiment)
    with pytest.raises(UserError):
        SweepFolder(tmp_path / "runs/sweeps/tiny").open(experiment)
    told = mcl_bench("sweep", str(tmp_path / "tiny.yaml"), home=tmp_path / "runs", code=2).stderr
    assert f"sweep tiny is being run by another driver ({HERE})" in told
    held.close()


def test_no_password_is_shown_or_written_down_and_a_resume_needs_none_in_the_file(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(shared.folder / "tiny.yaml")
    said = [
        mcl_bench(*words, home=shared.ann, code=code)
        for words, code in (
            (("show", file), 0),
            (("plan", file), 0),
            (("best", "tiny", "--cell", "parts-convnet-ce"), 0),
            (("status", "tiny"), 0),
            (shared.sweep("search.storage=null"), 2),
            (shared.sweep(f"search.storage={shared.studies}x"), 2),
            (shared.sweep(f"search.storage={shared.studies.replace('//', '/')}"), 2),
            (shared.sweep("train.batch_size=9"), 2),
        )
    ]
    secrets = [PASSWORD, quote(PASSWORD, safe="")]
    texts = [text for one in said for text in (one.stdout, one.stderr)]
    texts += [
        path.read_bytes().decode(errors="replace")
        for home in (shared.ann, shared.folder / "mlflow")
        for path in home.rglob("*")
        if path.is_file()
    ]
    for table in ("tags", "params", "experiments", "experiment_tags", "runs"):
        texts.append(str(rows(shared.tracking, f"select * from {table}")))
    for text in texts:
        assert not [secret for secret in secrets if secret in text]
    kept = (shared.ann / "sweeps/tiny/experiment.yaml").read_text()
    address = shared.studies.replace(f":{secrets[1]}", "")
    assert address in kept
    monkeypatch.delenv("MCL_TEST_STUDIES", raising=False)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    for url in (address, address.replace("postgresql:", "postgresql+psycopg:")):
        mcl_bench(*shared.sweep("search.trials=2", f"search.storage={url}"), home=shared.ann)


def test_a_storage_cannot_be_changed_once_trials_exist(shared: Shared, postgres: Postgres) -> None:
    before = (shared.ann / "sweeps/tiny/events.jsonl").read_bytes()
    address = shared.studies.rpartition("@")[2]
    for url in ("null", postgres.database()):
        told = mcl_bench(*shared.sweep(f"search.storage={url}"), home=shared.ann, code=2).stderr
        now = "null" if url == "null" else f"postgresql://{url.rpartition('@')[2]}"
        assert f"search.storage: postgresql://{address} -> {now}" in told
    assert (shared.ann / "sweeps/tiny/events.jsonl").read_bytes() == before
    plan = mcl_bench("plan", *shared.sweep("search.storage=null")[1:], home=shared.ann).stdout
    assert f"search.storage: postgresql://{address}" in plan


def test_studies_changed_by_hand_are_refused_with_exit_3(shared: Shared) -> None:
    home = shared.folder / "edited"
    shutil.copytree(shared.ann, home)
    own = f"tiny@{sweep_id(home)}/"
    changes = {
        "update studies set study_name = 'x' || study_name where starts_with(study_name, %s)": (
            "update studies set study_name = substr(study_name, 2) "
            "where starts_with(study_name, 'x' || %s)",
            "the Optuna storage of this sweep's trials is gone: postgresql://tester@",
        ),
        "update trial_values set value = value + 1 where trial_id in (select trial_id from trials "
        "join studies using (study_id) where starts_with(study_name, %s))": (
            "update trial_values set value = value - 1 where trial_id in (select trial_id from "
            "trials join studies using (study_id) where starts_with(study_name, %s))",
            "/parts-convnet-ce/search: trial 0 has the value ",
        ),
    }
    for change, (back, said) in changes.items():
        with psycopg.connect(shared.studies) as connection:
            connection.execute(change, (own,))
        try:
            told = mcl_bench(*shared.sweep("search.trials=3"), home=home, code=3).stderr
        finally:
            with psycopg.connect(shared.studies) as connection:
                connection.execute(back, (own,))
        assert said in told
        assert "--new" in told


def test_a_sweep_whose_storage_goes_away_stops_and_the_same_command_goes_on(
    shared: Shared, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    words = shared.sweep("name=lost", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    long = [*words, "train.epochs=60", "search.trials=2", "search.pruner=none"]
    events = home / "sweeps/lost/events.jsonl"
    with subprocess.Popen(
        command(*long), env=environment(home), stderr=subprocess.PIPE, text=True
    ) as sweep:
        deadline = time.monotonic() + 200
        while not events.exists() or events.read_text().count('"report"') < 3:
            assert sweep.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        number = int(json.loads((home / "sweeps/lost/sweep.json").read_text())["id"], 16)
        (held,) = rows(shared.studies, "select pid from pg_locks where objid = %s", number)
        rows(shared.studies, "select pg_terminate_backend(%s)", *held)
        _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 1, said
    assert "the lock on sweep lost in postgresql://tester@127.0.0.1:" in said
    assert "Traceback" not in said
    before = read_lines(events)
    done = mcl_bench(*long, "--json", home=home)
    assert json.loads(done.stdout)["trials"] == {"complete": 3}
    told = [event for event in read_lines(events) if event["event"] == "report"]
    names = {(e["cell"], e["stage"], e["trial"], e["epoch"]) for e in told if e["seconds"]}
    assert len(names) == 3 * 60
    assert [event for event in read_lines(events)][: len(before)] == before
