import json
import math
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
import torch

from mcl_bench import data
from mcl_bench.records import DataError, EpochRecord, TestGrant
from mcl_bench.spec import named_seed
from mcl_bench.training import Diverged, Interrupted, Training, run_trial
from mcl_bench.training.models import build_network
from mcl_bench.training.optimisation import lr_factor

CE = {"name": "ce"}
TIMES = {
    "time/epoch_s",
    "time/data_wait_s",
    "system/process_cpu_percentage",
    "system/process_peak_memory_megabytes",
}
CHANNELS = {
    f"channels/{name}"
    for name in ("diversity", "entropy", "alignment", "alignment_masked", "own_top1", "own_energy")
} | {"channels/peak"}
PLACES = {
    f"channels/{name}"
    for name in ("pointing", "pointing_chance", "energy_box", "consistency", "consistency_chance")
}
TRAIN_CE = {"train/loss", "train/loss_ce", "train/top1"} | TIMES
TRAIN_MC = TRAIN_CE | {"train/loss_dis", "train/loss_div"}
VAL = {"val/top1", "val/top5", "val/macro_top1", "val/loss", "best/val/top1", "best/epoch"}
TEST = {"test/top1", "test/top5", "test/macro_top1"}
ONE_EPOCH: dict[str, Any] = {"train": {"epochs": 1}}
TWO_EPOCHS: dict[str, Any] = {"train": {"epochs": 2}}


def without_times(record: EpochRecord) -> dict[str, float]:
    return {name: value for name, value in record.metrics.items() if name not in TIMES}


def test_a_search_trial_gives_a_record_per_epoch_judged_on_validation(make_config: Any) -> None:
    records = list(Training(make_config(**TWO_EPOCHS)))
    assert [record.epoch for record in records] == [1, 2]
    assert [record.last for record in records] == [False, True]
    assert all(set(record.metrics) == TRAIN_MC | VAL | CHANNELS for record in records)


def test_an_arm_without_a_term_has_no_metric_of_it(make_config: Any) -> None:
    (record,) = Training(make_config(CE, **ONE_EPOCH))
    assert set(record.metrics) == TRAIN_CE | VAL | CHANNELS
    assert record.metrics["train/loss"] == record.metrics["train/loss_ce"]


def test_metrics_are_plain_numbers_in_their_ranges(make_config: Any) -> None:
    (record,) = Training(make_config(**ONE_EPOCH))
    metrics = record.metrics
    assert all(type(value) is float for value in metrics.values())
    shares = [name for name in metrics if name.endswith(("top1", "top5", "alignment"))]
    assert all(0 <= metrics[name] <= 1 for name in shares)
    assert 1 / 3 - 1e-6 <= metrics["channels/diversity"] <= 1
    assert metrics["train/loss"] == pytest.approx(
        metrics["train/loss_ce"]
        + 0.5 * (metrics["train/loss_dis"] + 5.0 * metrics["train/loss_div"])
    )
    assert 0 <= metrics["time/data_wait_s"] < metrics["time/epoch_s"]
    assert 0 < metrics["system/process_cpu_percentage"] < 100 * (os.cpu_count() or 1) + 10
    assert 50 < metrics["system/process_peak_memory_megabytes"] < 64_000


def test_a_refit_confirm_trial_is_judged_on_test_once_at_the_end(make_config: Any) -> None:
    first, last = Training(make_config(stage="confirm", **TWO_EPOCHS))
    assert set(first.metrics) == TRAIN_MC
    assert set(last.metrics) == TRAIN_MC | TEST | CHANNELS | PLACES


def test_the_gap_is_scored_on_test_at_each_epoch(make_config: Any) -> None:
    config = make_config(stage="confirm", confirm={"gap": True}, **TWO_EPOCHS)
    first, last = Training(config)
    gap = {"gap/top1"} | {f"gap/{name}" for name in CHANNELS}
    assert set(first.metrics) == TRAIN_MC | gap
    assert set(last.metrics) == TRAIN_MC | gap | TEST | CHANNELS | PLACES
    assert last.metrics["gap/top1"] == last.metrics["test/top1"]


