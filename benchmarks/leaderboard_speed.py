"""P7: the leaderboard of 1,000 sweeps, 100,000 trials, with intervals, is there within 2 s.

The sweeps are made up: 4 cells of 20 search and 5 confirm trials of 10 epochs each, with the files
that a sweep leaves, and written by the same functions: the resolved experiment, the record, the
sealed ledger of looks, the Parquet table. `mcl-bench sweep` prints its leaderboard at its end,
which keeps the sweep's rows beside its record; so do we here. Then, each in a fresh process:

- ours: `results.leaderboard` of all sweeps, and what importing it takes;
- ours, with nothing kept, of a few sweeps: what the first look costs after an update of mcl_bench;
- peer: pyarrow reads the tables, the columns needed only, and pandas takes mean and sd of each cell
  without any difference, test, tier or ledger;
- peer: MLflow's `search_runs` of one sweep's 100 trials on SQLite, and what 1,000 would take in
  proportion.

The rows kept of 20 sweeps are held equal to those made from the record.

Run: `python benchmarks/leaderboard_speed.py [SWEEPS]`, default 1000; the promise is in proportion.
Exit code 1 if the promise is broken.
"""

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rig.measure import conditions, verdict

from mcl_bench import files
from mcl_bench.records import EpochRecord, TrialRecord
from mcl_bench.results import leaderboard, write_table
from mcl_bench.results.kept_rows import NAME, kept_rows
from mcl_bench.results.leaderboard import experiment_rows, sweep_rows
from mcl_bench.spec import Cell, Experiment, dump_yaml, load, named_seed

PROMISE_SECONDS = 2.0
SWEEPS = 1000
SEARCH, SEEDS, EPOCHS = 20, 5, 10
DISTINCT = 20
NOT_KEPT = 20
"""Sweeps whose rows are made from the record, to tell what that costs."""

EXPERIMENT = f"""\
version: 1
name: speed
data: {{name: digits}}
model: {{backbone: convnet, channels: adapter, head: avgmax}}
arms:
  ce: {{loss: {{name: ce}}}}
  mc: {{loss: {{name: mc, mu: 0.5, lambda: 5}}}}
  arcface: {{loss: {{name: arcface}}}}
  focal: {{loss: {{name: focal}}}}
train: {{epochs: {EPOCHS}}}
search:
  trials: {SEARCH}
  space:
    model.xi: {{int: [2, 6]}}
    train.optimizer.lr: {{log: [1.0e-4, 1.0e-1]}}
    arms.mc.loss.mu: {{log: [1.0e-3, 2]}}
confirm: {{seeds: {SEEDS}}}
"""

OURS = """\
import json, sys, time
from pathlib import Path
began = time.perf_counter()
from mcl_bench import results
imported = time.perf_counter()
rows = results.leaderboard(Path(sys.argv[1]))
ended = time.perf_counter()
assert all(row.test_top1_ci_low is not None for row in rows)
print(json.dumps([ended - imported, imported - began, len(rows)]))
"""

TABLES = """\
import json, sys, time
from pathlib import Path
began = time.perf_counter()
import pandas, pyarrow as pa, pyarrow.parquet as pq
imported = time.perf_counter()
columns = ["sweep", "cell", "stage", "of", "state", "value", "test_top1", "device_seconds"]
paths = sorted(Path(sys.argv[1]).glob("sweeps/*/results.parquet"))
table = pa.concat_tables(pq.read_table(path, columns=columns) for path in paths)
read = time.perf_counter()
frame = table.to_pandas()
confirm = frame[frame["stage"] == "confirm"]
means = confirm.groupby(["sweep", "cell"])["test_top1"].agg(["mean", "std", "count"])
ended = time.perf_counter()
print(json.dumps([read - imported, ended - imported, len(frame), len(means)]))
"""

