"""The verbs about data sets: list, prepare and show, and calls that are wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcl_bench.cli import app
from mcl_bench.records import DataError, UserError

PARTS = ("--option", "classes=3", "--option", "train_per_class=6", "--option", "test_per_class=2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(*arguments: str, home: Path) -> str:
    environment = {"MCL_HOME": str(home), "MCL_DATA": str(home / "data")}
    done = CliRunner(env=environment).invoke(app, ["data", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def document(*arguments: str, home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", home=home))
    return found


def test_the_list_names_every_set_and_fits_80_columns(home: Path) -> None:
    said = run("list", home=home)
    assert max(map(len, said.splitlines())) <= 80
    names = {entry["name"] for entry in document("list", home=home)["data"]}
    assert {"parts", "elpv", "digits", "folder", "cub200"} <= names
    for name in names:
        assert f"\n{name} " in f"\n{said}"


def test_one_set_is_told_with_citation_licence_archives_and_traps(home: Path) -> None:
    (facts,) = document("list", "cub200", home=home)["data"]
    assert {"citation", "licence", "archives", "traps", "counts", "folder"} <= set(facts)
    said = run("list", "cub200", home=home)
    assert "Wah, Branson" in said
    assert "97eceeb196236b17998738112f37df78" in said


def test_prepare_packs_once_and_tells_what_is_there(home: Path) -> None:
    (first,) = document("prepare", "parts", *PARTS, "--size", "32", home=home)["data"]
    assert first["images"] == {"train": 18, "test": 6}
    assert (first["classes"], first["size"]) == (3, 32)
    assert Path(first["train"]).parent == home / "store"
    assert first["bytes"] == sum(Path(first[key]).stat().st_size for key in ("train", "test"))
    written = Path(first["train"]).stat().st_mtime_ns
    assert document("prepare", "parts", *PARTS, "--size", "32", home=home)["data"] == [first]
    assert Path(first["train"]).stat().st_mtime_ns == written
    said = run("prepare", "parts", *PARTS, "--size", "32", home=home)
    assert "3 classes, 18 training and 6 test images at 32 px" in said
    assert first["digest"] in said


def test_prepare_packs_all_data_of_an_experiment_file(
    home: Path, tmp_path: Path, tiny_experiment: str
) -> None:
    file = tmp_path / "tiny.yaml"
    small = "{classes: 3, train_per_class: 6, test_per_class: 2, size: 32}"
    matrix = (
        "matrix:\n  data:\n  - {name: parts}\n"
        f"  - {{name: parts, label: few, options: {small}}}\n"
    )
    file.write_text(tiny_experiment + matrix)
    packs = document("prepare", "--file", str(file), home=home)["data"]
    assert [(pack["classes"], pack["images"]["train"]) for pack in packs] == [(4, 40), (3, 18)]


def test_prepare_names_the_line_of_the_file_that_is_wrong(
    home: Path, tmp_path: Path, tiny_experiment: str
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment.replace("name: parts", "name: part"))
    with pytest.raises(UserError, match="did you mean parts") as told:
        run("prepare", "--file", str(file), home=home)
    assert f"{file}:4: data.name must be one of" in str(told.value)


def test_show_writes_sheets_and_a_page(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = document("show", "parts", *PARTS, "--out", str(out), "--classes", "2", home=home)
    assert Path(written["page"]) == out / "index.html"
    assert [sheet["train"] for sheet in written["sheets"]] == [5, 5]
    for sheet in written["sheets"]:
        with Image.open(sheet["file"]) as drawn:
            assert drawn.width > 64
        assert all(name.startswith("train/") for name in sheet["shown"])
    said = run("show", "parts", *PARTS, home=home)
    assert str(home / "sheets" / "parts" / "index.html") in said


def test_a_folder_is_prepared_and_shown_from_its_root(home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(5):
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "set" / name / f"{number}.png")
    where = ("--root", str(tmp_path / "set"), "--size", "32")
    (pack,) = document("prepare", "folder", *where, home=home)["data"]
    assert pack["images"] == {"train": 8, "test": 2}
    written = document("show", "folder", *where, "--augment", "none", home=home)
    assert len(written["sheets"]) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("verify", "cub20"), "did you mean cub200"),
        (("fetch", "cub20"), "did you mean cub200"),
        (("list", "part"), "did you mean parts"),
        (("show", "prats"), "did you mean parts"),
        (("prepare",), "needs a NAME or --file"),
        (("prepare", "parts", "--file", "x.yaml"), "one of them"),
        (("prepare", "--file", "x.yaml", "--size", "32"), "go with a NAME"),
        (("prepare", "parts", "--option", "classes"), "an option is key=value"),
        (("prepare", "parts", "--option", "clases=3"), "did you mean classes"),
        (("prepare", "parts", "--option", "classes=many"), "classes"),
        (("prepare", "parts", "--root", "x"), "data.root is not used by parts"),
        (("show", "parts", "--augment", "flip"), "data.augment must be made of"),
        (("verify", "folder"), "data.root must name the folder"),
    ],
)
def test_a_wrong_call_is_told_in_one_message(
    home: Path, arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(UserError, match=why) as told:
        run(*arguments, home=home)
    assert told.value.exit_code == 2
    assert not home.exists()


def test_data_that_is_not_there_is_told_with_what_to_do(home: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as told:
        run("prepare", "folder", "--root", "nowhere", home=home)
    assert told.value.exit_code == 3
    found = CliRunner(env={"MCL_HOME": str(home)}).invoke(
        app, ["data", "verify", "folder", "--root", "nowhere", "--json"], catch_exceptions=False
    )
    assert found.exit_code == 3
    (fault,) = json.loads(found.stdout)["faults"]
    assert (fault["kind"], fault["file"]) == ("missing", ".")
