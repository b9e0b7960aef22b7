import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from claim_stories import CE_EPOCHS, MC_EPOCHS, leave_predictions, scored, scored_sweep
from results_stories import CE, EXPERIMENT, MC, confirms, record, write_sweep
from scipy import stats as oracle

from mcl_bench.records import DataError, UserError
from mcl_bench.results import compare, comparison_json, comparison_text
from mcl_bench.results.power import power

CE_VALUES = [values[-1] for values in CE_EPOCHS]
MC_VALUES = [values[-1] for values in MC_EPOCHS]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = scored_sweep(tmp_path / "runs")
    leave_predictions(folder, [*scored(CE, CE_EPOCHS), *scored(MC, MC_EPOCHS)])
    return tmp_path / "runs"


def flat(text: str) -> str:
    return " ".join(text.split())


def test_two_rows_are_compared_by_the_paired_t_test(home: Path) -> None:
    found = compare(home, MC, f"story/{CE}")
    test = oracle.ttest_rel(MC_VALUES, CE_VALUES)
    assert found.unlike == ()
    assert found.difference.n == 3
    assert found.difference.mean == pytest.approx(np.mean(MC_VALUES) - np.mean(CE_VALUES))
    assert found.difference.p == pytest.approx(test.pvalue)
    assert found.difference.sign_flip_floor == 0.25
    assert found.power == {effect: power(3, effect) for effect in (1, 2, 3)}


def test_the_bootstrap_is_over_the_seeds_and_images_of_the_stored_predictions(home: Path) -> None:
    found = compare(home, MC, CE).bootstrap
    assert found is not None
    assert found.mean == pytest.approx(np.mean(MC_VALUES) - np.mean(CE_VALUES))
    assert found.low < found.mean < found.high
    assert "bootstrap over seeds × images, decides nothing" in comparison_text(
        compare(home, MC, CE)
    )


def test_the_text_says_what_is_higher_and_how_sure_that_is(home: Path) -> None:
    text = comparison_text(compare(home, MC, CE))
    assert max(map(len, text.splitlines())) <= 80
    assert "A - B over 3 common seeds: +18.3 [-0.6, +37.3] points; they can't be told apart" in text
    assert "p 0.053: paired t, of this one comparison, not adjusted" in text
    assert "exact sign-flip p 0.25 (floor 0.25), decides nothing" in text
    assert "power at a true difference of 1, 2, 3 sd of the pairs: 18 %, 47 %, 75 %" in text
    assert "can't be compared" not in text
    scored_sweep(home, name="sure", mc=[[0.9], [0.9], [0.95]])
    sure = comparison_text(compare(home, f"sure/{MC}", f"sure/{CE}"))
    assert "+26.7 [+12.3, +41.0] points; A is higher" in sure
    other = comparison_text(compare(home, f"sure/{CE}", f"sure/{MC}"))
    assert "-26.7 [-41.0, -12.3] points; B is higher" in other


def test_the_json_has_both_rows_and_no_nan(home: Path) -> None:
    document = comparison_json(compare(home, MC, CE))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["a"]["cell"], document["b"]["cell"]) == (MC, CE)
    assert document["comparable"] is True
    assert [entry["sd"] for entry in document["power"]] == [1.0, 2.0, 3.0]


def test_rows_of_unlike_protocols_are_told_apart_before_their_difference(home: Path) -> None:
    scored_sweep(home, name="other", config={"data.resize.short": 64, "train.epochs": 9})
    found = compare(home, f"story/{MC}", f"other/{MC}")
    assert [(one.key, one.a, one.b) for one in found.unlike] == [
        ("data.resize", "short 32", "short 64"),
        ("train.epochs", "2", "9"),
    ]
    text = comparison_text(found)
    assert "  data.resize: short 32 / short 64" in text
    assert "They can't be compared as losses" in text
    assert text.index("can't be compared as losses") < text.index("A - B over 3 common seeds")
    assert comparison_json(found)["comparable"] is False


def test_rows_that_were_scored_on_other_images_have_no_difference(home: Path) -> None:
    folder = scored_sweep(home, name="other")
    (folder / "sweep.json").write_text(json.dumps({"digests": {"parts": "ab" * 32}}))
    found = compare(home, f"story/{MC}", f"other/{CE}")
    assert [(one.key, one.a, one.b) for one in found.unlike] == [
        ("images", "not recorded", "digest abababababab")
    ]
    assert (found.difference.n, found.difference.mean, found.bootstrap) == (0, None, None)
    text = comparison_text(found)
    assert "scored on other images, so there is no paired difference" in text
    assert "points" not in text
    assert comparison_json(found)["difference"] is None


