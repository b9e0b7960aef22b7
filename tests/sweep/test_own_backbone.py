"""What a user's own backbone adds to a setting: the source that its key depends on."""

import importlib
import sys
from pathlib import Path

import pytest

from mcl_bench.spec import load
from mcl_bench.sweep.settings import Settings
from mcl_bench.training.backbones import own

NET = """\
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 24, 3, stride=4, padding=1), nn.ReLU())
"""


def test_another_source_of_the_same_backbone_is_another_key(
    tmp_path: Path, tiny_experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "own.yaml"
    file.write_text(tiny_experiment.replace("backbone: convnet", "backbone: 'keyed_net:net'"))
    keys = []
    for source in (NET, NET, NET.replace("ReLU", "SiLU")):
        (tmp_path / "keyed_net.py").write_text(source)
        sys.modules.pop("keyed_net", None)
        importlib.invalidate_caches()
        own.own_backbone.cache_clear()
        cell = load(file, []).cells[0]
        settings = Settings(seed=1, store=tmp_path / "store")
        settings.prepare([cell])
        keys.append(settings.setting(cell, {}, stage="search", k=0, device="cpu").key)
    assert keys[0] == keys[1]
    assert keys[1] != keys[2]
