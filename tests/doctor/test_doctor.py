"""Every disagreement between the sides of a sweep, planted for real, is named and mended."""

import json
import shutil
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient
from plants import (
    BATCHES,
    CE,
    CONFIRM,
    MC,
    a_run_without_its_predictions,
    in_mlflow,
    in_optuna,
    lines,
    rewrite,
    run_of,
)
from running import mcl_bench

from mcl_bench.cli.doctor import sides_of
from mcl_bench.cli.recorded import stored
from mcl_bench.doctor import Mended, examine, mend, settled
from mcl_bench.records import Finding, TrialRecord
from mcl_bench.results import read_records
from mcl_bench.sweep.folder import SweepFolder


def found(home: Path) -> list[Finding]:
    """What is wrong with the sweep."""
    folder = SweepFolder(home / "sweeps/tiny")
    folder.read()
    sides = sides_of(stored("tiny"), folder, running=False)
    return examine([side.inventory() for side in sides])


def mended(home: Path) -> Mended:
    """What is mended of the sweep, and what is left."""
    folder = SweepFolder(home / "sweeps/tiny")
    with folder.held():
        return mend(sides_of(stored("tiny"), folder, running=False))


def by_name(home: Path) -> dict[tuple[str, str, int], TrialRecord]:
    records = read_records(home / "sweeps/tiny")
    return {(record.cell, record.stage, record.trial): record for record in records}


def test_nothing_is_wrong_with_a_finished_sweep(home: Path) -> None:
    assert found(home) == []


@pytest.mark.parametrize("name", BATCHES)
def test_planted_faults_are_named_and_mended_and_no_record_is_changed(
    home: Path, name: str
) -> None:
    before = by_name(home)
    looks = (home / "sweeps/tiny/looks.jsonl").read_bytes()
    for plant, _ in BATCHES[name]:
        plant(home)
    expected = {place for _, place in BATCHES[name]}
    findings = found(home)
    named = {
        (one.side, one.kind, Path(one.where).name if one.kind == "store" else one.where)
        for one in findings
    }
    assert expected <= named, findings
    assert all(one.mends for one in findings)
    done = mended(home)
    assert done.left == ()
    assert {(one.side, one.where) for one in findings} <= {
        (one.side, one.where) for one in done.mended
    }
    assert found(home) == []
    assert by_name(home) == before
    assert (home / "sweeps/tiny/looks.jsonl").read_bytes() == looks
    kept = home / f"sweeps/tiny/trials/{CONFIRM}/predictions.parquet"
    assert kept.read_bytes() == b"predictions"
    assert not list(home.glob("sweeps/tiny/trials/**/checkpoint.pt"))


def test_only_what_was_planted_is_found(home: Path) -> None:
    in_optuna("update trials set state = 'FAIL' where trial_id = {trial}", name=CONFIRM)(home)
    (finding,) = found(home)
    assert finding.what == "Optuna: failed, not complete"
    in_mlflow(
        "update tags set value = 'pruned' where run_uuid = :run and key = 'mcl.state'",
        name=f"{MC}/search-1",
    )(home)
    _, finding = found(home)
    run = run_of(home, f"{MC}/search-1")
    assert finding.what == f"run {run}: pruned (FINISHED), not complete"


def test_a_storage_made_anew_holds_what_it_held_and_the_old_one_is_kept(home: Path) -> None:
    path = home / "sweeps/tiny/study.db"
    names = optuna.get_all_study_names(f"sqlite:///{path}")

    def held() -> dict[str, list[dict[str, object]]]:
        studies = {n: optuna.load_study(study_name=n, storage=f"sqlite:///{path}") for n in names}
        looked_at = ("number", "state", "params", "distributions", "values", "intermediate_values")
        return {
            name: [
                {of: getattr(trial, of) for of in (*looked_at, "user_attrs", "system_attrs")}
                for trial in study.trials
            ]
            for name, study in studies.items()
        }

    before = held()
    in_optuna("update trials set state = 'FAIL' where trial_id = {trial}", name=CONFIRM)(home)
    changed = path.read_bytes()
    mended(home)
    assert held() == before
    assert path.with_name("study.db.1").read_bytes() == changed


def test_a_run_that_is_sent_anew_stands_for_the_one_set_apart(home: Path) -> None:
    name = f"{CE}/search-1"
    old = run_of(home, name)
    in_mlflow(
        "update params set value = '0.5' where run_uuid = :run and key = 'train.optimizer.lr'",
        name=name,
    )(home)
    mended(home)
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    apart = client.get_run(old)
    assert (apart.data.tags["mcl.kind"], apart.info.lifecycle_stage) == ("apart", "active")
    (new,) = client.search_runs(
        [apart.info.experiment_id], filter_string=f"tags.`mcl.replaces` = '{old}'"
    )
    assert new.data.params["train.optimizer.lr"] != "0.5"
    steps = [m.step for m in client.get_metric_history(new.info.run_id, "val/top1")]
    assert steps == [1, 2, 3]


