"""Arms with other losses than MC-Loss: what may be written, searched, and what is refused."""

from pathlib import Path

import pytest
from spec_files import BASE, read, refusal

from mcl_bench.spec import FloatRange, IntRange

OWN = BASE.replace("{name: mc}", "{name: 'mine:Loss', options: {gamma: 2}}")


def with_loss(loss: str) -> str:
    return BASE.replace("{name: mc}", loss)


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        ("{name: arcfcae}", "arms.mc.loss.name must be one of ce, mc, label_smoothing, focal, "),
        ("{name: arcfcae}", "package.module:Class, got 'arcfcae'; the nearest known one is arcf"),
        ("{name: 'a:b-c'}", "arms.mc.loss.name must be text such as package.module:Class, got"),
        ("{name: 'a..b:C'}", "arms.mc.loss.name must be text such as package.module:Class, got"),
        ("{name: arcface, margin: 91}", "arms.mc.loss.margin must be a number >= 0 and <= 90"),
        ("{name: arcface, scale: 0}", "arms.mc.loss.scale must be a number > 0, got 0"),
        ("{name: cosface, margin: -0.1}", "arms.mc.loss.margin must be a number >= 0 and < 2"),
        ("{name: sphereface, margin: 2.5}", "arms.mc.loss.margin must be an integer >= 1"),
        ("{name: label_smoothing, smoothing: 1}", "loss.smoothing must be a number >= 0 and < 1"),
        ("{name: focal, gama: 1}", "unknown key arms.mc.loss.gama"),
        ("{name: focal, margin: 1}", "arms.mc.loss.margin is not known: focal has no margin"),
        ("{name: center, options: {a: 1}}", "arms.mc.loss.options is not known: center has no"),
        ("{name: lgm, plus: {name: ce}}", "arms.mc.loss.plus.name must be mc, got 'ce'"),
        ("{name: mc, plus: {name: mc}}", "arms.mc.loss.plus is not known: mc has no plus"),
        ("{name: 'mine:Loss', options: 3}", "arms.mc.loss.options must be a mapping, got 3"),
        (
            "{name: 'mine:Loss', options: {a.b: 3}}",
            "a name of A-Z a-z 0-9 _, got 'a.b'",
        ),
    ],
)
def test_a_bad_loss_is_refused_with_what_may_stand_there(
    tmp_path: Path, loss: str, rule: str
) -> None:
    error = refusal(tmp_path, with_loss(loss))
    assert rule in error.rule
    assert error.place == "x.yaml:7"


def test_options_of_a_users_loss_are_searched_by_its_arm(tmp_path: Path) -> None:
    space = """
search:
  space:
    arms.mc.loss.options.gamma: {float: [1, 3]}
    arms.mc.loss.options.depth: {int: [1, 3]}
  enqueue: [{arms.mc.loss.options.depth: 2}]
"""
    ce, own = read(tmp_path, OWN + space).cells
    assert ce.space == {}
    assert own.space == {
        "loss.options.gamma": FloatRange(low=1, high=3),
        "loss.options.depth": IntRange(low=1, high=3),
    }
    assert own.enqueue == ({"loss.options.depth": 2},)
    settings = own.settings({"loss.options.gamma": 1.5, "loss.options.depth": 3})
    assert settings["loss.options.gamma"] == 1.5
    assert settings["loss.options.depth"] == 3


@pytest.mark.parametrize("value", ["{a: 1}", "{}", "[[1, {a.b: 2}]]"])
def test_options_hold_no_mappings(tmp_path: Path, value: str) -> None:
    error = refusal(tmp_path, OWN.replace("gamma: 2", f"gamma: {value}"))
    assert "options are text, numbers, true, false and lists, got a mapping for gamma" in error.rule
    assert error.place == "x.yaml:7"


def test_an_option_that_is_searched_replaces_the_one_that_is_written(tmp_path: Path) -> None:
    text = OWN.replace("gamma: 2", "gamma: [1, 2], gammas: 4")
    space = "search: {space: {arms.mc.loss.options.gamma: {choice: [1, 2]}}}\n"
    own = read(tmp_path, text + space).cells[1]
    options = {k: v for k, v in own.settings({"loss.options.gamma": 2}).items() if "option" in k}
    assert options == {"loss.options.gamma": 2, "loss.options.gammas": 4}


def test_two_searched_settings_that_cannot_meet_are_refused(tmp_path: Path) -> None:
    space = (
        "search: {space: {arms.mc.loss.mask_scope: {choice: [batch, sample]}, "
        "arms.mc.loss.mask_draw: {choice: [step, once]}}}\n"
    )
    error = refusal(tmp_path, BASE + space)
    assert "reach 'sample' and 'once', but" in error.rule
    assert "must be step with mask_scope: sample" in error.rule


def test_a_queued_entry_is_tried_as_a_whole(tmp_path: Path) -> None:
    base = BASE.replace("{name: mc}", "{name: mc, dialect: official, mu: 1, lambda: 0}")
    space = "search: {space: {arms.mc.loss.mu: {float: [0, 1]}}, enqueue: [{arms.mc.loss.mu: 0}]}\n"
    assert read(tmp_path, base + space).cells[1].enqueue == ({"loss.mu": 0.0},)
    base = BASE.replace("{name: mc}", "{name: mc, dialect: official, mu: 1, lambda: 20}")
    error = refusal(tmp_path, base + space)
    assert "must be 0 where mu is 0" in error.rule


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("arms.ce.loss.options.gamma", "is searched by no cell: ce has no options"),
        ("arms.ce.loss.plus.mu", "is searched by no cell: ce without plus has no mu"),
        ("arms.mc.loss.options.a.b", "unknown key search.space.arms.mc.loss.options.a.b"),
        ("arms.mc.loss.options", "unknown key search.space.arms.mc.loss.options"),
        ("arms.mc.loss.plus.name", "no cell can search this key"),
        ("loss.options.gamma", "unknown key search.space.loss.options.gamma"),
    ],
)
def test_what_is_no_option_of_an_arms_own_loss_is_not_searched(
    tmp_path: Path, key: str, rule: str
) -> None:
    error = refusal(tmp_path, OWN + f"search: {{space: {{{key}: {{float: [1, 2]}}}}}}\n")
    assert rule in error.rule
    assert error.place == "x.yaml:8"


def test_mc_loss_on_top_of_another_is_searched_by_its_arm(tmp_path: Path) -> None:
    text = with_loss("{name: arcface, plus: {name: mc}}")
    text += "search: {space: {arms.mc.loss.plus.mu: {log: [0.1, 1]}}}\n"
    arm = read(tmp_path, text).cells[1]
    assert set(arm.space) == {"loss.plus.mu"}
    assert arm.settings({"loss.plus.mu": 0.3})["loss.plus.mu"] == 0.3


def test_a_range_of_a_margin_ends_where_the_margin_does(tmp_path: Path) -> None:
    text = with_loss("{name: arcface}")
    text += "search: {space: {arms.mc.loss.margin: {float: [10, 120]}}}\n"
    error = refusal(tmp_path, text)
    assert "reaches 120.0, but arms.mc.loss.margin must be a number >= 0 and <= 90" in error.rule