def test_other_versions_are_another_protocol(home: Path) -> None:
    records = [
        dataclasses.replace(entry, versions={"torch": "2.15"})
        for entry in [record(MC), record(MC, trial=1), *confirms(MC, MC_VALUES)]
    ]
    write_sweep(home, records, text=EXPERIMENT.replace("name: story", "name: other"))
    (found,) = compare(home, f"story/{MC}", f"other/{MC}").unlike
    assert (found.key, found.a, found.b) == ("version of torch", "2.14", "2.15")


def test_one_common_seed_and_two_say_that_they_are_too_few(home: Path) -> None:
    for count, seeds in ((1, "1 common seed"), (2, "2 common seeds")):
        scored_sweep(home, name="few", ce=CE_EPOCHS[:count], mc=MC_EPOCHS[:count])
        found = compare(home, f"few/{MC}", f"few/{CE}")
        text = comparison_text(found)
        assert f"A - B over {seeds}: " in text
        assert "too few to compare" in text
        assert (found.difference.p, "power" in text) == (None, False)


def test_equal_rows_have_no_variation(home: Path) -> None:
    scored_sweep(home, name="equal", ce=CE_EPOCHS, mc=CE_EPOCHS)
    text = comparison_text(compare(home, f"equal/{MC}", f"equal/{CE}"))
    assert "no variation to test against" in text


def test_a_row_that_is_not_confirmed_has_no_seed_in_common(home: Path) -> None:
    scored_sweep(home, name="none", ce=[], mc=MC_EPOCHS)
    text = comparison_text(compare(home, f"none/{MC}", f"none/{CE}"))
    assert "no seed in common" in text


def test_without_predictions_there_is_no_bootstrap_and_it_says_why(home: Path) -> None:
    (home / f"sweeps/story/trials/{CE}/confirm-1/predictions.parquet").unlink()
    found = compare(home, MC, CE)
    assert (found.bootstrap, found.difference.n) == (None, 3)
    assert f"no predictions are kept of {CE}/confirm-1" in comparison_text(found)


def test_predictions_of_other_images_are_not_resampled(home: Path) -> None:
    leave_predictions(home / "sweeps/story", scored(CE, CE_EPOCHS), num=40)
    found = compare(home, MC, CE)
    assert found.bootstrap is None
    assert found.no_bootstrap == "the predictions are not of the same images"


@pytest.mark.parametrize("kind", ["cut", "columns", "numbers"])
def test_damaged_predictions_are_named(home: Path, kind: str) -> None:
    path = home / f"sweeps/story/trials/{MC}/confirm-2/predictions.parquet"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif kind == "columns":
        pq.write_table(pa.table({"image_id": ["a"], "predicted": [1]}), path)
    else:
        pq.write_table(pa.table({"image_id": ["a", "b"], "correct": [True, False]}), path)
    with pytest.raises(DataError, match=r"predictions .*predictions\.parquet are damaged") as told:
        compare(home, MC, CE)
    assert told.value.exit_code == 3
    assert "\n" not in told.value.rule


def test_predictions_are_found_where_the_experiment_puts_its_files(
    home: Path, tmp_path: Path
) -> None:
    text = EXPERIMENT + f"files: {tmp_path}/elsewhere\n"
    folder = scored_sweep(home, name="remote", text=text)
    (folder / "sweep.json").write_text(json.dumps({"id": "0a1b2c3d"}))
    kept = tmp_path / "elsewhere/remote@0a1b2c3d"
    leave_predictions(kept, [*scored(CE, CE_EPOCHS), *scored(MC, MC_EPOCHS)])
    assert compare(home, f"remote/{MC}", f"remote/{CE}").bootstrap is not None


def test_names_of_no_row_or_of_several_are_told_with_what_there_is(home: Path) -> None:
    def told(a: str, b: str = f"story/{CE}") -> str:
        with pytest.raises(UserError) as caught:
            compare(home, a, b)
        return str(caught.value)

    assert "there is no row parts-convnet-mcc" in told(f"{MC}c")
    assert f"did you mean {MC}?" in told(f"{MC}c")
    assert f"story/{MC}, story/{CE}" in told("nothing-like-it")
    assert "no sweep storry" in told(f"storry/{MC}")
    assert "story is a sweep, not a row" in told("story")
    assert "are one row" in told(f"story/{CE}")
    scored_sweep(home, name="other")
    assert f"several sweeps have a row {MC}" in told(MC)
    assert f"other/{MC}, story/{MC}" in told(MC)
    write_sweep(home, [], text=EXPERIMENT.replace("name: story", "name: empty"))
    assert "no complete search trial yet" in told(f"empty/{MC}")
