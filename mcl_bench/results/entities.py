"""What MLflow is told, in its own words: names, tags, metrics and statuses of runs."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mcl_bench.records import CellWords, Costs, EpochRecord, Stage, TrialName, TrialRecord
from mcl_bench.results.stats import t_interval

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

PARENT = "mlflow.parentRunId"
"""The tag by which MLflow's pages fold a run under another."""

METRICS_AT_ONCE = 900
"""Below MLflow's limit of 1000 metrics, parameters and tags in one batch."""

TRIAL_STATUS = {
    "complete": "FINISHED",
    "duplicate": "FINISHED",
    "superseded": "FINISHED",
    "pruned": "KILLED",
    "diverged": "KILLED",
    "failed": "FAILED",
    "retried": "FAILED",
}
"""MLflow's status of a trial's run by the state of its record."""

ENDED_STATUS = {"complete": "FINISHED", "budget": "FINISHED", "failed": "FAILED"}
"""MLflow's status of a sweep's or a cell's run by its state; KILLED for what isn't done."""

TOLD = ("val/top1", "val/macro_top1", "val/loss", "test/top1", "test/top5", "test/macro_top1")
"""The metrics that a duplicate is told, as it has no epochs of its own."""

TOLD_STEP = 0
"""The step of what was not measured at an epoch's end; epochs count from 1."""


def trial_name(run: "Run") -> TrialName:
    """What names the trial of this run."""
    tags = run.data.tags
    return tags["mcl.cell"], cast("Stage", tags["mcl.stage"]), int(tags["mcl.trial"])


def cell_tags(cell: CellWords) -> dict[str, str]:
    """The tags of a cell that its trials have too."""
    return {
        "mcl.cell": cell.id,
        "mcl.dataset": cell.dataset,
        "mcl.backbone": cell.backbone,
        "mcl.arm": cell.arm,
    }


def end_tags(record: TrialRecord) -> dict[str, str]:
    """The tags that a trial has from its end."""
    tags = {
        "mcl.state": record.state,
        "mcl.of": record.of,
        "mcl.duplicate_of": record.duplicate_of,
        "mcl.retry_of": record.retry_of,
        "mcl.cause": record.cause,
    }
    return {key: str(value) for key, value in tags.items() if value is not None}


def told_metrics(record: TrialRecord) -> "list[Metric]":
    """What a duplicate is told, as metrics."""
    values = {name: getattr(record, name.replace("/", "_")) for name in TOLD}
    known = {name: value for name, value in values.items() if value is not None}
    return metrics_at(known, record.finished)


def summary(confirm: Sequence[TrialRecord], *, test_looks: int) -> dict[str, float]:
    """A cell's summary over its confirm trials; what n does not allow is left out."""
    top1 = t_interval([record.test_top1 for record in confirm if record.test_top1 is not None])
    values = {
        "test/top1_mean": top1.mean,
        "test/top1_sd": top1.sd,
        "test/top1_ci_low": top1.low,
        "test/top1_ci_high": top1.high,
        "seeds": float(top1.n),
        "test_looks": float(test_looks),
    }
    return {name: value for name, value in values.items() if value is not None}


def cost_metrics(costs: Costs) -> dict[str, float]:
    """Where a sweep's time went: `costs/slot_s/OWNER` and `costs/device_s/OWNER`, and sums."""
    slot = {f"costs/slot_s/{owner}": seconds for owner, seconds in costs.slot_seconds.items()}
    device = {f"costs/device_s/{owner}": seconds for owner, seconds in costs.device_seconds.items()}
    return (
        slot | device | {"costs/wall_s": costs.wall_seconds, "costs/saved_s": costs.saved_seconds}
    )


def metrics_at(values: Mapping[str, float], seconds: float) -> "list[Metric]":
    """Metrics that were not measured at an epoch's end."""
    from mlflow.entities import Metric

    timestamp_ms = milliseconds(seconds)
    return [Metric(name, value, timestamp_ms, TOLD_STEP) for name, value in values.items()]


def epoch_metrics(record: EpochRecord) -> "list[Metric]":
    """The metrics of one epoch, at its own time."""
    from mlflow.entities import Metric

    return [
        Metric(name, value, record.timestamp_ms, record.epoch)
        for name, value in record.metrics.items()
    ]


def batches(records: Iterable[EpochRecord]) -> Iterable[list[EpochRecord]]:
    """Whole epochs in batches that MLflow takes in one piece."""
    batch: list[EpochRecord] = []
    for record in records:
        if batch and sum(len(r.metrics) for r in [*batch, record]) > METRICS_AT_ONCE:
            yield batch
            batch = []
        batch.append(record)
    if batch:
        yield batch


def milliseconds(seconds: float) -> int:
    """Unix time as MLflow counts it."""
    return math.floor(seconds * 1000)


def param_text(value: Any) -> str:
    """A parameter's text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as what JSON knows, which is all that YAML needs to say it."""
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain
