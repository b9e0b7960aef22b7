"""What the doctor says of a machine: versions, room, rights, and the store's tables."""

import json
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from running import mcl_bench

from mcl_bench.sweep.machine import MachineSide

pytestmark = pytest.mark.usefixtures("own_temporary_folder")


def test_nothing_is_wrong_with_this_machine_and_its_facts_are_told(tmp_path: Path) -> None:
    said = mcl_bench("doctor", "--json", home=tmp_path / "runs").stdout
    told = json.loads(said)
    assert told["findings"] == []
    assert told["machine"]["MLflow store"] == "none yet"
    assert not (tmp_path / "runs").exists(), "looking makes nothing"


def test_a_package_that_is_too_old_or_absent_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "optuna":
            return "4.9.1"
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    faults = MachineSide(tmp_path).inventory().faults
    assert [(fault.where, fault.what.split(",")[0]) for fault in faults] == [
        ("optuna", "optuna is 4.9.1"),
        ("pillow", "pillow is not installed"),
    ]
    assert not any(fault.mends for fault in faults)


def test_a_home_in_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    faults = MachineSide(tmp_path / "file" / "runs").inventory().faults
    assert "home" in {fault.kind for fault in faults}


def test_a_store_of_another_form_is_named_and_a_damaged_one_told(home: Path) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        store.execute("update alembic_version set version_num = 'before'")
    told = json.loads(mcl_bench("doctor", "--json", home=home, code=1).stdout)
    (finding,) = told["findings"]
    assert finding["what"].startswith("the tables of the MLflow store are of before")
    (home / "mlflow.db").write_bytes(b"no database" * 100)
    assert "is damaged" in mcl_bench("doctor", home=home, code=3).stderr
