"""The verbs leaderboard, compare and audit, run as processes."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from claim_stories import CE_EPOCHS, MC_EPOCHS, leave_predictions, scored, scored_sweep
from results_stories import CE, MC, write_sweep
from running import mcl_bench


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("claims") / "runs"
    folder = scored_sweep(home)
    leave_predictions(folder, [*scored(CE, CE_EPOCHS), *scored(MC, MC_EPOCHS)])
    return home


def test_compare_prints_text_or_one_json_document(home: Path) -> None:
    text = mcl_bench("compare", MC, f"story/{CE}", home=home).stdout
    assert "A - B over 3 common seeds: +18.3 [-0.6, +37.3] points" in text
    document = json.loads(mcl_bench("compare", MC, CE, "--json", home=home).stdout)
    assert document["difference"]["n"] == 3
    assert document["bootstrap"]["mean"] == pytest.approx(0.55 / 3)


def test_audit_prints_text_or_one_json_document(home: Path) -> None:
    text = mcl_bench("audit", "story", "--claim", "87.3", "--cell", MC, home=home).stdout
    assert f"story/{MC}\n  87.3 lies in the interval of our mean" in text
    assert CE not in text
    document = json.loads(mcl_bench("audit", "--claim", "0.873", "--json", home=home).stdout)
    assert (document["claim"], document["reached_from"]) == (0.873, 0.8725)
    assert [row["cell"] for row in document["rows"]] == [MC, CE]


def test_what_cannot_be_compared_or_audited_is_one_message(home: Path, tmp_path: Path) -> None:
    told = mcl_bench("compare", MC, "parts-convnet-cee", home=home, code=2)
    assert told.stdout == ""
    assert f"did you mean {CE}?" in told.stderr
    assert "--claim is a number" in mcl_bench("audit", "--claim", "x", home=home, code=2).stderr
    told = mcl_bench("audit", "--claim", "87", "--cell", "other", home=home, code=2)
    assert "--cell other: no row has it" in told.stderr
    write_sweep(tmp_path / "runs", [])
    told = mcl_bench("audit", "--claim", "87", home=tmp_path / "runs", code=2)
    assert "no row has a confirm trial yet" in told.stderr


def test_every_form_is_written_to_a_file_or_to_stdout(home: Path, tmp_path: Path) -> None:
    for form in ("table", "markdown", "latex", "csv", "json", "parquet"):
        out = tmp_path / f"board.{form}"
        done = mcl_bench("leaderboard", "--format", form, "--out", str(out), home=home)
        assert (done.stdout, done.stderr) == ("", f"wrote {out}\n")
        assert out.stat().st_size > 100
        if form != "parquet":
            printed = mcl_bench("leaderboard", "--format", form, home=home).stdout
            assert out.read_text() == printed
    assert pq.read_table(tmp_path / "board.parquet").num_rows == 2
    told = mcl_bench("leaderboard", "--out", "/proc/none/x", home=home, code=2)
    assert "--out /proc/none/x can't be written" in told.stderr


def test_slices_and_details_are_asked_for_by_options(home: Path) -> None:
    done = mcl_bench("leaderboard", "--arm", "mc", "--dataset", "parts", "--json", home=home)
    assert [row["arm"] for row in json.loads(done.stdout)["rows"]] == ["mc"]
    done = mcl_bench("leaderboard", "--details", home=home)
    assert "Expected best val/top1" in done.stdout
    document = json.loads(mcl_bench("leaderboard", "--details", "--json", home=home).stdout)
    assert document["details"][0]["rows"][0]["optimism"]["maximum"] == 0.95
    told = mcl_bench("leaderboard", "--details", "--format", "csv", home=home, code=2)
    assert "--format csv has no details" in told.stderr
    told = mcl_bench("leaderboard", "--backbone", "convnext", home=home, code=2)
    assert "did you mean convnet?" in told.stderr


def test_damaged_predictions_end_a_comparison_with_exit_3(home: Path) -> None:
    path = home / f"sweeps/story/trials/{CE}/confirm-0/predictions.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    try:
        told = mcl_bench("compare", MC, CE, home=home, code=3)
        assert f"the predictions {path} are damaged" in told.stderr
    finally:
        path.write_bytes(whole)