def test_the_gap_changes_nothing_else(make_config: Any) -> None:
    with_gap, without = (
        list(Training(make_config(stage="confirm", confirm={"gap": gap}, **TWO_EPOCHS)))
        for gap in (True, False)
    )
    seen = without_times(without[-1])
    assert {name: with_gap[-1].metrics[name] for name in seen} == seen


def test_a_confirm_trial_without_refit_keeps_validation_apart(make_config: Any) -> None:
    config = make_config(stage="confirm", confirm={"refit": False}, **TWO_EPOCHS)
    first, last = Training(config)
    assert set(first.metrics) == TRAIN_MC | VAL
    assert set(last.metrics) == TRAIN_MC | VAL | TEST | CHANNELS | PLACES


def test_refit_learns_from_validation_too(make_config: Any, packed: Any) -> None:
    images = {}
    for name, config in (
        ("search", make_config()),
        ("refit", make_config(stage="confirm")),
        ("kept", make_config(stage="confirm", confirm={"refit": False})),
    ):
        training = Training(config)
        next(training)
        images[name] = sum(len(batch.target) for batch in training._inputs.train.epoch(0))
    assert images["refit"] == packed.num_train == 96
    assert images["search"] == images["kept"] == 72


def test_a_search_trial_and_a_confirm_trial_on_its_split_train_the_same(make_config: Any) -> None:
    search = list(Training(make_config(**TWO_EPOCHS)))
    confirm = list(Training(make_config(stage="confirm", confirm={"refit": False}, **TWO_EPOCHS)))
    assert search[-1].metrics["val/loss"] == confirm[-1].metrics["val/loss"]


def test_the_best_epoch_is_recorded_beside_the_last(make_config: Any) -> None:
    records = list(Training(make_config()))
    values = [record.metrics["val/top1"] for record in records]
    assert [record.metrics["best/val/top1"] for record in records] == [
        max(values[: index + 1]) for index in range(4)
    ]
    assert records[-1].metrics["best/epoch"] == values.index(max(values)) + 1


def test_one_seed_trains_bit_for_bit_the_same_and_another_does_not(make_config: Any) -> None:
    runs = []
    for seed in (3, 3, 4):
        training = Training(make_config(seed=seed, **TWO_EPOCHS))
        runs.append(([without_times(record) for record in training], training.network))
    (first, one), (second, two), (other, _) = runs
    assert first == second
    assert first != other
    assert all(
        torch.equal(mine, yours)
        for mine, yours in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


def test_all_arms_start_from_equal_names_and_bit_equal_weights(make_config: Any) -> None:
    ce, mc = (Training(config).network for config in (make_config(CE), make_config()))
    one, other = ce.state_dict(), mc.state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_initial_weights_come_from_the_stream_of_their_own(make_config: Any, spec: Any) -> None:
    expected = build_network(spec().model, 12, seed=named_seed(3, "init")).state_dict()
    got = Training(make_config(seed=3)).network.state_dict()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_mc_with_mu_zero_trains_the_same_network_as_ce(make_config: Any) -> None:
    idle = {"name": "mc", "mu": 0.0, "lambda": 5.0, "mask_ratio": 0.4}
    (ce,), (mc,) = Training(make_config(CE, **ONE_EPOCH)), Training(make_config(idle, **ONE_EPOCH))
    assert ce.metrics["val/loss"] == mc.metrics["val/loss"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"head": "mlp"}},
        {"model": {"head": "linear", "channels": "native", "xi": "auto"}},
        {"train": {"optimizer": {"name": "sgd", "lr": 0.05}}},
        {"train": {"schedule": {"name": "step", "milestones": [1]}}},
        {"train": {"precision": "bf16"}},
    ],
    ids=["mlp", "native", "sgd", "step", "bf16"],
)
def test_each_setting_trains_and_changes_the_result(
    make_config: Any, changes: dict[str, Any]
) -> None:
    *_, plain = Training(make_config(**TWO_EPOCHS))
    train = changes.get("train", {}) | TWO_EPOCHS["train"]
    *_, changed = Training(make_config(**{**changes, "train": train}))
    assert math.isfinite(changed.metrics["val/loss"])
    assert changed.metrics["val/loss"] != plain.metrics["val/loss"]