def test_what_no_file_tells_is_left_and_the_exit_says_so(home: Path) -> None:
    folder = home / "sweeps/tiny"
    records = lines(folder / "records.jsonl")
    rewrite(folder / "records.jsonl", records[1:])
    (folder / "results.parquet").unlink()
    gone = f"{records[0]['cell']}/{records[0]['stage']}-{records[0]['trial']}"
    told = json.loads(mcl_bench("doctor", "tiny", "--fix", "--json", home=home, code=1).stdout)
    assert [(one["side"], one["kind"], one["trial"]) for one in told["findings"]] == [
        ("records", "lost", gone)
    ]
    assert told["findings"][0]["mends"] is False
    assert ("table", "behind") in {(one["side"], one["kind"]) for one in told["mended"]}


def test_looks_that_were_tampered_with_are_named_and_left_as_they_are(home: Path) -> None:
    path = home / "sweeps/tiny/looks.jsonl"
    rewrite(path, lines(path)[1:])
    before = path.read_bytes()
    said = mcl_bench("doctor", "tiny", "--fix", home=home, code=1).stdout
    assert "looks: looks.jsonl: sweep tiny: the ledger of looks at test has been tampered" in said
    assert "(--fix can't mend it)" in said
    assert path.read_bytes() == before


def test_what_a_run_does_not_keep_is_sent_again(home: Path) -> None:
    a_run_without_its_predictions(home)
    said = mcl_bench("doctor", "tiny", home=home, code=1).stdout
    run = run_of(home, CONFIRM)
    assert f"mlflow: {CONFIRM}: run {run}: lacks predictions.parquet; what is missing" in said
    said = mcl_bench("doctor", "tiny", "--fix", home=home).stdout
    assert said.endswith("nothing is wrong with tiny\n")
    assert mcl_bench("doctor", "tiny", home=home).stdout == "nothing is wrong with tiny\n"


def test_a_home_that_was_moved_is_named_and_its_artifacts_are_found_again(home: Path) -> None:
    moved = home.parent / "elsewhere"
    shutil.move(home, moved)
    said = mcl_bench("doctor", "tiny", home=moved, code=1).stdout
    assert f"URIs of artifacts are of another place, such as file://{home}" in said
    mcl_bench("doctor", "tiny", "--fix", home=moved)
    assert mcl_bench("doctor", "tiny", home=moved).stdout == "nothing is wrong with tiny\n"
    client = MlflowClient(f"sqlite:///{moved / 'mlflow.db'}")
    run = client.get_run(run_of(moved, CONFIRM))
    assert run.info.artifact_uri.startswith(f"{moved.as_uri()}/mlartifacts/")
    read = Path(client.download_artifacts(run.info.run_id, "predictions.parquet"))
    assert read.read_bytes() == b"predictions"


def test_a_sweep_that_is_being_run_is_not_mended(home: Path) -> None:
    folder = SweepFolder(home / "sweeps/tiny")
    with folder.held():
        refused = mcl_bench("doctor", "tiny", "--fix", home=home, code=2)
        looked = mcl_bench("doctor", "tiny", home=home)
    assert "sweep tiny is being run by another driver" in refused.stderr
    assert "a driver runs tiny" in looked.stderr


def test_while_a_driver_runs_only_what_has_settled_is_looked_at(home: Path) -> None:
    in_optuna(
        "delete from trial_values where trial_id = {trial}",
        "update trials set state = 'RUNNING' where trial_id = {trial}",
        name=f"{CE}/search-0",
    )(home)
    folder = SweepFolder(home / "sweeps/tiny")
    folder.read()
    sides = sides_of(stored("tiny"), folder, running=True)
    inventories = [side.inventory() for side in sides]
    ended = by_name(home)[CE, "search", 0].finished
    assert examine(settled(inventories, now=ended + 59)) == []
    (finding,) = examine(settled(inventories, now=ended + 61))
    assert (finding.side, finding.kind) == ("optuna", "untold")


def test_a_name_that_no_sweep_has_and_a_damaged_file_have_their_exit_codes(home: Path) -> None:
    assert "there is no sweep nobody" in mcl_bench("doctor", "nobody", home=home, code=2).stderr
    (home / "sweeps/tiny/study.db").write_bytes(b"not a database" * 100)
    assert "is damaged" in mcl_bench("doctor", "tiny", home=home, code=3).stderr
    records = home / "sweeps/tiny/records.jsonl"
    records.write_text("{broken\n" + records.read_text())
    assert (
        f"line 1 of {records} is damaged"
        in mcl_bench("doctor", "tiny", "--fix", home=home, code=3).stderr
    )
