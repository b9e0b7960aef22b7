"""What cannot change the result is not trained twice."""

import re
from pathlib import Path

import pyarrow.parquet as pq
from running import mcl_bench, read_lines


def file_with(folder: Path, base: str, **parts: str) -> Path:
    """The base file with these top-level parts in the place of its own."""
    kept = re.split(r"\n(?=\w)", base.strip())
    lines = [part for part in kept if part.split(":")[0] not in parts]
    lines += [f"{name}: {text}" for name, text in parts.items()]
    (folder / "tiny.yaml").write_text("\n".join(lines) + "\n")
    return folder / "tiny.yaml"


def test_equal_settings_are_told_the_value_and_not_trained(
    tmp_path: Path, tiny_experiment: str
) -> None:
    space = "{model.xi: {choice: [2, 3, 4]}}"
    file = file_with(
        tmp_path,
        tiny_experiment,
        arms="{ce: {loss: {name: ce}}}",
        search=f"{{trials: 6, sampler: random, pruner: none, space: {space}}}",
        confirm="{seeds: 1}",
        resources="{max_concurrent: 1}",
    )
    home = tmp_path / "runs"
    mcl_bench("sweep", str(file), "train.epochs=1", home=home, ray=False)
    rows = pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist()
    search = sorted((row for row in rows if row["stage"] == "search"), key=lambda r: r["trial"])
    assert len(search) == 6
    first: dict[str, str] = {}
    for row in search:
        name = f"{row['cell']}/search-{row['trial']}"
        if row["xi"] in first:
            assert row["state"] == "duplicate"
            assert row["duplicate_of"] == first[row["xi"]]
            assert row["device_seconds"] == 0
            twin = next(r for r in search if first[row["xi"]].endswith(f"search-{r['trial']}"))
            assert row["value"] == twin["value"]
        else:
            assert row["state"] == "complete"
            first[row["xi"]] = name
    assert len(first) < 6, "six trials over three choices repeat one"
    events = read_lines(home / "sweeps/tiny/events.jsonl")
    launched = [e["trial"] for e in events if e["event"] == "launch" and e["stage"] == "search"]
    assert launched == [row["trial"] for row in search if row["state"] == "complete"]


def test_mc_with_mu_zero_is_cross_entropy_and_is_not_trained_again(
    tmp_path: Path, tiny_experiment: str
) -> None:
    file = file_with(
        tmp_path,
        tiny_experiment,
        arms="{ce: {loss: {name: ce}}, mc: {loss: {name: mc, mu: 0}}}",
        search="{trials: 1, sampler: random, pruner: none, space: {model.xi: {choice: [3]}}}",
    )
    home = tmp_path / "runs"
    mcl_bench("sweep", str(file), "train.epochs=1", home=home, ray=False)
    rows = pq.read_table(home / "sweeps/tiny/results.parquet").to_pylist()
    states = sorted((row["stage"], row["state"]) for row in rows)
    assert states == sorted(
        [("search", "complete"), ("search", "duplicate")]
        + [("confirm", "complete")] * 2
        + [("confirm", "duplicate")] * 2
    )
    assert len(read_lines(home / "sweeps/tiny/looks.jsonl")) == 4
