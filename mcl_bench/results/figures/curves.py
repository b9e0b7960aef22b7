"""Learning curves: each confirm seed, their mean, and the search's best, of every arm."""

import math
from collections.abc import Sequence

from mcl_bench.records import TrialRecord
from mcl_bench.results.figures.plot import Figure, Trace, figure, label, number, value_axis
from mcl_bench.results.figures.search import by_arm
from mcl_bench.results.story import CellStory, Group

SHOWN = {
    "gap/top1": ("top-1 on test after each epoch (nothing is chosen from it)", "val/top1"),
    "train/top1": ("top-1 on the training images", "val/top1"),
    "train/loss_ce": ("cross-entropy on the training images", "val/loss"),
    "train/loss": ("whole loss on the training images", None),
    "channels/diversity": ("diversity of the channels in the search", "channels/diversity"),
}
"""Metric of the confirm trials -> what it is called, and what of the search's best it is beside."""


def curves(group: Group) -> dict[str, Figure]:
    """A figure for each of `SHOWN` that any arm has, by what it is called."""
    return {
        words: found
        for metric, (words, beside) in SHOWN.items()
        if (found := _figure(group, metric, words, beside)) is not None
    }


def _figure(group: Group, metric: str, words: str, beside: str | None) -> Figure | None:
    traces: list[Trace] = []
    for color, cell in enumerate(by_arm(group)):
        traces += _of_cell(cell, metric, beside, color=f"@{color}")
    if not traces:
        return None
    searched = "" if beside is None else f" Dashed: {beside} of the search’s best trial."
    return figure(
        traces,
        x="epochs done",
        y=words.partition(" (")[0],
        alt=f"{words} of {group.label} by epoch: thin lines are seeds, thick their mean.{searched}",
        height=360,
        layout={"yaxis": value_axis(metric)},
    )


def _of_cell(cell: CellStory, metric: str, beside: str | None, *, color: str) -> list[Trace]:
    seeds = [points for record in cell.confirm if (points := _points(record, metric))]
    traces = [_line(points, color=color, width=1, opacity=0.4, group=cell.arm) for points in seeds]
    if seeds:
        mean = _line(_mean(seeds), color=color, width=3, opacity=1.0, group=cell.arm)
        traces.append({**mean, "name": label(cell.arm), "showlegend": True, "hoverinfo": "all"})
    searched = [] if beside is None or cell.best is None else _points(cell.best, beside)
    if searched:
        line = _line(searched, color=color, width=1.5, opacity=0.9, group=cell.arm)
        line["line"]["dash"] = "dash"
        traces.append({**line, "name": label(f"{cell.arm}, {beside} in search")})
        traces[-1] |= {"showlegend": not seeds, "hoverinfo": "all"}
    return traces


def _points(record: TrialRecord, metric: str) -> list[tuple[int, float]]:
    return [
        (epoch.epoch, value)
        for epoch in record.epochs
        if (value := epoch.metrics.get(metric)) is not None and math.isfinite(value)
    ]


def _mean(seeds: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over the seeds of each epoch that all of them have."""
    by_epoch: dict[int, list[float]] = {}
    for points in seeds:
        for epoch, value in points:
            by_epoch.setdefault(epoch, []).append(value)
    return [
        (epoch, math.fsum(values) / len(values))
        for epoch, values in sorted(by_epoch.items())
        if len(values) == len(seeds)
    ]


def _line(
    points: Sequence[tuple[int, float]], *, color: str, width: float, opacity: float, group: str
) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "x": [epoch for epoch, _ in points],
        "y": [number(value) for _, value in points],
        "line": {"color": color, "width": width},
        "marker": {"color": color},
        "opacity": opacity,
        "legendgroup": label(group),
        "showlegend": False,
        "hoverinfo": "skip",
    }
