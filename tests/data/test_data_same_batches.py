"""The same seed gives the same batches: whatever the threads, the process and the place."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcl_bench import data
from mcl_bench.spec.schema import DataSpec

MODES = ("decoded", "encoded")
RECIPES = ("crop_flip", "resized_crop")


def seen(root: Path, store: Path, *, threads: int) -> dict[str, str]:
    """The SHA-256 of all batches of two epochs, by mode and recipe."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {
            f"{mode} {augment}": _digest(root, store, mode=mode, augment=augment)
            for mode in MODES
            for augment in RECIPES
        }
    finally:
        torch.set_num_threads(before)


def _digest(root: Path, store: Path, *, mode: str, augment: str) -> str:
    spec = DataSpec(name="folder", root=str(root), resize=40, crop=32, store=mode, augment=augment)
    packed = data.prepare(spec, store=store)
    images = data.open_train(packed)
    cut = data.cut(images.labels, digest=packed.digest, data=spec)
    batches = data.Batches(
        images,
        cut.train,
        data=spec,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.5),
        batch_size=8,
        seed=7,
        device="cpu",
        train=True,
    )
    whole = hashlib.sha256()
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            for part in (batch.images, batch.target, batch.indices):
                whole.update(part.numpy().tobytes())
    return whole.hexdigest()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 20 photographs, of which every second is kept as it is when encoded."""
    root = tmp_path / "here" / "photos"
    rng = np.random.default_rng(0)
    for number in range(40):
        image = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        place = root / "ab"[number // 20] / f"{number:02d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        side = (40, 60)[number % 2]
        image.resize((side, side), Image.Resampling.BICUBIC).save(place)
    return root


def test_the_same_seed_gives_the_same_batches_everywhere(
    photos: Path, store: Path, tmp_path: Path
) -> None:
    here = seen(photos, store, threads=1)
    assert len(set(here.values())) == len(here) == 4
    assert seen(photos, store, threads=4) == here
    node = tmp_path / "another node" / "copied"
    shutil.copytree(photos, node)
    places = (photos, store, node, tmp_path / "another store")
    restarted = subprocess.run(
        [sys.executable, __file__, *map(str, places)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert json.loads(restarted.stdout) == [here, here]


if __name__ == "__main__":
    one, one_store, other, other_store = map(Path, sys.argv[1:])
    both = [seen(one, one_store, threads=4), seen(other, other_store, threads=2)]
    sys.stdout.write(json.dumps(both))
