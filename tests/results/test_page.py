"""What a page says, without a browser: verdicts, figures as values, failures, files."""

import json
import re
from pathlib import Path

import pytest
from page_stories import confirmed, leave_answers, search, write_whole_story
from results_stories import CE, EXPERIMENT, MC, record, write_sweep

from mcl_bench.records import Importance, TrialRecord
from mcl_bench.results.board import board
from mcl_bench.results.confusions import confusions
from mcl_bench.results.failures import failures
from mcl_bench.results.figures.plot import label, number, thin
from mcl_bench.results.figures.search import best_so_far, importance
from mcl_bench.results.page import Beside, embedded, render_page
from mcl_bench.results.spending import spending
from mcl_bench.results.story import Story, read_story
from mcl_bench.results.verdicts import Verdict, headline, verdict

STYLE = Path(__file__).parents[2] / "dashboards" / "page.css"


def story_of(
    tmp_path: Path, ce: list[float], mc: list[float], more: list[TrialRecord] | None = None
) -> Story:
    """A sweep with these test scores by seed."""
    records = [*search(CE, [0.6]), *search(MC, [0.7]), *confirmed(CE, ce), *confirmed(MC, mc)]
    return read_story(write_sweep(tmp_path / "runs", [*records, *(more or [])]))


def said(found: Verdict) -> str:
    return found.sentence.replace("\xa0", " ")


def test_an_arm_that_is_better_with_every_seed_wins_by_its_paired_difference(
    tmp_path: Path,
) -> None:
    (group,) = story_of(tmp_path, [0.50, 0.52, 0.51], [0.60, 0.63, 0.61]).groups
    found = verdict(group)
    assert (found.kind, found.winner) == ("clear", "mc")
    assert found.badge.replace("\xa0", " ") == "mc wins by 10.3 points"
    # differences 10, 11 and 10 points: sd 1/√3, half-width t(0.975; 2) · sd / √3 = 4.3027 / 3
    assert "95 % interval +8.9 to +11.8 points" in said(found)
    # t = (31/3) / (1/3) = 31 with 2 degrees of freedom
    assert "p = 0.001" in said(found)


def test_an_arm_that_is_ahead_by_chance_is_not_said_to_win(tmp_path: Path) -> None:
    (group,) = story_of(tmp_path, [0.50, 0.60, 0.55], [0.62, 0.52, 0.58]).groups
    found = verdict(group)
    assert (found.kind, found.winner) == ("unsure", None)
    assert found.badge == "mc and ce can’t be told apart"
    assert "which chance alone may explain" in said(found)


def test_two_seeds_decide_nothing(tmp_path: Path) -> None:
    (group,) = story_of(tmp_path, [0.50, 0.51], [0.90, 0.91]).groups
    found = verdict(group)
    assert found.kind == "few"
    assert "at least 3 seeds per arm are needed" in said(found)


def test_the_same_difference_with_every_seed_has_no_p_and_no_winner(tmp_path: Path) -> None:
    (group,) = story_of(tmp_path, [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]).groups
    found = verdict(group)
    assert found.kind == "unsure"
    assert "there is no p" in said(found)


def test_the_p_of_a_verdict_is_not_below_the_one_that_the_leaderboard_shows(
    tmp_path: Path,
) -> None:
    """Over two data × models Holm doubles the smaller p: what is clear alone is not any more."""
    text = f"{EXPERIMENT}matrix: {{data: [{{name: parts}}, {{name: parts, label: other}}]}}\n"
    other = [cell.replace("parts", "other") for cell in (CE, MC)]
    records = [one for cell in (CE, MC, *other) for one in search(cell, [0.5])]
    ce, mc = [0.500, 0.512, 0.506], [0.5306, 0.555, 0.5284]
    for cell, values in zip((CE, MC, *other), (ce, mc, ce, mc), strict=True):
        records += confirmed(cell, values)
    story = read_story(write_sweep(tmp_path / "runs", records, text=text))
    for group in story.groups:
        (row,) = (cell.row for cell in group.cells if cell.arm == "mc")
        assert row.tier == 1
        assert row.p_adjusted is not None
        assert row.p_adjusted > 0.05
        assert {cell.row.tier for cell in group.cells} == {1, 2}
        assert verdict(group).kind == "unsure"


def test_the_headline_names_few_and_counts_many() -> None:
    def made(group: str, winner: str | None) -> Verdict:
        kind = "unsure" if winner is None else "clear"
        badge = "nobody" if winner is None else f"{winner} wins"
        return Verdict(group=group, kind=kind, winner=winner, badge=badge, sentence="")

    few = [made("a", "mc"), made("b", None), made("c", None)]
    assert headline(few) == "a: mc wins. b and c: nobody."
    many = [*few, made("d", "ce"), made("e", "mc")]
    assert headline(many) == (
        "Of 5 data × models: mc wins on 2, ce wins on 1, the best can’t be told apart on 2."
    )


def test_labels_are_escaped_on_one_line_and_keep_their_direction_to_themselves() -> None:
    assert label("<b>a\n&\u2028b</b>") == "\u2068&lt;b&gt;a &amp; b&lt;/b&gt;\u2069"
    assert len(label("x" * 500)) < 70


def test_numbers_that_json_does_not_know_are_none() -> None:
    assert [number(value) for value in (float("nan"), float("inf"), None)] == [None] * 3
    assert number(0.123456789) == 0.12346


def test_points_that_would_lie_on_one_another_are_drawn_once() -> None:
    crowd = [(0.5, 0.5)] * 10_000
    assert len(thin([*crowd, (0.0, 0.0), (1.0, 1.0)])) == 3
    assert thin([(0.0, 1.0), (float("nan"), 1.0), (2.0, 1.0)]) == [0, 2]
    assert thin([(0.0, 1.0), (10.0, 1.0)], log_x=True) == [1]


