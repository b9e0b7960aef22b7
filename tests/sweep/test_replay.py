"""A recorded sweep's samplers asked again: equal settings, whatever was killed in between."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driven import drive
from running import mcl_bench

from mcl_bench.spec import Experiment, load
from mcl_bench.sweep.driver import Driver
from mcl_bench.sweep.folder import SweepFolder
from mcl_bench.sweep.replay import CellReplay, replay

CE, MC = "parts-convnet-ce", "parts-convnet-mc"


def experiment_of(tmp_path: Path, text: str, *overrides: str) -> Experiment:
    (tmp_path / "tiny.yaml").write_text(text)
    return load(tmp_path / "tiny.yaml", list(overrides))


def replayed(experiment: Experiment, home: Path) -> dict[str, CellReplay]:
    folder = SweepFolder(home / "sweeps/tiny")
    folder.read()
    found = replay(experiment, folder.path, sweep_id=folder.id, records=folder.records())
    return {cell.cell: cell for cell in found}


def after_events(count: int) -> Callable[[Driver], bool]:
    """Leave the driver, as a killed one would be left, once so many events stand there."""

    def enough(driver: Driver) -> bool:
        events = driver.stop_file.parent / "events.jsonl"
        return len(events.read_text().splitlines()) >= count

    return enough


def edit_events(home: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = home / "sweeps/tiny/events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    change(events)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.mark.parametrize(("sampler", "at_once"), [("random", 1), ("tpe", 1), ("tpe", 3)])
def test_a_sweep_asks_the_same_again(
    tmp_path: Path, tiny_experiment: str, sampler: str, at_once: int
) -> None:
    wanted = ("search.trials=6", "confirm.seeds=1", f"search.sampler={sampler}")
    experiment = experiment_of(tmp_path, tiny_experiment, *wanted)
    drive(experiment, tmp_path / "runs", at_once=at_once)
    for cell in replayed(experiment, tmp_path / "runs").values():
        assert cell.difference is None
        assert cell.asks == 7
        assert cell.prunings > 0


def test_a_sweep_that_was_killed_again_and_again_asks_the_same_again(
    tmp_path: Path, tiny_experiment: str
) -> None:
    wanted = ("search.trials=6", "confirm.seeds=1", "search.sampler=tpe")
    experiment = experiment_of(tmp_path, tiny_experiment, *wanted)
    home = tmp_path / "runs"
    for count in (4, 30):
        drive(experiment, home, until=after_events(count), at_once=2)
    drive(experiment, home, at_once=2)
    assert all(cell.asks == 7 for cell in replayed(experiment, home).values())

    def forget(events: list[dict[str, Any]]) -> None:
        """Take away the events that a kill in between would have kept from being written."""
        starts = [place for place, event in enumerate(events) if event["event"] == "start"]
        place = starts[1] - 1
        while events[place]["event"] not in {"ask", "tell"}:
            place -= 1
        del events[place]

    edit_events(home, forget)
    cells = replayed(experiment, home)
    assert all(cell.difference is None for cell in cells.values()), cells


def test_another_setting_in_the_record_is_named_and_the_other_cells_are_followed(
    tmp_path: Path, tiny_experiment: str
) -> None:
    wanted = ("search.trials=3", "confirm.seeds=1", "search.pruner=none")
    experiment = experiment_of(tmp_path, tiny_experiment, *wanted)
    home = tmp_path / "runs"
    drive(experiment, home)

    def change(events: list[dict[str, Any]]) -> None:
        (ask,) = (
            event
            for event in events
            if event["event"] == "ask"
            and (event["cell"], event["trial"]) == (MC, 1)
            and event["stage"] == "search"
        )
        ask["params"]["loss.mu"] = 0.123

    assert "4 asks are the same again" in mcl_bench("replay", "tiny", home=home).stdout
    edit_events(home, change)
    told = json.loads(mcl_bench("replay", "tiny", "--json", home=home, code=1).stdout)
    ce, mc = told["cells"]
    assert (told["same"], ce["difference"], ce["asks"], mc["asks"]) == (False, None, 4, 2)
    assert mc["difference"]["trial"] == f"{MC}/search-1"
    assert (mc["difference"]["of"], mc["difference"]["recorded"]) == ("loss.mu", 0.123)
    said = mcl_bench("replay", "tiny", home=home, code=1).stdout
    assert f"{MC}: 2 asks compared; the first difference: {MC}/search-1: loss.mu: recorded" in said
    assert "there is no sweep nobody" in mcl_bench("replay", "nobody", home=home, code=2).stderr


def test_a_decision_to_prune_that_would_not_be_taken_is_named(
    tmp_path: Path, tiny_experiment: str
) -> None:
    experiment = experiment_of(tmp_path, tiny_experiment, "search.trials=4", "confirm.seeds=1")
    home = tmp_path / "runs"
    drive(experiment, home)

    def change(events: list[dict[str, Any]]) -> None:
        pruned = next(e for e in events if e["event"] == "tell" and e["state"] == "pruned")
        place = events.index(pruned)
        assert events[place - 1]["event"] == "report"
        events[place - 1]["value"] = 0.999  # far too good to be pruned

    edit_events(home, change)
    (found,) = [c.difference for c in replayed(experiment, home).values() if c.difference]
    assert found.of.startswith("pruned after epoch")
    assert (found.recorded, found.now) == (True, False)


def test_another_trial_confirmed_than_the_best_is_named(
    tmp_path: Path, tiny_experiment: str
) -> None:
    wanted = ("search.trials=3", "confirm.seeds=1", "search.pruner=none")
    experiment = experiment_of(tmp_path, tiny_experiment, *wanted)
    home = tmp_path / "runs"
    drive(experiment, home)

    def change(events: list[dict[str, Any]]) -> None:
        ask = next(e for e in events if e["event"] == "ask" and e["stage"] == "confirm")
        ask["of"] = (ask["of"] + 1) % 3

    edit_events(home, change)
    (found,) = [c.difference for c in replayed(experiment, home).values() if c.difference]
    assert found.of == "of"
    assert found.trial.endswith("/confirm-0")


def test_a_sweep_that_grew_is_asked_with_the_totals_that_its_drivers_wrote(
    tmp_path: Path, tiny_experiment: str
) -> None:
    home = tmp_path / "runs"
    wanted = ("search.sampler=tpe", "search.pruner=none", "confirm.seeds=1", "arms.mc=null")
    space = [f"search.space.arms.mc.loss.{key}=null" for key in ("mu", "lambda", "mask_ratio")]
    for trials in (4, 12):
        grown = experiment_of(tmp_path, tiny_experiment, *wanted, *space, f"search.trials={trials}")
        drive(grown, home)

    def write_totals(events: list[dict[str, Any]]) -> None:
        starts = [event for event in events if event["event"] == "start"]
        for event, trials in zip(starts, (4, 12), strict=True):
            event["trials"] = trials

    edit_events(home, write_totals)
    (cell,) = replayed(grown, home).values()
    assert cell.difference is None
    assert cell.asks in {13, 14}, "twelve, and a confirm trial or one more for another best"

    def forget_totals(events: list[dict[str, Any]]) -> None:
        for event in events:
            event.pop("trials", None)

    edit_events(home, forget_totals)
    (cell,) = replayed(grown, home).values()
    assert cell.difference is not None
    assert cell.difference.trial == f"{CE}/search-3"
