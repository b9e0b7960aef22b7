"""What the store's mode adds to a setting: results on JPEG images have keys of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mcl_bench.data import mode
from mcl_bench.spec import load
from mcl_bench.sweep.settings import Setting, Settings


@pytest.fixture
def setting(tmp_path: Path, tiny_experiment: str) -> Callable[[str], Setting]:
    file = tmp_path / "tiny.yaml"
    file.write_text(tiny_experiment)

    def made(store: str) -> Setting:
        cell = load(file, [f"data.store={store}"]).cells[0]
        settings = Settings(seed=1, store=tmp_path / "store")
        settings.prepare([cell])
        return settings.setting(cell, {}, stage="search", k=0, device="cpu")

    return made


def test_a_key_tells_encoded_images_from_decoded_ones_however_they_were_chosen(
    setting: Callable[[str], Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, decoded, encoded = (setting(store) for store in ("auto", "decoded", "encoded"))
    assert auto.key == decoded.key != encoded.key
    assert auto.settings["data.store"] == "auto"
    monkeypatch.setattr(mode, "DECODED_BYTES", 1000)
    chosen = setting("auto")
    assert chosen.key == encoded.key
    assert chosen.settings["data.store"] == chosen.spec.data.store == "encoded"
    assert setting("decoded").key == decoded.key
