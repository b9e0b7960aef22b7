import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mcl_bench import data
from mcl_bench.records import TestGrant, TrialConfig, TrialId
from mcl_bench.spec import TrialSpec, settings_of

DATA = {
    "name": "parts",
    "resize": 36,
    "crop": 32,
    "augment": "crop_flip",
    "validation": 0.25,
    "options": {"classes": 12, "train_per_class": 8, "test_per_class": 3, "size": 36, "seed": 0},
}
MC = {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.4}
MakeConfig = Callable[..., TrialConfig]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def make_spec(loss: dict[str, Any] | None = None, **changes: Any) -> TrialSpec:
    plain = {
        "data": DATA,
        "model": {
            "backbone": "convnet",
            "weights": "none",
            "channels": "adapter",
            "xi": 3,
            "head": "avgmax",
        },
        "loss": MC if loss is None else loss,
        "train": {
            "epochs": 4,
            "batch_size": 16,
            "optimizer": {"name": "adamw", "lr": 0.005, "head_lr_scale": 1.0},
            "schedule": {"name": "cosine", "warmup_epochs": 0.5},
        },
        "confirm": {"refit": True, "gap": False},
    }
    return TrialSpec.model_validate(merged(plain, changes), strict=False)


@dataclasses.dataclass(frozen=True)
class Packed:
    store: Path
    digest: str
    num_train: int
    num_test: int


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    store = tmp_path_factory.mktemp("store")
    found = data.prepare(make_spec().data, store=store)
    return Packed(store, found.digest, found.num_train, found.num_test)


@pytest.fixture
def spec() -> Callable[..., TrialSpec]:
    return make_spec


@pytest.fixture
def make_config(packed: Packed, tmp_path: Path) -> MakeConfig:
    def make(
        loss: dict[str, Any] | None = None,
        *,
        stage: Any = "search",
        seed: int = 3,
        key: str = "k" * 64,
        folder: str = "trial",
        grant: bool = True,
        **changes: Any,
    ) -> TrialConfig:
        cell = "parts-convnet-mc"
        look = TestGrant(cell=cell, key=key, seed=seed, entry="e")
        return TrialConfig(
            id=TrialId(sweep="s", cell=cell, stage=stage, number=0),
            settings=settings_of(make_spec(loss, **changes)),
            seed=seed,
            key=key,
            lease="lease",
            device="cpu",
            threads=1,
            folder=str(tmp_path / folder),
            digest=packed.digest,
            store=str(packed.store),
            grant=look if stage == "confirm" and grant else None,
        )

    return make