MLFLOW = """\
import json, os, sys, time
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import warnings
warnings.simplefilter("ignore")
import mlflow
from mlflow.entities import Metric, Param, RunTag
client = mlflow.tracking.MlflowClient(tracking_uri=f"sqlite:///{sys.argv[1]}/mlflow.db")
experiment = client.create_experiment("speed")
for number in range(int(sys.argv[2])):
    run = client.create_run(experiment)
    params = [Param(f"p{k}", str(k)) for k in range(40)]
    metrics = [Metric(f"m{k}", 0.5, 1, 10) for k in range(20)]
    tags = [RunTag("mcl.cell", "a"), RunTag("mcl.stage", "confirm")]
    client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=tags)
began = time.perf_counter()
runs = client.search_runs([experiment], max_results=1000)
print(json.dumps([time.perf_counter() - began, len(runs)]))
"""


def write_sweeps(home: Path, count: int) -> None:
    """Sweeps as they are left at their end, the kept rows included.

    The records of `DISTINCT` of them are repeated, under the name of each sweep.
    """
    source = home / "speed.yaml"
    source.write_text(EXPERIMENT)
    experiment = load(source)
    text = dump_yaml(experiment.resolved)
    models = [_model(experiment, home, number) for number in range(min(count, DISTINCT))]
    for number in range(count):
        name = f"speed_{number:04}"
        folder = home / "sweeps" / name
        folder.mkdir(parents=True)
        model = models[number % len(models)]
        (folder / "experiment.yaml").write_text(text.replace("name: speed\n", f"name: {name}\n"))
        (folder / "records.jsonl").write_text(
            model.lines.replace('{"sweep": "speed"', f'{{"sweep": "{name}"')
        )
        (folder / "looks.jsonl").write_text("".join(f"{line}\n" for line in model.looks))
        facts = {
            "id": f"{number:08x}",
            "digests": {"digits": "ab" * 32},
            "looks": dataclasses.asdict(files.seal(model.looks)),
        }
        (folder / "sweep.json").write_text(json.dumps(facts) + "\n")
        names = pa.array([name] * model.table.num_rows)
        table = model.table.set_column(0, model.table.schema.field("sweep"), names)
        pq.write_table(table, folder / "results.parquet", compression="zstd")
        # As `results.leaderboard` does for the one sweep, without reading its YAML again.
        kept_rows(folder, make=partial(experiment_rows, experiment))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """What the files of one sweep hold."""

    lines: str
    looks: list[str]
    table: pa.Table


def _model(experiment: Experiment, home: Path, number: int) -> Model:
    records = list(_records(experiment, random.Random(number)))
    path = home / "model.parquet"
    write_table(records, path)
    return Model(
        lines="".join(f"{one.to_json()}\n" for one in records),
        looks=_looks(records),
        table=pq.read_table(path),
    )


def _records(experiment: Experiment, chance: random.Random) -> Iterator[TrialRecord]:
    for place, cell in enumerate(experiment.cells):
        searched = [_record(cell, number, chance) for number in range(SEARCH)]
        yield from searched
        best = max(searched, key=lambda one: (one.value or 0.0, -one.trial))
        for k in range(SEEDS):
            top1 = min(0.99, max(0.01, chance.gauss(0.7 + place / 50, 0.03)))
            yield dataclasses.replace(
                best,
                stage="confirm",
                trial=k,
                of=best.trial,
                seed=named_seed(0, "confirm", k),
                key=f"{chance.getrandbits(256):064x}",
                epochs=_epochs(top1, "gap/top1", chance),
                value=top1,
                val_top1=None,
                test_top1=top1,
                test_top5=0.99,
                test_macro_top1=top1,
            )


def _record(cell: Cell, number: int, chance: random.Random) -> TrialRecord:
    value = min(0.99, max(0.01, chance.gauss(0.7, 0.1)))
    xi = chance.randint(2, 6)
    params = {"train.optimizer.lr": 10 ** chance.uniform(-4, -1), "model.xi": xi}
    return TrialRecord(
        sweep="speed",
        cell=cell.id,
        dataset="digits",
        backbone="convnet",
        weights="none",
        arm=cell.arm,
        xi=str(xi),
        maps=10 * xi,
        parameters=34752,
        stage="search",
        trial=number,
        seed=named_seed(0, "search"),
        state="complete",
        key=f"{chance.getrandbits(256):064x}",
        config=cell.settings(params),
        started=1.7e9,
        finished=1.7e9 + 60,
        run_id=f"{chance.getrandbits(128):032x}",
        epochs=_epochs(value, "val/top1", chance),
        value=value,
        val_top1=value,
        device_seconds=60.0,
        versions={"mcl_bench": "0.1.0", "torch": "2.14.1", "torchvision": "0.29.1"},
    )


