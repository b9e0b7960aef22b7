"""What an experiment is told that may be written, but gives nothing."""

from pathlib import Path

from spec_files import BASE, read

from mcl_bench.spec import notes

SPACE = "space: {train.optimizer.lr: {log: [0.1, 1]}}"


def test_an_experiment_in_which_everything_has_an_effect_has_no_notes(tmp_path: Path) -> None:
    assert notes(read(tmp_path, BASE + f"search: {{{SPACE}}}\n")) == []
    assert notes(read(tmp_path, BASE + "search: {trials: 1}\n")) == []


def test_a_grace_that_no_trial_outlives_is_noted_by_cell(tmp_path: Path) -> None:
    text = BASE.replace("{name: mc}}", "{name: mc}, train: {epochs: 4}}")
    text += f"train: {{epochs: 5}}\nsearch: {{pruner: {{grace: 4}}, {SPACE}}}\n"
    assert notes(read(tmp_path, text)) == [
        "search.pruner.grace 4 is not less than the 4 epochs of parts-convnet-mc: "
        "none of their trials is ever pruned"
    ]
    assert notes(read(tmp_path, text, ["search.pruner=none"])) == []
    one, two = notes(read(tmp_path, text, ["search.pruner.grace=5"]))
    assert "the 5 epochs of parts-convnet-ce" in one
    assert "the 4 epochs of parts-convnet-mc" in two


def test_the_most_epochs_that_are_searched_count(tmp_path: Path) -> None:
    text = BASE + "search: {space: {train.epochs: {int: [2, 8]}}}\n"
    assert notes(read(tmp_path, text, ["search.pruner.grace=7"])) == []
    (note,) = notes(read(tmp_path, text, ["search.pruner.grace=8"]))
    assert "the 8 epochs of parts-convnet-ce, parts-convnet-mc" in note


def test_trials_with_nothing_to_search_are_noted(tmp_path: Path) -> None:
    text = BASE + "search: {trials: 3, space: {arms.mc.loss.mu: {log: [0.1, 1]}}}\n"
    assert notes(read(tmp_path, text)) == [
        "nothing is searched in parts-convnet-ce: all but one of search.trials (3) "
        "would be duplicates"
    ]


def at_xi_one(loss: str = "{name: mc}", search: str = "") -> str:
    text = BASE.replace("convnet}", "convnet, channels: adapter, xi: 1}")
    return text.replace("{name: mc}", loss) + f"search: {{trials: 1{search}}}\n"


def test_a_mask_where_a_class_has_one_channel_is_noted(tmp_path: Path) -> None:
    for loss in ("{name: mc}", "{name: arcface, plus: {name: mc}}"):
        own = "loss.plus." if "plus" in loss else "loss."
        assert notes(read(tmp_path, at_xi_one(loss))) == [
            f"{own}lambda cannot matter: every class has one channel, so its diversity is constant "
            "(in parts-convnet-mc)",
            f"{own}mask_ratio cannot matter: the mask drops no channel: 0 of 1 "
            "(in parts-convnet-mc)",
        ]


def test_more_channels_or_no_mc_loss_is_nothing_to_note(tmp_path: Path) -> None:
    assert notes(read(tmp_path, at_xi_one("{name: arcface}"))) == []
    assert notes(read(tmp_path, at_xi_one().replace("xi: 1", "xi: 2"))) == []
    searched = at_xi_one(search=", space: {model.xi: {int: [1, 3]}}")
    assert notes(read(tmp_path, searched)) == []
