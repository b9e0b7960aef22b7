import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_stories import CE, MC, confirms, epochs, record

from mcl_bench.records import DataError, EpochRecord
from mcl_bench.results import derive_superseded, read_records, read_table, write_table

COLUMNS = [
    "sweep",
    "cell",
    "dataset",
    "backbone",
    "weights",
    "arm",
    "xi",
    "maps",
    "parameters",
    "stage",
    "trial",
    "of",
    "seed",
    "state",
    "key",
    "duplicate_of",
    "retry_of",
    "config",
    "epochs",
    "value",
    "val_top1",
    "val_macro_top1",
    "val_loss",
    "test_top1",
    "test_top5",
    "test_macro_top1",
    "device_seconds",
    "wait_seconds",
    "started",
    "finished",
    "run_id",
    "cause",
    "versions",
]

FULL = record(
    MC,
    "confirm",
    4,
    of=2,
    seed=2**63 - 1,
    state="duplicate",
    duplicate_of=f"{CE}/confirm-1",
    retry_of=3,
    xi="10-11",
    epochs=epochs([0.25, 0.5]),
    val_loss=1.5,
    test_top5=0.9,
    cause="zu groß: Ω",
    run_id="abc",
    config={"data.options.classes": 4, "train.schedule.milestones": [1, 2], "model.xi": None},
)


def test_records_come_back_from_the_table_as_they_went_in(tmp_path: Path) -> None:
    known = [
        record(),
        record(MC, trial=2),
        FULL,
        record(MC, trial=3, state="pruned", value=None),
    ]
    write_table(known, tmp_path / "results.parquet")
    assert read_table(tmp_path / "results.parquet") == known


def test_the_table_of_no_trials_is_a_table(tmp_path: Path) -> None:
    write_table([], tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == []


def test_the_columns_stand_in_their_order_with_their_types(tmp_path: Path) -> None:
    write_table([FULL], tmp_path / "t.parquet")
    found = pq.read_schema(tmp_path / "t.parquet")
    assert found.names == COLUMNS
    assert found.metadata[b"mcl_bench.table_version"] == b"1"
    epoch = found.field("epochs").type.value_type
    assert [(field.name, field.type) for field in epoch] == [
        ("epoch", pa.int32()),
        ("timestamp_ms", pa.int64()),
        ("last", pa.bool_()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
    ]
    assert found.field("seed").type == pa.int64()
    assert found.field("config").type == pa.string()


def test_config_and_versions_are_text_of_json(tmp_path: Path) -> None:
    write_table([FULL], tmp_path / "t.parquet")
    (row,) = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert json.loads(row["config"]) == FULL.config
    assert json.loads(row["versions"]) == {"torch": "2.14"}


def test_a_metric_that_is_not_a_number_stays_so(tmp_path: Path) -> None:
    epoch = EpochRecord(epoch=1, timestamp_ms=5, metrics={"train/loss": math.nan}, last=True)
    write_table([record(epochs=(epoch,), state="diverged")], tmp_path / "t.parquet")
    (found,) = read_table(tmp_path / "t.parquet")
    assert math.isnan(found.epochs[0].metrics["train/loss"])


def test_a_table_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    write_table([record()], tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    later = table.replace_schema_metadata({b"mcl_bench.table_version": b"2"})
    pq.write_table(later, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet has version 2, .* reads up to 1"):
        read_table(tmp_path / "t.parquet")


def test_a_parquet_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet is no results table"):
        read_table(tmp_path / "other.parquet")


def test_a_table_without_one_of_its_columns_is_refused_by_name(tmp_path: Path) -> None:
    write_table([record()], tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet").drop_columns(["value"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="lacks value"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("kept", [0, 20, 2000])
def test_a_table_that_was_cut_short_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    write_table([record(), FULL], tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    assert kept < len(content)
    (tmp_path / "t.parquet").write_bytes(content[:kept])
    with pytest.raises(DataError, match=r"t\.parquet"):
        read_table(tmp_path / "t.parquet")


def test_a_missing_table_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.parquet can't be read"):
        read_table(tmp_path / "none.parquet")


def test_a_table_that_fails_to_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_table([record()], tmp_path / "t.parquet")
    with pytest.raises(pa.ArrowException):
        write_table([record(maps="many")], tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == [record()]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_confirm_trials_of_a_search_trial_that_is_no_longer_best_are_superseded() -> None:
    old = confirms(CE, [0.8, 0.8])
    new = confirms(CE, [0.9], of=1, first=2)
    failed = record(CE, "confirm", 3, of=0, state="failed", value=None)
    records = [record(value=0.5), record(trial=1, value=0.6), *old, *new, failed]
    states = [entry.state for entry in derive_superseded(records, metric="val/top1")]
    assert states == ["complete", "complete", "superseded", "superseded", "complete", "failed"]
    assert old[0].state == "complete"


def test_the_lower_loss_is_the_better_and_ties_go_to_the_lower_number() -> None:
    records = [record(value=0.5), record(trial=1, value=0.6), *confirms(CE, [0.8], of=0)]
    assert derive_superseded(records, metric="val/loss") == records
    tied = [record(value=0.5), record(trial=1, value=0.5), *confirms(CE, [0.8], of=0)]
    assert derive_superseded(tied, metric="val/top1") == tied


def test_a_best_trial_is_complete_and_has_a_value_that_is_a_number() -> None:
    records = [
        record(value=0.5),
        record(trial=1, value=0.9, state="pruned"),
        record(trial=2, value=math.nan),
        *confirms(CE, [0.8], of=0),
    ]
    assert derive_superseded(records, metric="val/top1") == records


def test_the_table_says_superseded_where_the_record_says_complete(tmp_path: Path) -> None:
    records = [record(value=0.5), record(trial=1, value=0.6), *confirms(CE, [0.8], of=0)]
    write_table(records, tmp_path / "t.parquet", metric="val/top1")
    assert [entry.state for entry in read_table(tmp_path / "t.parquet")][-1] == "superseded"
    write_table(records, tmp_path / "t.parquet", metric="val/loss")
    assert [entry.state for entry in read_table(tmp_path / "t.parquet")][-1] == "complete"


def write_lines(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def test_the_last_line_of_a_trial_wins_and_a_torn_tail_is_ignored(tmp_path: Path) -> None:
    first, again = record(state="failed", value=None), record(value=0.75)
    other = record(trial=1)
    write_lines(tmp_path / "records.jsonl", first.to_json(), other.to_json(), again.to_json())
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write(record(trial=2).to_json()[:100])
    assert read_records(tmp_path) == [again, other]


def test_a_damaged_line_of_the_records_is_named(tmp_path: Path) -> None:
    write_lines(tmp_path / "records.jsonl", record().to_json(), '{"sweep": "story"')
    with pytest.raises(DataError, match=r"line 2 of .*records\.jsonl is damaged"):
        read_records(tmp_path)


def test_a_folder_with_only_the_table_is_read_from_it_and_an_empty_one_has_none(
    tmp_path: Path,
) -> None:
    assert read_records(tmp_path) == []
    write_table([record()], tmp_path / "results.parquet")
    assert read_records(tmp_path) == [record()]


READ_TABLE = """\
import sys
from pathlib import Path
from mcl_bench.results import read_table
read_table(Path(sys.argv[1]))
"""


def test_a_process_that_has_read_a_table_ends_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_table([], path)
    for _ in range(6):  # an open file of Python's, given to pyarrow, aborted every second one
        command = [sys.executable, "-c", READ_TABLE, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
