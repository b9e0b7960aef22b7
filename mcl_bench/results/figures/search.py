"""Figures of a search: its history, what a budget bought, slices, importance, coordinates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mcl_bench.records import Importance, TrialRecord
from mcl_bench.results.figures.plot import Figure, Trace, figure, label, number, thin, value_axis
from mcl_bench.results.story import CellStory, Group, key_word, searched_keys
from mcl_bench.results.winners import VALUED
from mcl_bench.spec import Choice

MOST_LINES = 1500
"""Trials drawn as lines of parallel coordinates: the best half, and of the rest every so many."""

SYMBOLS = {"complete": "circle", "duplicate": "circle", "pruned": "x-thin", "diverged": "x-thin"}


def history(group: Group, metric: str) -> Figure | None:
    """Each search trial's value by its number; pruned ones as crosses at their last epoch."""
    traces: list[Trace] = []
    for color, cell in enumerate(by_arm(group)):
        found = [record for record in cell.search if _finite(record.value)]
        for ended in (True, False):
            own = [record for record in found if (record.state in VALUED) is ended]
            if own:
                xs = [float(record.trial) for record in own]
                traces.append(_dots(cell, own, xs, color=color, ended=ended))
    if not traces:
        return None
    return figure(
        traces,
        x="number of the search trial",
        y=metric,
        alt=f"{metric} of every search trial of {group.label} by its number.",
        layout={"yaxis": value_axis(metric)},
    )


def best_so_far(group: Group, metric: str) -> Figure | None:
    """The best value so far against the device-hours that the cell's search had taken by then."""
    traces = [
        trace
        for color, cell in enumerate(by_arm(group))
        if (trace := _best_line(cell, metric, color=color)) is not None
    ]
    if not traces:
        return None
    return figure(
        traces,
        x="device-hours of the search so far",
        y=f"best {metric} so far",
        alt=f"Best {metric} so far of each arm of {group.label} against its device-hours.",
        layout={"yaxis": value_axis(metric)},
    )


def slices(group: Group, metric: str) -> dict[str, Figure]:
    """For each searched setting the values of all complete trials against it, by its key."""
    return {
        key: found
        for key in searched_keys(group.cells)
        if (found := _slice(group, key, metric)) is not None
    }


def importance(group: Group, found: Mapping[str, Importance]) -> Figure | None:
    """Bars: how much of the variation of a cell's values each setting explains, by arm."""
    traces: list[Trace] = []
    keys = searched_keys(group.cells)
    for color, cell in enumerate(by_arm(group)):
        told = found.get(cell.cell.id)
        if told is None or told.absent is not None:
            continue
        known = [key for key in keys if key in told.shares]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": label(cell.arm),
                "y": [label(key_word(key)) for key in known],
                "x": [number(told.shares[key]) for key in known],
                "marker": {"color": f"@{color}"},
                "hovertemplate": "%{fullData.name}: %{x:.0%}<extra></extra>",
            }
        )
    if not traces:
        return None
    rows = len({key for trace in traces for key in trace["y"]})
    return figure(
        traces,
        x="share of the variation that it explains",
        y="",
        alt=f"How much each searched setting matters on {group.label}, by arm.",
        height=130 + 22 * rows * max(1, len(traces)),
        layout={
            "barmode": "group",
            "xaxis": {"tickformat": ",.0%", "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed"},
        },
    )


def coordinates(group: Group, metric: str) -> dict[str, Figure]:
    """Parallel coordinates of each arm's complete trials, the one that searched most first."""
    most_first = sorted(by_arm(group), key=lambda cell: -len(cell.cell.space))
    return {
        cell.arm: found for cell in most_first if (found := _coordinates(cell, metric)) is not None
    }


def by_arm(group: Group) -> list[CellStory]:
    """The cells in the order of the file's arms, which an arm's colour goes by."""
    return sorted(group.cells, key=lambda cell: cell.cell.id)


def _dots(
    cell: CellStory, records: Sequence[TrialRecord], xs: Sequence[float], *, color: int, ended: bool
) -> Trace:
    ys = [record.value or 0.0 for record in records]
    kept = thin(list(zip(xs, ys, strict=True)))
    marker: dict[str, Any] = {"color": f"@{color}", "size": 6, "opacity": 0.75}
    if not ended:
        marker |= {"symbol": "x-thin-open", "size": 5, "line": {"width": 1, "color": f"@{color}"}}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(cell.arm if ended else f"{cell.arm}, not finished"),
        "x": [number(xs[place]) for place in kept],
        "y": [number(ys[place]) for place in kept],
        "customdata": [records[place].trial for place in kept],
        "marker": marker,
        "hovertemplate": "search-%{customdata}: %{y}<extra>%{fullData.name}</extra>",
    }


