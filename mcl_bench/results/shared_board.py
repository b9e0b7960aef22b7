"""The leaderboard among MLflow's experiments: one run for each sweep × cell, beside the sweeps.

Its runs are rows of the leaderboard: what was found as metrics, each change a new step, and what it
was found with as tags, which MLflow's own table shows, sorts and filters.
"""

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl_bench.records import DataError
from mcl_bench.results.board_note import Line, board_note
from mcl_bench.results.entities import milliseconds, param_text
from mcl_bench.results.experiment import BOARD, find_runs, open_board
from mcl_bench.results.leaderboard import sweep_rows
from mcl_bench.results.row import Row
from mcl_bench.results.row_text import difference_text, top1_text, verdict_text
from mcl_bench.results.runs import APART
from mcl_bench.spec import flatten

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

STEP = "mcl.step"
"""The tag of a row that holds the step of its last change."""

METRICS = {
    "test/top1_mean": "test_top1_mean",
    "test/top1_sd": "test_top1_sd",
    "test/top1_ci_low": "test_top1_ci_low",
    "test/top1_ci_high": "test_top1_ci_high",
    "test/macro_top1_mean": "test_macro_top1_mean",
    "difference": "difference",
    "difference_ci_low": "difference_ci_low",
    "difference_ci_high": "difference_ci_high",
    "p_adjusted": "p_adjusted",
    "tier": "tier",
    "seeds": "n",
    "test_looks": "test_looks",
    "trials": "trials",
    "device_hours": "device_hours",
}
"""A row's metrics in MLflow, and the columns of the leaderboard that they are."""

TAGS = (
    "dataset",
    "backbone",
    "weights",
    "arm",
    "xi",
    "maps",
    "parameters",
    "equal_budget",
    "state",
)
"""The columns of the leaderboard that are a row's tags, after `mcl.`."""


SHOWN = (
    "tags.`top-1 percent`",
    "tags.`points`",
    "metrics.`test/top1_mean`",
    "metrics.`difference`",
    "metrics.`difference_ci_low`",
    "metrics.`difference_ci_high`",
    "metrics.`p_adjusted`",
    "metrics.`tier`",
    "metrics.`seeds`",
    "metrics.`test/top1_ci_low`",
    "metrics.`test/top1_ci_high`",
    "metrics.`trials`",
    "metrics.`device_hours`",
)
"""The columns of the view that is called like the experiment, in their order."""

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""By this tag MLflow's page opens with the runs of an experiment."""

NOTE = "mlflow.note.content"
NOTED = "mcl.note"
"""The tag of the experiment with the digests of the words above its table: the last, the new."""

NEWEST = 200
"""So many rows are looked at for these words."""

VIEWS = "mlflow.sharedViewState."
"""What the tags of views that MLflow's page offers begin with, as it writes them (3.17)."""

ABOUT = f"""\
The results of all sweeps: one run for each sweep × cell. Open the view **{BOARD}** (Views, above).

`test/top1_mean` and its 95 % interval are over confirm seeds, each tested once; `difference` is \
to the baseline arm (`mcl.baseline`) over common seeds, `p_adjusted` by Holm over the sweep. \
Rows of one data × model and one `tier` can't be told apart.
"""


