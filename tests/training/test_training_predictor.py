"""A trained network read back from its weights names images as it did on test."""

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from mcl_bench import data
from mcl_bench.records import DataError, TestGrant, TrialConfig
from mcl_bench.training import Predictor, Training

ONE = {"train": {"epochs": 1, "schedule": {"warmup_epochs": 0}}}
LOSSES: tuple[dict[str, Any], ...] = (
    {"name": "mc", "mu": 0.5, "lambda": 5.0, "mask_ratio": 0.4},
    {"name": "arcface", "margin": 0.2, "scale": 8.0},
)


def trained(make_config: Any, loss: dict[str, Any] | None = None, **changes: Any) -> TrialConfig:
    config: TrialConfig = make_config(loss, stage="confirm", **ONE, **changes)
    config = dataclasses.replace(config, keep_weights=True)
    list(Training(config))
    return config


def png_files(config: TrialConfig, packed: Any, spec: Any) -> dict[str, bytes]:
    """The test images as PNG files, by id."""
    grant = config.grant
    assert isinstance(grant, TestGrant)
    found = data.prepare(spec().data, store=packed.store, digest=packed.digest)
    images = data.open_test(found, grant)
    files = {}
    for index, name in enumerate(images.ids):
        buffer = io.BytesIO()
        pixels = images.pixels[images.labels.new_tensor([index])][0]
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, "PNG")
        files[name] = buffer.getvalue()
    return files


@pytest.mark.parametrize("loss", LOSSES, ids=[loss["name"] for loss in LOSSES])
def test_it_says_what_the_training_said_on_test(
    loss: dict[str, Any], make_config: Any, packed: Any, spec: Any
) -> None:
    config = trained(make_config, loss, data={"balance": "weights"})
    predictor = Predictor(Path(config.folder, "weights.safetensors"))
    answers = pq.read_table(Path(config.folder, "predictions.parquet")).to_pydict()
    files = png_files(config, packed, spec)
    probabilities = predictor([files[name] for name in answers["image_id"]])
    assert probabilities.argmax(1).tolist() == answers["predicted"]
    assert probabilities.amax(1).tolist() == pytest.approx(answers["probability"], rel=1e-4)
    assert probabilities.shape == (len(files), len(predictor.classes))
    assert predictor([]).shape == (0, len(predictor.classes))


def test_what_is_no_image_and_a_file_that_is_damaged_are_told(
    make_config: Any, packed: Any, spec: Any, tmp_path: Path
) -> None:
    config = trained(make_config)
    weights = Path(config.folder, "weights.safetensors")
    image = next(iter(png_files(config, packed, spec).values()))
    with pytest.raises(DataError, match="image 1 can't be read"):
        Predictor(weights)([image, b"no image"])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut\.safetensors holds no weights that can be read"):
        Predictor(cut)
    mute = tmp_path / "mute.safetensors"
    with safe_open(weights, framework="pt") as file:
        save_file({key: file.get_tensor(key) for key in file.keys()}, mute)  # noqa: SIM118
    with pytest.raises(DataError, match="does not say with what settings"):
        Predictor(mute)
    shutil.rmtree(config.folder)
    with pytest.raises(DataError, match=r"weights\.safetensors holds no weights"):
        Predictor(weights)