def _best_line(cell: CellStory, metric: str, *, color: int) -> Trace | None:
    sign = 1 if metric == "val/loss" else -1
    xs: list[float] = []
    ys: list[float] = []
    names: list[int] = []
    seconds = 0.0
    for record in sorted(cell.search, key=lambda record: record.finished):
        seconds += record.device_seconds
        value = record.value
        if record.state not in VALUED or value is None or not math.isfinite(value):
            continue
        if not ys or sign * value < sign * ys[-1]:
            xs.append(seconds / 3600)
            ys.append(value)
            names.append(record.trial)
    if not ys:
        return None
    xs.append(seconds / 3600)
    ys.append(ys[-1])
    names.append(names[-1])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(cell.arm),
        "x": [number(x) for x in xs],
        "y": [number(y) for y in ys],
        "customdata": names,
        "line": {"shape": "hv", "color": f"@{color}", "width": 2.5},
        "marker": {"size": 5, "color": f"@{color}"},
        "hovertemplate": "search-%{customdata}: %{y}<extra>%{fullData.name}</extra>",
    }


def _slice(group: Group, key: str, metric: str) -> Figure | None:
    traces: list[Trace] = []
    log = False
    for color, cell in enumerate(by_arm(group)):
        values = cell.cell.space.get(key)
        if values is None:
            continue
        records = [
            record
            for record in cell.search
            if record.state in VALUED and _finite(record.value) and key in record.config
        ]
        if isinstance(values, Choice):
            traces.append(_choices(cell, records, key, color=color))
            continue
        log = log or values.log
        xs = [float(record.config[key]) for record in records]
        traces.append(_dots(cell, records, xs, color=color, ended=True))
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return None
    return figure(
        traces,
        x=label(key_word(key)),
        y=metric,
        alt=f"{metric} of the complete search trials of {group.label} against {key}.",
        height=270,
        layout={"xaxis": {"type": "log"} if log else {}, "yaxis": value_axis(metric)},
    )


def _choices(cell: CellStory, records: Sequence[TrialRecord], key: str, *, color: int) -> Trace:
    trace = _dots(
        cell, records, [float(place) for place in range(len(records))], color=color, ended=True
    )
    kept = {record.trial: record for record in records}
    trace["x"] = [label(str(kept[number].config[key])) for number in trace["customdata"]]
    return trace


def _coordinates(cell: CellStory, metric: str) -> Figure | None:
    keys = searched_keys([cell])
    records = [record for record in cell.search if record.state in VALUED and _finite(record.value)]
    if len(keys) < 2 or len(records) < 2:
        return None
    drawn = _drawn(records, metric)
    dimensions = [_dimension(cell, drawn, key) for key in keys]
    values = [number(record.value) for record in drawn]
    dimensions.append({"label": label(metric), "values": values})
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": values,
            "colorscale": "Viridis",
            "reversescale": metric == "val/loss",
            "showscale": False,
        },
    }
    kept = "" if len(drawn) == len(records) else f" {len(drawn)} of {len(records)} trials."
    return {
        "data": [trace],
        "layout": {"height": 360, "margin": {"l": 60, "r": 60, "t": 70, "b": 30}},
        "alt": f"Parallel coordinates of the settings of {cell.arm} and {metric}.{kept}",
    }


def _drawn(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    sign = 1 if metric == "val/loss" else -1
    ranked = sorted(records, key=lambda record: (sign * (record.value or 0.0), record.trial))
    if len(ranked) <= MOST_LINES:
        return ranked
    half = MOST_LINES // 2
    rest = ranked[half:]
    step = math.ceil(len(rest) / half)
    return ranked[:half] + rest[::step]


def _dimension(cell: CellStory, records: Sequence[TrialRecord], key: str) -> dict[str, Any]:
    """One axis: numbers as they are or by their logarithm, choices by their places."""
    values = cell.cell.space[key]
    found = [record.config.get(key) for record in records]
    if isinstance(values, Choice):
        known = list(values.values)
        return {
            "label": label(key_word(key)),
            "values": [known.index(value) if value in known else None for value in found],
            "tickvals": list(range(len(known))),
            "ticktext": [label(str(value)) for value in known],
        }
    numbers = [float(value) if isinstance(value, int | float) else math.nan for value in found]
    if not values.log:
        return {"label": label(key_word(key)), "values": [number(value) for value in numbers]}
    logs = [number(math.log10(value)) if value > 0 else None for value in numbers]
    known = [value for value in logs if value is not None]
    low, high = math.log10(values.low), math.log10(values.high)
    ticks = [low + step * (high - low) / 4 for step in range(5)]
    return {
        "label": f"{label(key_word(key))} (log)",
        "values": logs,
        "range": [min(low, *known), max(high, *known)],
        "tickvals": [number(tick) for tick in ticks],
        "ticktext": [f"{10**tick:.2g}" for tick in ticks],
    }


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