def _epochs(value: float, metric: str, chance: random.Random) -> tuple[EpochRecord, ...]:
    """Epochs with as many metrics as a trial has, the last one with this value."""
    others = [f"channels/{name}" for name in "abcdefghij"] + ["train/loss", "train/top1"]
    return tuple(
        EpochRecord(
            epoch=epoch,
            timestamp_ms=1_700_000_000_000 + epoch,
            metrics={
                metric: value - (EPOCHS - epoch) / 100,
                **{name: chance.random() for name in others},
            },
            last=epoch == EPOCHS,
        )
        for epoch in range(1, EPOCHS + 1)
    )


def _looks(records: list[TrialRecord]) -> list[str]:
    """The lines of the chained ledger of the confirm trials' looks."""
    lines: list[str] = []
    for one in records:
        if one.stage == "confirm":
            look = {"cell": one.cell, "key": one.key, "seed": one.seed, "of": one.of, "time": 1.0}
            lines.append(json.dumps({**look, "previous": files.seal(lines).link}))
    return lines


def run(code: str, *arguments: str) -> list[float]:
    """What a fresh process prints that runs this code."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    found: list[float] = json.loads(done.stdout)
    return found


def making_seconds(home: Path, count: int) -> float:
    """Seconds for one sweep's rows where none are kept; holds kept rows equal to those made."""
    folders = sorted((home / "sweeps").iterdir())
    step = max(1, len(folders) // count)
    began = time.perf_counter()
    made = [sweep_rows(folder) for folder in folders[::step]]
    seconds = (time.perf_counter() - began) / len(made)
    for folder, rows in zip(folders[::step], made, strict=True):
        assert (folder / NAME).exists(), f"nothing is kept in {folder}"
        assert leaderboard(home, [folder.name]) == rows, f"the rows kept in {folder} are others"
    return seconds


def main() -> int:
    """Measure, print, and say by the exit code whether the promise is kept."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SWEEPS
    if count < 1:
        raise SystemExit(f"SWEEPS must be at least 1, got {count}")
    say = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="mcl-") as folder:
        home = Path(folder)
        began = time.perf_counter()
        write_sweeps(home, count)
        trials = count * 4 * (SEARCH + SEEDS)
        say(f"P7: leaderboard of {count} sweeps, {trials} trials, with intervals; {conditions()}\n")
        say(f"(written in {time.perf_counter() - began:.0f} s)\n")
        # Every process finds the files in the page cache: each is read once before.
        ours = [run(OURS, folder) for _ in range(3)]
        tables = [run(TABLES, folder) for _ in range(3)]
        making = making_seconds(home, NOT_KEPT)
        searching, runs = run(MLFLOW, folder, "100")
    seconds, imported, rows = sorted(ours)[1]
    read, grouped, _, cells = sorted(tables)[1]
    say(f"ours, {rows:.0f} rows (median of 3): {seconds:.2f} s, and {imported:.2f} s to import\n")
    say(f"  nothing kept: {1000 * making:.0f} ms a sweep, {making * count:.0f} s in proportion\n")
    say(f"pyarrow, columns needed only: {read:.2f} s ({read / seconds:.1f}x ours)\n")
    say(f"  and pandas, mean and sd of {cells:.0f} cells: {grouped:.2f} s")
    say(f" ({grouped / seconds:.1f}x ours)\n")
    proportion = searching / runs * trials
    say(f"MLflow's search_runs of {runs:.0f} runs: {searching:.3f} s, {proportion:.0f} s for ")
    say(f"{trials} in proportion ({proportion / seconds:.0f}x ours)\n")
    limit = PROMISE_SECONDS * count / SWEEPS
    kept = seconds <= limit
    say(verdict(f"<= {limit:g} s", f"{seconds:.2f} s", kept=kept) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
