"""The forms of a leaderboard, with rows whose names and numbers mean harm."""

import csv
import dataclasses
import io
import json
import math
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from claim_stories import scored_sweep
from results_stories import CE, EXPERIMENT, MC, confirms, record, write_sweep

from mcl_bench.records import DataError, UserError
from mcl_bench.results import Row, Slice, asides, leaderboard, parquet_bytes, render, write_table
from mcl_bench.results.visible import csv_text, json_text, latex_text, markdown_text, visible

HOSTILE = (
    '<script>alert("1")</script>\n| x | [a](b) `c` *d* & 50% _e_ #1 $f$ {g} ~ ^ \\ '
    "\x1b[31mred\x07 \u202eabc\u202c \u05e9\u05dc\u05d5\u05dd \U0001f426 '; DROP TABLE\r\t\x9b2J"
)
"""Markup of all kinds, a terminal's escapes, reading turned round, right-to-left letters, emoji."""

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
FORMS = ("table", "markdown", "latex", "csv", "json")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    scored_sweep(tmp_path / "runs")
    return leaderboard(tmp_path / "runs")


@pytest.fixture
def hostile(tmp_path: Path) -> list[Row]:
    """A sweep whose baseline, and whose folder, have a hostile name."""
    quoted = json.dumps(HOSTILE).replace("\\ud83d\\udc26", "\\U0001f426")  # YAML has no pairs
    text = EXPERIMENT.replace("  ce: {loss", f"  {quoted}: {{loss") + f"baseline: {quoted}\n"
    slug = re.sub(r"[^a-z0-9_.]", "_", HOSTILE.lower())
    cell = f"parts-convnet-{slug}"
    ce = [record(CE), *confirms(CE, [0.5, 0.6, 0.7])]
    mc = [record(MC), *confirms(MC, [0.6, 0.8, 0.7])]
    renamed = [dataclasses.replace(one, cell=cell, arm=HOSTILE) for one in ce]
    folder = write_sweep(tmp_path / "runs", [*renamed, *mc], text=text)
    folder.rename(folder.parent / HOSTILE.replace("/", " "))
    return leaderboard(tmp_path / "runs")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("detailed", [False, True])
def test_hostile_names_leave_no_control_character_in_any_form(
    hostile: list[Row], form: str, detailed: bool
) -> None:
    assert hostile[1].arm == HOSTILE
    text = render(hostile, form, with_details=detailed)
    assert CONTROL.search(text) is None
    if form == "table":
        assert max(map(len, text.splitlines())) <= 80
        assert "\\n" in text
        assert "\\x1b" in text


def test_hostile_names_are_exact_in_json_and_parquet(hostile: list[Row]) -> None:
    document = json.loads(render(hostile, "json"))
    assert [row["arm"] for row in document["rows"]] == ["mc", HOSTILE]
    table = pq.read_table(io.BytesIO(parquet_bytes(hostile)))
    assert table["arm"].to_pylist() == ["mc", HOSTILE]


def test_hostile_names_are_one_cell_of_csv_each(hostile: list[Row]) -> None:
    lines = list(csv.DictReader(io.StringIO(render(hostile, "csv"))))
    assert len(lines) == 2
    assert lines[1]["arm"] == visible(HOSTILE)