class SharedBoard:
    """The leaderboard's experiment in one MLflow, of whatever sweeps; made when it is first used.

    `uri` and `home` are those of the tracker: an embedded store keeps artifacts under `home`.
    """

    def __init__(self, client: "MlflowClient", *, uri: str, home: Path) -> None:
        self._client = client
        self._experiment, tags = open_board(client, uri=uri, home=home)
        for key, text in {**KIND, f"{VIEWS}{BOARD}": _view()}.items():
            if key not in tags:
                client.set_experiment_tag(self._experiment, key, text)

    def keep(self, folder: Path, *, sweep_id: str, at: float) -> None:
        """Let the rows of a sweep say what the record in its folder says.

        `at` is Unix time in seconds; repeating adds nothing. A sweep whose record can't be read
        keeps the rows that it has.
        """
        if not (folder / "experiment.yaml").exists():
            return
        try:
            rows = sweep_rows(folder)
        except DataError:  # told by whatever shows the leaderboard
            return
        there = self._rows(sweep_id)
        for row in rows:
            run = there.get(row.cell) or self._make(row, sweep_id)
            _update(self._client, run, row, at=at)
        self._tell_newest()

    def _tell_newest(self) -> None:
        """Say in words above the table what the newest sweeps found; what people wrote stays."""
        tags = self._client.get_experiment(self._experiment).tags
        there = tags.get(NOTE)
        if there and there != ABOUT and _digest(there) not in tags.get(NOTED, "").split():
            return
        runs = self._client.search_runs(
            [self._experiment],
            filter_string=f"tags.`mcl.kind` = '{BOARD}'",
            max_results=NEWEST,
            order_by=["attributes.start_time DESC"],
        )
        # Of the last sweep some rows may be missing; rows of an older version know no group.
        cut = runs[-1].data.tags["mcl.sweep_id"] if len(runs) == NEWEST else None
        lines = [
            Line.of(run.data.tags, run.data.metrics)
            for run in runs
            if "mcl.group" in run.data.tags and run.data.tags["mcl.sweep_id"] != cut
        ]
        note = board_note(lines, ABOUT)
        if note != there:
            # Both, since a crash may come between the two writes.
            ours = f"{_digest(there or '')} {_digest(note)}"
            self._client.set_experiment_tag(self._experiment, NOTED, ours)
            self._client.set_experiment_tag(self._experiment, NOTE, note)

    def rename(self, *, sweep_id: str, name: str) -> None:
        """Let the rows of a sweep bear another name of it."""
        for cell, run in self._rows(sweep_id).items():
            self._client.set_tag(run.info.run_id, "mcl.sweep", name)
            self._client.update_run(run.info.run_id, name=f"{name}/{cell}")
        self._tell_newest()

    def _make(self, row: Row, sweep_id: str) -> "Run":
        tags = {"mcl.kind": BOARD, "mcl.sweep_id": sweep_id, "mcl.cell": row.cell}
        name = f"{row.sweep}/{row.cell}"
        run = self._client.create_run(self._experiment, tags=tags, run_name=name)
        self._client.set_terminated(run.info.run_id)
        return run

    def _rows(self, sweep_id: str) -> "dict[str, Run]":
        """The run of each cell; one that was made twice, for want of an answer, is set apart."""
        tags = {"mcl.kind": BOARD, "mcl.sweep_id": sweep_id}
        rows: dict[str, Run] = {}
        for run in find_runs(self._client, self._experiment, tags):
            cell = run.data.tags["mcl.cell"]
            if cell in rows:
                self._client.set_tag(run.info.run_id, "mcl.kind", APART)
            rows.setdefault(cell, run)
        return rows


def _update(client: "MlflowClient", run: "Run", row: Row, *, at: float) -> None:
    """Tell what has changed since the row's last step, in one piece."""
    from mlflow.entities import Metric, RunTag

    tags = {key: text for key, text in _tags(row).items() if run.data.tags.get(key) != text}
    metrics = _metrics(row, run.data.metrics)
    if not tags and not metrics:
        return
    step = int(run.data.tags.get(STEP, "0")) + 1
    now = milliseconds(at)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now, step) for name, value in metrics.items()],
        tags=[RunTag(key, text) for key, text in {**tags, STEP: str(step)}.items()],
    )


def _metrics(row: Row, before: Mapping[str, float]) -> dict[str, float]:
    """All numbers of a row, if one has changed; NaN where there was one and is none any more."""
    plain = row.to_dict()
    now = {name: plain[column] for name, column in METRICS.items()}
    known = {name: float(value) for name, value in now.items() if value is not None}
    gone = {name: math.nan for name in before if name not in known and name in METRICS}
    same = all(before.get(name) == value for name, value in known.items())
    return {} if same and all(math.isnan(before[name]) for name in gone) else known | gone


def _tags(row: Row) -> dict[str, str]:
    """What a row was found with: its columns, the arm it is compared with, and every setting."""
    plain = row.to_dict()
    tags: dict[str, Any] = {f"mcl.{name}": plain[name] for name in TAGS}
    tags |= {"mcl.sweep": row.sweep, "mcl.baseline": row.aside.baseline}
    tags["mcl.group"] = " · ".join(row.aside.group)
    points = (difference_text(row), verdict_text(row))
    tags |= {"top-1 percent": top1_text(row), "points": ", ".join(text for text in points if text)}
    tags |= {f"setting.{key}": value for key, value in flatten(row.config or {}).items()}
    return {key: param_text(value) for key, value in tags.items() if value is not None}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _view() -> str:
    """The view with the leaderboard's columns, the best mean first, as MLflow's page keeps it."""
    state = {
        "orderByKey": "metrics.`test/top1_mean`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "searchFilter": f"tags.`mcl.kind` = '{BOARD}'",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": SHOWN,
        "columnOrder": ["attributes.`Run Name`", *SHOWN],
        "columnWidths": {"attributes.`Run Name`": 220, "tags.`points`": 210},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": BOARD, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})
