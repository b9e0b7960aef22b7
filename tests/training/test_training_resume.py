import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mcl_bench.records import EpochRecord, TrialConfig
from mcl_bench.training import CheckpointError, Interrupted, Training, run_trial

GO_ON = """
import json, sys
from pathlib import Path
from mcl_bench.records import TrialConfig
from mcl_bench.training import Training

for line in sys.stdin:
    job = json.loads(line)
    training = Training(TrialConfig.from_dict(job["config"]), Path(job["checkpoint"]))
    for record in training:
        pass
    training.write_checkpoint()
    print(json.dumps([record.to_dict() for record in training.records]))
"""


class Words:
    """A control that says `word` at its `turn`-th question, and `go` otherwise."""

    def __init__(self, word: Any, turn: int) -> None:
        self.word, self.turn, self.asked = word, turn, 0

    def __call__(self) -> Any:
        self.asked += 1
        return self.word if self.asked == self.turn else "go"


def plain(record: EpochRecord | dict[str, Any]) -> dict[str, Any]:
    values = record if isinstance(record, dict) else record.to_dict()
    metrics = {k: v for k, v in values["metrics"].items() if not k.startswith(("time/", "system/"))}
    return {**values, "metrics": metrics, "timestamp_ms": None}


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_bit_equal(one: Any, other: Any) -> None:
    """Equal tensors, numbers and structure, however deep."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_bit_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, yours in zip(one, other, strict=True):
            assert_bit_equal(mine, yours)
    else:
        assert one == other


def assert_same_end(one: dict[str, Any], other: dict[str, Any]) -> None:
    for part in ("network", "objective", "optimizer", "generators"):
        assert_bit_equal(one[part], other[part])


def whole(config: TrialConfig) -> tuple[list[EpochRecord], dict[str, Any]]:
    training = Training(config)
    list(training)
    return training.records, load(training.write_checkpoint())


def in_another_folder(config: TrialConfig, name: str) -> TrialConfig:
    return dataclasses.replace(config, folder=str(Path(config.folder).parent / name))


def leave(config: TrialConfig, turn: int) -> Path:
    with pytest.raises(Interrupted) as caught:
        list(Training(config, control=Words("leave", turn)))
    return caught.value.checkpoint


@pytest.mark.parametrize(
    ("stage", "confirm"), [("search", {}), ("confirm", {"refit": False, "gap": True})]
)
def test_four_epochs_at_once_equal_two_and_two_through_a_new_process(
    make_config: Callable[..., TrialConfig], stage: str, confirm: dict[str, Any]
) -> None:
    config = make_config(stage=stage, confirm=confirm, folder="whole")
    records, expected = whole(config)

    halfway = Training(in_another_folder(config, "halfway"))
    first = [next(halfway), next(halfway)]
    assert [plain(record) for record in first] == [plain(record) for record in records[:2]]
    checkpoints = {
        "resumed": halfway.write_checkpoint(),
        "midway": leave(in_another_folder(config, "midway"), turn=10),
    }
    jobs = [
        {"config": in_another_folder(config, name).to_dict(), "checkpoint": str(path)}
        for name, path in checkpoints.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", GO_ON],
        input="\n".join(json.dumps(job) for job in jobs),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for name, line in zip(checkpoints, done.stdout.splitlines(), strict=True):
        assert [plain(record) for record in json.loads(line)] == [plain(one) for one in records]
        assert_same_end(load(Path(config.folder).parent / name / "checkpoint.pt"), expected)


@pytest.mark.parametrize("turn", range(1, 15))
def test_leaving_at_any_question_changes_nothing(
    make_config: Callable[..., TrialConfig], turn: int
) -> None:
    config = make_config(train={"epochs": 2})
    records, expected = whole(config)
    elsewhere = in_another_folder(config, "left")
    path = leave(elsewhere, turn)
    training = Training(elsewhere, path)
    list(training)
    assert [plain(record) for record in training.records] == [plain(one) for one in records]
    assert_same_end(load(training.write_checkpoint()), expected)


def test_save_writes_a_checkpoint_and_goes_on(make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(train={"epochs": 1})
    records, expected = whole(in_another_folder(config, "whole"))
    training = Training(config, control=Words("save", 3))
    assert [plain(record) for record in training] == [plain(one) for one in records]
    saved = load(Path(config.folder) / "checkpoint.pt")
    assert saved["sums"]["steps"] == 2
    assert saved["records"] == []
    assert_same_end(load(training.write_checkpoint()), expected)


def test_a_training_that_left_yields_no_more(make_config: Callable[..., TrialConfig]) -> None:
    training = Training(make_config(), control=Words("leave", 2))
    with pytest.raises(Interrupted):
        next(training)
    assert list(training) == []


def test_a_checkpoint_is_whole_and_holds_no_code(make_config: Callable[..., TrialConfig]) -> None:
    training = Training(make_config())
    next(training)
    path = training.write_checkpoint()
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]
    checkpoint = load(path)
    assert checkpoint["key"] == "k" * 64
    assert set(checkpoint["versions"]) == {"mcl_bench", "torch", "torchvision"}
    assert set(checkpoint["generators"]) == {"torch", "mask"}


def test_records_out_of_a_checkpoint_keep_their_times(
    make_config: Callable[..., TrialConfig],
) -> None:
    training = Training(make_config())
    next(training)
    path = training.write_checkpoint()
    assert Training(make_config(), path).records == training.records


def test_the_time_of_an_interrupted_epoch_is_carried_on(
    make_config: Callable[..., TrialConfig],
) -> None:
    path = leave(make_config(), turn=4)
    before = load(path)["sums"]["seconds"]
    assert before > 0
    record = next(Training(make_config(), path))
    assert record.metrics["time/epoch_s"] > before


def test_every_generator_goes_on_where_it_was(make_config: Callable[..., TrialConfig]) -> None:
    training = Training(make_config())
    next(training)
    torch.rand(3)  # what a layer with dropout would draw
    path = training.write_checkpoint()
    expected = torch.rand(5)
    Training(make_config(), path)
    assert torch.equal(torch.rand(5), expected)


def test_a_finished_training_is_not_trained_again(make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(train={"epochs": 2})
    training = Training(config)
    list(training)
    path = training.write_checkpoint()
    assert list(Training(config, path)) == []
    seen: list[int] = []
    last = run_trial(config, lambda record: seen.append(record.epoch) or "go", checkpoint=path)
    assert seen == [1, 2]
    assert last == training.records[-1]


def test_the_checkpoint_of_another_trial_is_refused(
    make_config: Callable[..., TrialConfig],
) -> None:
    path = Training(make_config()).write_checkpoint()
    with pytest.raises(CheckpointError, match="belongs to another trial"):
        Training(make_config(key="z" * 64), path)


def test_a_finished_confirm_trial_leaves_its_answers_in_the_next_folder_too(
    make_config: Callable[..., TrialConfig],
) -> None:
    config = make_config(stage="confirm", train={"epochs": 1})
    training = Training(config)
    list(training)
    elsewhere = in_another_folder(config, "next")
    Training(elsewhere, training.write_checkpoint())
    for name in ("predictions.parquet", "confusion.json"):
        first, second = (Path(one.folder) / name for one in (config, elsewhere))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(
    make_config: Callable[..., TrialConfig], tmp_path: Path, content: bytes | None
) -> None:
    written = Training(make_config()).write_checkpoint().read_bytes()
    path = tmp_path / "damaged.pt"
    path.write_bytes(written[: len(written) // 2] if content is None else content)
    with pytest.raises(CheckpointError, match=r"damaged\.pt"):
        Training(make_config(), path)


def test_a_checkpoint_of_other_versions_is_taken_up_with_a_warning(
    make_config: Callable[..., TrialConfig], caplog: pytest.LogCaptureFixture
) -> None:
    path = Training(make_config()).write_checkpoint()
    changed = load(path)
    changed["versions"]["torch"] = "1.0"
    torch.save(changed, path)
    Training(make_config(), path)
    assert "1.0" in caplog.text