def test_what_stands_in_a_script_element_cannot_end_it() -> None:
    text = embedded({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_best_so_far_counts_every_trials_device_time(tmp_path: Path) -> None:
    records = [
        record(CE, trial=0, value=0.5, device_seconds=3600, finished=1.0),
        record(CE, trial=1, value=0.2, state="pruned", device_seconds=1800, finished=2.0),
        record(CE, trial=2, value=0.4, device_seconds=3600, finished=3.0),
        record(CE, trial=3, value=0.8, device_seconds=3600, finished=4.0),
    ]
    (group,) = read_story(write_sweep(tmp_path / "runs", records)).groups
    figure = best_so_far(group, "val/top1")
    assert figure is not None
    (line,) = figure["data"]
    assert line["x"] == [1.0, 3.5, 3.5]
    assert line["y"] == [0.5, 0.8, 0.8]


def test_importances_are_drawn_where_they_are_and_told_where_not(tmp_path: Path) -> None:
    story = story_of(tmp_path, [0.5], [0.6])
    (group,) = story.groups
    told = [
        Importance(cell=MC, method="fANOVA", trials=12, shares={"model.xi": 0.3, "loss.mu": 0.7}),
        Importance(cell=CE, absent="3 complete trials are too few"),
    ]
    figure = importance(group, {entry.cell: entry for entry in told})
    assert figure is not None
    (bars,) = figure["data"]
    assert bars["x"] == [0.3, 0.7]
    page = render_page(story, Beside(importances=told))
    assert "ce: 3 complete trials are too few" in page
    assert "mc: fANOVA over 12 complete trials" in page


def test_failures_that_differ_in_numbers_only_are_one() -> None:
    records = [
        record(trial=number, state="failed", value=None, cause=f"out of memory: {number} GiB")
        for number in range(3)
    ]
    records += [record(trial=4, state="diverged", value=None), record(trial=5)]
    found = failures(records)
    assert [(one.state, one.count, one.example) for one in found] == [
        ("failed", 3, f"{CE}/search-0"),
        ("diverged", 1, f"{CE}/search-4"),
    ]
    assert found[1].cause == "not recorded"


def test_the_cost_of_a_cell_is_that_of_its_records(tmp_path: Path) -> None:
    more = [record(CE, trial=1, state="pruned", value=0.1), record(CE, "confirm", 9, of=1, seed=5)]
    story = story_of(tmp_path, [0.5, 0.6], [0.6], more)
    by_cell = {one.cell: one for one in spending(story.groups)}
    assert by_cell[CE].seconds == {
        "search complete": 90.0,
        "search not finished": 90.0,
        "confirm": 180.0,
        "superseded": 90.0,
        "failed": 0.0,
    }
    assert by_cell[CE].total == 450.0


def test_confused_pairs_are_shares_of_the_class_over_seeds(tmp_path: Path) -> None:
    folder = write_whole_story(tmp_path / "runs", classes=["ant", "bee", "fly", "bug"])
    (found,) = confusions(read_story(folder))
    assert found.absent is None
    assert found.look is not None
    # of 16 test images every second is taken for the next class: all of the odd classes
    assert {(pair.true, pair.taken) for pair in found.pairs} == {("bee", "fly"), ("bug", "ant")}
    assert all(pair.share_by_arm == {"ce": 1.0, "mc": 1.0} for pair in found.pairs)
    assert all(len(pair.images) == 3 for pair in found.pairs)


def test_a_damaged_file_of_predictions_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    folder = write_whole_story(tmp_path / "runs", classes=["ant", "bee", "fly", "bug"])
    broken = folder / "trials" / CE / "confirm-0" / "predictions.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    story = read_story(folder)
    (found,) = confusions(story)
    (fault,) = found.faults
    assert str(broken) in fault
    assert found.pairs
    page = render_page(story, Beside(confusions=[found], notes=found.faults))
    assert "can&#39;t be read" in page


def test_class_names_that_were_not_left_are_numbers(tmp_path: Path) -> None:
    story = story_of(tmp_path, [0.5], [0.6])
    (one,) = story.groups[0].cells[0].confirm
    leave_answers(story.folder, one, classes=["a", "b"], ids=["1", "2"])
    (story.trial(one) / "confusion.json").unlink()
    (found,) = confusions(story)
    assert found.pairs[0].true == "class 1"


def test_every_line_of_the_board_has_every_column(tmp_path: Path) -> None:
    story = story_of(tmp_path, [0.50, 0.52, 0.51], [0.60, 0.63, 0.61])
    first, second = board(story.groups)
    assert first.arm == "mc"
    assert first.texts["top1"].replace("\xa0", " ") == "61.3 ± 3.8 %"
    assert first.texts["difference"].replace("\xa0", " ") == "+10.3 [+8.9, +11.8]"
    assert second.texts["difference"] == "baseline"
    assert second.places["difference"] is None
    assert "ξ 2" in first.texts["setting"]


def luminance(color: str) -> float:
    """WCAG's relative luminance of `#rrggbb`."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_and_figures_have_enough_contrast_in_every_theme(theme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), flags=re.DOTALL)
    colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", blocks[0]))
    colors |= dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", blocks[theme]))

    def contrast(name: str, paper: str) -> float:
        low, high = sorted((luminance(colors[name]), luminance(colors[paper])))
        return (high + 0.05) / (low + 0.05)

    for name in ("text", "muted", "link", "better"):
        assert contrast(name, "paper") >= 4.5, name
        assert contrast(name, "raised") >= 4.5, name
    assert contrast("warn", "warn-paper") >= 4.5
    for name in ("worse", "unsure", *(f"arm{place}" for place in range(10))):
        assert contrast(name, "paper") >= 3, name