def test_hostile_names_keep_the_lines_of_a_markdown_table_whole(hostile: list[Row]) -> None:
    lines = [line for line in render(hostile, "markdown").splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script>" not in render(hostile, "markdown")


def test_hostile_names_keep_the_columns_of_a_latex_table(hostile: list[Row]) -> None:
    text = render(hostile, "latex")
    table = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 3
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {6}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[0m", "a\\x1b[0m"),
        ("\u202eabc", "\\u202eabc"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("\u2028\ufeff", "\\u2028\\ufeff"),
        ("\u05e9\u05dc ξ é", "\u05e9\u05dc ξ é"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_control_characters_are_visible_and_letters_stay(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_each_forms_own_marks_are_escaped() -> None:
    assert markdown_text("a|b_c*<d>&[e]") == "a\\|b\\_c\\*&lt;d&gt;&amp;\\[e\\]"
    assert latex_text("50% & a_b #1 $x^2$ {y} \\ ~") == (
        r"50\% \& a\_b \#1 \$x\textasciicircum{}2\$ \{y\} \textbackslash{} \textasciitilde{}"
    )
    assert latex_text("é ξ\U0001f426") == r"é \texttt{U+03BE}\texttt{U+1F426}"
    assert [csv_text(text) for text in ("=1+1", "@a", "-b", "c=1")] == [
        "'=1+1",
        "'@a",
        "'-b",
        "c=1",
    ]
    assert json_text({"a": "\x9b\u202e\U000e0041", "b": math.nan}) == (
        '{"a": "\\u009b\\u202e\\udb40\\udc41", "b": null}'
    )


def test_numbers_that_are_not_finite_are_empty_in_every_form(rows: list[Row]) -> None:
    strange = dataclasses.replace(
        rows[0],
        device_hours=math.inf,
        test_macro_top1_mean=math.nan,
        config={"loss": {"options": {"a": [math.inf, -math.inf, math.nan, 1.0]}}},
    )
    (row,) = json.loads(render([strange], "json"))["rows"]
    assert (row["device_hours"], row["test_macro_top1_mean"]) == (None, None)
    assert row["config"] == {"loss": {"options": {"a": [None, None, None, 1.0]}}}
    (line,) = csv.DictReader(io.StringIO(render([strange], "csv")))
    assert (line["device_hours"], line["test_macro_top1_mean"]) == ("", "")
    (stored,) = pq.read_table(io.BytesIO(parquet_bytes([strange]))).to_pylist()
    assert (stored["device_hours"], stored["test_macro_top1_mean"]) == (None, None)
    for form in ("table", "markdown", "latex"):
        assert "nan" not in render([strange], form, with_details=True).lower()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trial_whose_metric_is_not_finite_counts_as_none(tmp_path: Path, value: float) -> None:
    records = [
        record(CE, trial=0, value=value),
        record(CE, trial=1, value=0.5),
        *confirms(CE, [0.5, 0.6, value], of=1),
    ]
    write_sweep(tmp_path / "runs", records)
    row = {row.arm: row for row in leaderboard(tmp_path / "runs")}["ce"]
    assert (row.n, row.trials) == (2, 2)
    assert row.test_top1_mean == pytest.approx(0.55)
    assert [budget.value for budget in row.aside.budgets] == [0.5, 0.5]


@pytest.mark.parametrize("form", FORMS)
def test_cells_that_are_not_confirmed_yet_have_rows_in_every_form(
    tmp_path: Path, form: str
) -> None:
    write_sweep(tmp_path / "runs", [record(CE), record(MC)])
    found = leaderboard(tmp_path / "runs")
    assert [row.n for row in found] == [0, 0]
    text = render(found, form, with_details=True)
    assert CE.replace("_", "\\_") in text
    assert pq.read_table(io.BytesIO(parquet_bytes(found)))["test_top1_mean"].null_count == 2


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs", ce=[[0.6]], mc=[[0.7]])
    for form in ("table", "markdown", "latex"):
        text = render(leaderboard(tmp_path / "runs"), form)
        assert "one seed: no interval" in " ".join(text.split())
        assert "±" not in text.split("mean ±")[0]


def test_no_sweep_at_all_is_told_in_every_form(tmp_path: Path) -> None:
    found = leaderboard(tmp_path / "runs")
    assert render(found, "table") == "no sweep yet"
    assert json.loads(render(found, "json")) == {"rows": []}
    assert render(found, "csv").startswith("sweep,cell,")
    assert render(found, "markdown").startswith("| sweep |")
    assert pq.read_table(io.BytesIO(parquet_bytes(found))).num_rows == 0


def test_the_table_is_read_only_where_there_is_no_other_record(
    tmp_path: Path, rows: list[Row]
) -> None:
    folder = tmp_path / "runs/sweeps/story"
    (folder / "results.parquet").write_bytes(b"PAR1 damaged")
    assert leaderboard(tmp_path / "runs") == rows
    (folder / "records.jsonl").unlink()
    with pytest.raises(DataError, match=r"results\.parquet") as told:
        leaderboard(tmp_path / "runs")
    assert told.value.exit_code == 3


def test_a_table_of_a_later_version_is_refused_with_what_reads_it(tmp_path: Path) -> None:
    folder = scored_sweep(tmp_path / "runs")
    from mcl_bench.results import read_records

    path = folder / "results.parquet"
    write_table(read_records(folder), path)
    table = pq.read_table(path)
    later = table.replace_schema_metadata({b"mcl_bench.table_version": b"2"})
    pq.write_table(later, path)
    (folder / "records.jsonl").unlink()
    with pytest.raises(DataError, match="has version 2, this mcl_bench reads up to 1") as told:
        leaderboard(tmp_path / "runs")
    assert "a newer one" in str(told.value)


def test_parquet_has_the_columns_of_a_row_their_kinds_and_a_version(rows: list[Row]) -> None:
    table = pq.read_table(io.BytesIO(parquet_bytes(rows)))
    assert table.column_names == list(rows[0].to_dict())
    assert table.schema.metadata[b"mcl_bench.leaderboard_version"] == b"1"
    assert table.schema.field("n").type == pa.int64()
    assert table.schema.field("p_adjusted").type == pa.float64()
    first, second = table.to_pylist()
    assert json.loads(first.pop("config")) == rows[0].config
    assert first == {name: v for name, v in rows[0].to_dict().items() if name != "config"}
    assert second["p_adjusted"] is None


def test_latex_is_a_table_with_booktabs_rules(rows: list[Row]) -> None:
    text = render(rows, "latex")
    assert text.startswith("% needs \\usepackage{booktabs}")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert r"parts-convnet-mc & 3 & 3 & 83.3 $\pm$ 14.3 & +18.3 [-0.6, +37.3]" in text
    assert text.isascii()


def test_a_slice_hides_rows_and_changes_no_number(rows: list[Row]) -> None:
    assert Slice(arm="mc").of(rows) == [row for row in rows if row.arm == "mc"]
    assert Slice(dataset="parts", backbone="convnet", weights="none").of(rows) == rows
    with pytest.raises(UserError, match="--dataset partz: no row has it") as told:
        Slice(dataset="partz").of(rows)
    assert "did you mean parts?" in str(told.value)
    with pytest.raises(UserError, match="--arm xyz") as told:
        Slice(arm="xyz").of(rows)
    assert "there: ce, mc" in str(told.value)
    other = dataclasses.replace(rows[0], dataset="elpv", arm="new")
    with pytest.raises(UserError, match="no row has all of: dataset parts, arm new"):
        Slice(dataset="parts", arm="new").of([*rows, other])
    assert Slice(dataset="parts").of([]) == []


def test_rows_of_sweeps_with_unlike_protocols_are_marked_in_one_table(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    scored_sweep(home)
    scored_sweep(home, name="twin")
    assert "†" not in render(leaderboard(home), "table")
    scored_sweep(home, name="wide", config={"data.crop": 64})
    found = leaderboard(home)
    note = (
        "† parts × convnet: sweeps with unlike protocols, which can't be compared as losses. "
        "Unlike: data.crop (none / 64)."
    )
    assert note in " ".join(render(found, "table").split())
    assert render(found, "table").count(f"{MC}†") == 3
    assert markdown_text(note) in render(found, "markdown")
    assert render(found, "latex").count(r"$\dagger$") == 7
    assert json.loads(render(found, "json"))["unlike"] == [note]
    assert note in asides(found)
    assert "†" not in render(leaderboard(home, ["story", "twin"]), "table")
    assert "†" not in render(leaderboard(home, ["wide"]), "table")
