"""A search trial has no way to the test labels."""

import ast
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import mcl_bench
from mcl_bench import data
from mcl_bench.records import TestGrant, TrialConfig

PACKAGE = Path(mcl_bench.__file__).parent
ONE = {"train": {"epochs": 1, "schedule": {"warmup_epochs": 0}}}

MAY_OPEN = {
    "data/vault.py",
    "data/__init__.py",
    "data/thumbnails.py",
    "training/inputs.py",
    "testing/datasets.py",
}
"""Where `open_test` is told, handed on and called.

Thumbnails are made after a confirm trial, with its own look's grant; `testing/datasets.py` is a
suite of tests.
"""


def step(config: TrialConfig) -> dict[str, Any]:
    """The first result of the trial's worker, as the driver gets it."""
    from mcl_bench.sweep.worker import TrialWorker

    worker = TrialWorker(
        config={"trial": json.dumps(config.to_dict()), "stop": f"{config.folder}.stop"}
    )
    result: dict[str, Any] = worker.step()
    worker.cleanup()
    return result


def peeking(make_config: Any, packed: Any, **changes: Any) -> TrialConfig:
    spec = make_config().settings
    options = {
        "data": json.dumps(
            {
                "name": "parts",
                "resize": spec["data.resize"],
                "options": {
                    key.removeprefix("data.options."): value
                    for key, value in spec.items()
                    if key.startswith("data.options.")
                },
            }
        ),
        "store": str(packed.store),
        "digest": packed.digest,
    }
    config: TrialConfig = make_config(
        {"name": "own_losses:Peeking", "options": options}, **ONE, **changes
    )
    return config


def test_a_search_trial_that_tries_to_read_test_labels_fails(make_config: Any, packed: Any) -> None:
    result = step(peeking(make_config, packed))
    assert (result["outcome"], result["done"]) == ("failed", True)
    assert result["cause"].startswith(
        "bug: TypeError: the test images are opened with a TestGrant only"
    )
    assert "record" not in result


def test_a_search_trial_that_was_handed_a_grant_fails(make_config: Any) -> None:
    config = make_config(**ONE)
    grant = TestGrant(cell=config.id.cell, key=config.key, seed=config.seed, entry="e")
    result = step(dataclasses.replace(config, grant=grant))
    assert result["outcome"] == "failed"
    assert result["cause"].startswith("config: ValueError: ")
    assert "is a search trial and may not hold a TestGrant" in result["cause"]


def test_a_search_trial_needs_no_test_file_and_leaves_it_be(
    make_config: Any, packed: Any, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(packed.store, store)
    for test in store.glob("*.test.arrow"):
        test.unlink()
    assert list(store.glob("*.arrow"))
    result = step(dataclasses.replace(make_config(**ONE), store=str(store)))
    assert result["done"]
    assert "val/top1" in json.loads(result["record"])["metrics"]
    assert not any(name.startswith("test/") for name in json.loads(result["record"])["metrics"])
    assert not test.exists()
    confirm = step(dataclasses.replace(make_config(stage="confirm", **ONE), store=str(store)))
    assert confirm["outcome"] == "failed"
    assert test.name in confirm["cause"]


def test_only_the_vault_opens_test_and_only_the_inputs_ask_it_to() -> None:
    """And outside the data room nobody names the file that holds it."""
    opened, named = set(), set()
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {
                getattr(node, "id", None),
                getattr(node, "attr", None),
                getattr(node, "arg", None),
                getattr(node, "name", None),
            }
            if "open_test" in names:
                opened.add(file)
            if "test_path" in names:
                named.add(file)
    assert opened == MAY_OPEN
    assert "data/vault.py" in named
    elsewhere = {file for file in named if not file.startswith("data/")}
    assert elsewhere == {"cli/packs.py"}, "it tells where the file lies"
    assert data.open_test.__module__ == "mcl_bench.data.vault"
