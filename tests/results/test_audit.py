import json
import math
from pathlib import Path

import numpy as np
import pytest
from claim_stories import CE_EPOCHS, MC_EPOCHS, scored_sweep
from results_stories import CE, MC, confirms, record, write_sweep
from scipy import stats as oracle

from mcl_bench.records import UserError
from mcl_bench.results import audit, audit_json, audit_text, leaderboard, read_claim
from mcl_bench.results.audit import Audit, Claim, standing


def audited(home: Path, claim: str) -> tuple[dict[str, Audit], Claim]:
    found = read_claim(claim)
    return {one.row.arm: one for one in audit(leaderboard(home), found)}, found


@pytest.mark.parametrize(
    ("text", "value", "floor"),
    [
        ("87.3", 0.873, 0.8725),
        ("87.30", 0.873, 0.87295),
        ("87.3%", 0.873, 0.8725),
        ("87.3 %", 0.873, 0.8725),
        ("0.873", 0.873, 0.8725),
        ("87", 0.87, 0.865),
        ("1", 1.0, 0.5),
        ("1%", 0.01, 0.005),
        ("1.0", 1.0, 0.95),
        ("100", 1.0, 0.995),
        ("8e1", 0.8, 0.75),
    ],
)
def test_a_claim_is_percent_or_a_fraction_and_reached_by_what_is_written_as_it(
    text: str, value: float, floor: float
) -> None:
    found = read_claim(text)
    assert (found.value, found.floor) == pytest.approx((value, floor))


@pytest.mark.parametrize("text", ["", "high", "nan", "inf", "-1", "100.1", "87,3", "0x10"])
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--claim is a number from 0 to 100"):
        read_claim(text)


def test_the_chance_is_that_of_the_predictive_t_distribution() -> None:
    values = [0.80, 0.82, 0.84, 0.81, 0.83]
    found = standing(values, Claim(value=0.85, floor=0.845))
    spread = math.sqrt(1 + 1 / 5) * oracle.tstd(values)
    expected = oracle.t.sf(0.845, 4, loc=0.82, scale=spread)
    assert found.chance == pytest.approx(expected)
    assert found.reached == 0


def test_the_chance_is_right_for_a_run_that_was_not_seen() -> None:
    values_Rn = np.random.default_rng(0).normal(0.8, 0.02, size=(4000, 6))
    chances = [
        standing(list(run[:5]), Claim(value=float(run[5]), floor=float(run[5]))).chance
        for run in values_Rn
    ]
    told = [chance for chance in chances if chance is not None]
    assert len(told) == 4000
    assert oracle.kstest(told, "uniform").pvalue > 0.01


def test_one_seed_and_equal_seeds_tell_no_chance() -> None:
    assert standing([0.8], Claim(value=0.7, floor=0.7)).chance is None
    assert standing([0.8, 0.8, 0.8], Claim(value=0.7, floor=0.7)).chance is None


def test_an_audit_tells_both_ways_of_scoring(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs")
    found, claim = audited(tmp_path / "runs", "90")
    mc = found["mc"]
    assert mc.last.interval.mean == pytest.approx(sum(v[-1] for v in MC_EPOCHS) / 3)
    assert mc.best is not None
    assert mc.best.interval.mean == pytest.approx(sum(max(v) for v in MC_EPOCHS) / 3)
    assert (mc.last.reached, mc.best.reached) == (1, 2)
    assert mc.best.chance is not None
    assert mc.last.chance is not None
    assert mc.best.chance > mc.last.chance
    text = audit_text(list(found.values()), claim)
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert "90 lies in the interval of our mean, 83.3 ± 14.3 (n = 3): one more run reaches" in flat
    assert "and 1 of 3 seeds reached it. Scored by each run's best epoch on test, as many" in flat
    assert "90 lies above the interval of our mean, 65.0 ± 12.4 (n = 3)" in flat


def test_the_json_of_an_audit_has_no_nan_and_each_row(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs", ce=CE_EPOCHS[:1], mc=MC_EPOCHS[:1])
    found, claim = audited(tmp_path / "runs", "0.6")
    document = audit_json(list(found.values()), claim)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [row["cell"] for row in document["rows"]] == [MC, CE]
    assert document["rows"][1]["last_epoch"]["chance"] is None
    assert "is not above our one run, 60.0 (n = 1)" in document["rows"][1]["sentence"]
    assert "one seed tells no chance" in document["rows"][1]["sentence"]


def test_rows_that_were_not_scored_each_epoch_say_so(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs", [record(CE), *confirms(CE, [0.5, 0.6, 0.7])])
    found, claim = audited(tmp_path / "runs", "10")
    assert list(found) == ["ce"], "mc has no confirm trial"
    assert found["ce"].best is None
    flat = " ".join(audit_text(list(found.values()), claim).split())
    assert "10 lies below the interval of our mean" in flat
    assert "Test was scored after the last epoch only." in flat


def test_a_chance_is_never_told_as_sure(tmp_path: Path) -> None:
    scored_sweep(tmp_path / "runs", mc=[[0.8], [0.80001], [0.79999]])
    low, claim = audited(tmp_path / "runs", "99")
    assert "a chance of less than 0.1 %" in " ".join(audit_text([low["mc"]], claim).split())
    high, claim = audited(tmp_path / "runs", "50")
    assert "a chance of more than 99.9 %" in " ".join(audit_text([high["mc"]], claim).split())