def test_class_weights_reach_the_loss_and_leave_the_validation_loss_plain(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = {"train": {"epochs": 1, "optimizer": {"lr": 1e-30}}}
    (plain,) = Training(make_config(CE, **frozen))
    monkeypatch.setattr(data, "class_weights", lambda *_: torch.arange(1.0, 13.0))
    (weighted,) = Training(make_config(CE, **frozen))
    assert weighted.metrics["train/loss_ce"] != plain.metrics["train/loss_ce"]
    assert weighted.metrics["val/loss"] == plain.metrics["val/loss"]


def test_the_learning_rate_follows_the_schedule_over_the_whole_training(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(make_config())
    whole, rates = training.objective.forward, []

    def noting(*inputs: Any) -> Any:
        rates.append(training.optimizer.param_groups[0]["lr"])
        return whole(*inputs)

    monkeypatch.setattr(training.objective, "forward", noting)
    list(training)
    expected = [
        0.005 * lr_factor(training.spec.train.schedule, step=step, steps_per_epoch=5, epochs=4)
        for step in range(20)
    ]
    assert rates == pytest.approx(expected)


def test_learning_lowers_the_training_loss(make_config: Any) -> None:
    records = list(Training(make_config(train={"epochs": 6})))
    assert records[-1].metrics["train/loss_ce"] < records[0].metrics["train/loss_ce"]


def test_a_huge_learning_rate_is_told_as_divergence_before_a_record(make_config: Any) -> None:
    optimizer = {"name": "sgd", "lr": 1e30}
    training = Training(
        make_config(train={"optimizer": optimizer, "schedule": {"warmup_epochs": 0}})
    )
    with pytest.raises(Diverged, match="is not finite at step") as caught:
        list(training)
    assert caught.value.epoch == 1
    assert training.records == []
    assert list(training) == []


def test_divergence_names_the_term_and_its_step(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(make_config())
    next(training)
    whole, calls = training.objective.forward, []

    def broken(*inputs: Any) -> Any:
        terms = whole(*inputs)
        calls.append(terms)
        if len(calls) < 3:
            return terms
        return terms._replace(parts={**terms.parts, "dis": terms.total * math.nan})

    monkeypatch.setattr(training.objective, "forward", broken)
    with pytest.raises(Diverged) as caught:
        next(training)
    assert (caught.value.term, caught.value.epoch, caught.value.step) == ("train/loss_dis", 2, 3)
    assert len(training.records) == 1


def test_weights_that_broke_at_the_last_step_are_told_by_the_evaluation(make_config: Any) -> None:
    training = Training(make_config())
    with torch.no_grad():
        training.network.backbone[0][1].running_var.fill_(math.nan)
    training._train_epoch = lambda: None  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="val/loss is not finite"):
        next(training)


def test_what_a_training_raises_survives_a_process_border() -> None:
    diverged = pickle.loads(pickle.dumps(Diverged("train/loss", epoch=2, step=3)))
    assert (diverged.term, diverged.epoch, diverged.step) == ("train/loss", 2, 3)
    assert str(diverged) == "train/loss is not finite at step 3 of epoch 2"
    left = pickle.loads(pickle.dumps(Interrupted(Path("a/checkpoint.pt"))))
    assert left.checkpoint == Path("a/checkpoint.pt")


def test_a_confirm_trial_without_a_grant_is_refused_by_name(make_config: Any) -> None:
    with pytest.raises(ValueError, match=r"parts-convnet-mc/confirm-0 .* needs a TestGrant"):
        Training(make_config(stage="confirm", grant=False))


def test_a_search_trial_with_a_grant_is_refused(make_config: Any) -> None:
    config = make_config(stage="confirm")
    plain = config.to_dict() | {"id": {**config.to_dict()["id"], "stage": "search"}}
    with pytest.raises(ValueError, match="may not hold a TestGrant"):
        Training(type(config).from_dict(plain))


def test_the_grant_of_another_look_is_refused(make_config: Any) -> None:
    plain = make_config(stage="confirm").to_dict()
    grant = TestGrant(cell="parts-convnet-mc", key="k" * 64, seed=99, entry="e")
    config = type(make_config()).from_dict(plain | {"grant": vars(grant)})
    with pytest.raises(ValueError, match="another look"):
        Training(config)


def test_a_search_trial_opens_no_test_file(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("test was opened")

    monkeypatch.setattr(data, "open_test", refuse)
    assert len(list(Training(make_config(**ONE_EPOCH)))) == 1


def test_predictions_and_confusion_are_left_by_a_confirm_trial(
    make_config: Any, packed: Any
) -> None:
    config = make_config(stage="confirm", **TWO_EPOCHS)
    *_, last = Training(config)
    table = pyarrow.parquet.read_table(Path(config.folder) / "predictions.parquet").to_pydict()
    assert list(table) == ["image_id", "label", "predicted", "correct", "top5", "probability"]
    assert len(set(table["image_id"])) == packed.num_test == 36
    assert sum(table["correct"]) / 36 == pytest.approx(last.metrics["test/top1"])
    assert sum(table["top5"]) / 36 == pytest.approx(last.metrics["test/top5"])
    confusion = json.loads((Path(config.folder) / "confusion.json").read_text())
    counts = torch.tensor(confusion["counts"])
    assert len(confusion["classes"]) == 12
    assert counts.sum() == 36
    assert counts.diagonal().sum() / 36 == pytest.approx(last.metrics["test/top1"])


def test_a_search_trial_leaves_no_predictions(make_config: Any) -> None:
    config = make_config(**ONE_EPOCH)
    list(Training(config))
    assert not Path(config.folder).exists()


def test_run_trial_reports_each_epoch_and_returns_the_last(make_config: Any) -> None:
    seen: list[EpochRecord] = []
    last = run_trial(make_config(**TWO_EPOCHS), lambda record: seen.append(record) or "go")
    assert [record.epoch for record in seen] == [1, 2]
    assert last == seen[-1]


def test_run_trial_stops_when_told(make_config: Any) -> None:
    last = run_trial(make_config(), lambda record: "stop" if record.epoch == 2 else "go")
    assert last.epoch == 2
    assert not last.last


def test_a_closed_training_yields_no_more(make_config: Any) -> None:
    training = Training(make_config())
    next(training)
    training.close()
    training.close()
    assert list(training) == []


def test_a_missing_packed_test_file_is_named_before_training(
    make_config: Any, packed: Any, spec: Any, tmp_path: Path
) -> None:
    found = data.prepare(spec().data, store=packed.store, digest=packed.digest)
    away = tmp_path / "away"
    found.test_path.rename(away)
    try:
        with pytest.raises(DataError, match=found.test_path.name):
            Training(make_config(stage="confirm"))
        assert len(list(Training(make_config(**ONE_EPOCH)))) == 1
    finally:
        away.rename(found.test_path)


@pytest.mark.parametrize(
    ("learnt", "validated", "key"), [(1, 5, "data.name"), (5, 0, "data.validation")]
)
def test_too_few_images_are_told_before_training(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, learnt: int, validated: int, key: str
) -> None:
    split = SimpleNamespace(train=torch.arange(learnt), validation=torch.arange(validated))
    monkeypatch.setattr(data, "cut", lambda *_, **__: split)
    with pytest.raises(DataError) as caught:
        Training(make_config())
    assert caught.value.key == key
