"""What tests of several rooms share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres, running_postgres

SLOW = ("test_kills.py", "test_failures_for_real.py", "test_quickstart.py", "test_resume.py")
"""Files of minutes: they start first, so that two workers end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first; the order within a file stays."""
    rank = {name: index for index, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(item.path.name, len(SLOW)))


@pytest.fixture
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder without what killed drivers of other tests have left; not for Ray."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, started by the first test that asks for it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def tiny_experiment() -> str:
    """A sweep of seconds: two arms on a few drawn images."""
    return """\
version: 1
name: tiny
data:
  name: parts
  resize: 32
  crop: 32
  options: {classes: 4, train_per_class: 10, test_per_class: 4, size: 32}
  validation: 0.3
model: {backbone: convnet, weights: none, channels: adapter, head: avgmax}
arms:
  ce: {loss: {name: ce}}
  mc: {loss: {name: mc, mu: 0.5, lambda: 5}}
train: {epochs: 3, batch_size: 8, optimizer: {name: adamw, lr: 0.01}}
search:
  trials: 4
  sampler: random
  pruner: {name: asha, grace: 1, reduction: 2}
  space:
    model.xi: {int: [2, 4]}
    train.optimizer.lr: {log: [0.001, 0.05]}
    arms.mc.loss.mu: {log: [0.1, 2]}
    arms.mc.loss.lambda: {log: [1, 10]}
    arms.mc.loss.mask_ratio: {float: [0.2, 0.8]}
confirm: {seeds: 2}
"""
