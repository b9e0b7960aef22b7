"""Ways of reading a tree of JPEG files as shuffled batches of augmented, normalised float32.

Each takes the tree and a folder of its own, makes there what it reads from, and gives a function
that reads one epoch. All but ours have two worker processes; ours reads where it is asked to.

Legend: B batch, S stored pixels a side, c cropped pixels a side.
"""

import io
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

BATCH = 64
CROP = 224
WORKERS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Epoch = Callable[[int], Iterator[Tensor]]
"""The batches, B×3×c×c float32, of the epoch of this number."""


def ours(mode: str) -> Callable[[Path, Path], Epoch]:
    """Our store in this mode."""

    def make(tree: Path, folder: Path) -> Epoch:
        from mcl_bench import data
        from mcl_bench.spec.schema import DataSpec

        spec = DataSpec.model_validate(
            {"name": "folder", "root": str(tree), "resize": 256, "crop": CROP, "store": mode}
        )
        images = data.open_train(data.prepare(spec, store=folder))
        batches = data.Batches(
            images,
            torch.arange(len(images)),
            data=spec,
            mean=MEAN,
            std=STD,
            batch_size=BATCH,
            seed=0,
            device="cpu",
            train=True,
        )
        return lambda number: (batch.images for batch in batches.epoch(number))

    return make


def _of_picture() -> Any:
    """What is usually done to a decoded picture."""
    return transforms.Compose(
        [
            transforms.RandomCrop(CROP),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def _of_pixels(pixels_3SS: Tensor) -> Tensor:
    """The same of planar uint8, by slicing."""
    reach = pixels_3SS.shape[-1] - CROP + 1
    top, left = random.randrange(reach), random.randrange(reach)
    window = pixels_3SS[:, top : top + CROP, left : left + CROP]
    if random.random() < 0.5:
        window = window.flip(-1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return window.float().div_(255).sub_(mean).div_(std)


def _planar(content: bytes) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1))


def _loaded(dataset: Any, **options: Any) -> Epoch:
    """A DataLoader's batches; workers stay between epochs."""
    loader = DataLoader(dataset, num_workers=WORKERS, persistent_workers=True, **options)
    return lambda _number: (batch[0] for batch in loader)


def image_folder(tree: Path, _folder: Path) -> Epoch:
    """Torchvision's ImageFolder and torch's DataLoader."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(str(tree / "train"), _of_picture())
    return _loaded(dataset, batch_size=BATCH, shuffle=True)


def web_dataset(kind: str) -> Callable[[Path, Path], Epoch]:
    """webdataset: shards of files (`jpg`) or of arrays (`npy`), shuffled in a buffer of 1000."""

    def make(tree: Path, folder: Path) -> Epoch:
        import webdataset

        files = sorted((tree / "train").glob("*/*.jpg"))
        random.Random(0).shuffle(files)
        folder.mkdir()
        shards = [str(folder / f"{number}.tar") for number in range(4 * WORKERS)]
        for number, shard in enumerate(shards):
            with webdataset.TarWriter(shard) as writer:
                for path in files[number :: len(shards)]:
                    content = path.read_bytes()
                    image = content if kind == "jpg" else _planar(content)
                    label = int(path.parent.name.removeprefix("class"))
                    writer.write({"__key__": path.stem, kind: image, "cls": label})
        whole = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000)
        if kind == "jpg":
            read = whole.decode("pil").to_tuple("jpg", "cls").map_tuple(_of_picture())
        else:
            read = whole.decode().to_tuple("npy", "cls").map_tuple(_of_array)
        return _loaded(read.batched(BATCH), batch_size=None)

    return make


def _of_array(pixels_3SS: np.ndarray) -> Tensor:
    return _of_pixels(torch.from_numpy(pixels_3SS))


def hf_datasets(kind: str) -> Callable[[Path, Path], Epoch]:
    """Hugging Face datasets: a column of images (`image`), or of their pixels' bytes (`pixels`)."""

    def make(tree: Path, folder: Path) -> Epoch:
        import datasets

        def rows() -> Iterator[dict[str, Any]]:
            for path in sorted((tree / "train").glob("*/*.jpg")):
                content = path.read_bytes()
                image = {"bytes": content} if kind == "image" else _planar(content).tobytes()
                yield {kind: image, "label": int(path.parent.name.removeprefix("class"))}

        column = datasets.Image() if kind == "image" else datasets.Value("binary")
        features = datasets.Features({kind: column, "label": datasets.Value("int64")})
        dataset = datasets.Dataset.from_generator(rows, features=features, cache_dir=str(folder))
        transform = _of_picture()

        def augmented(batch: Mapping[str, Any]) -> Mapping[str, Any]:
            if kind == "image":
                return {**batch, "x": [transform(picture) for picture in batch[kind]]}
            arrays = [np.frombuffer(content, np.uint8).copy() for content in batch[kind]]
            return {
                "label": batch["label"],
                "x": [_of_array(a.reshape(3, 256, 256)) for a in arrays],
            }

        def collate(rows: list[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
            return torch.stack([row["x"] for row in rows]), torch.tensor([r["label"] for r in rows])

        dataset = dataset.with_transform(augmented)
        return _loaded(dataset, batch_size=BATCH, shuffle=True, collate_fn=collate)

    return make


def lit_data(kind: str) -> Callable[[Path, Path], Epoch]:
    """litdata: optimised chunks of JPEG images (`jpeg`), or of tensors (`tensor`)."""

    def make(tree: Path, folder: Path) -> Epoch:
        import litdata

        paths = [str(path) for path in sorted((tree / "train").glob("*/*.jpg"))]
        litdata.optimize(
            fn=_lit_jpeg if kind == "jpeg" else _lit_tensor,
            inputs=paths,
            output_dir=str(folder),
            chunk_bytes="1GB",  # one for each worker: with more it loses them between epochs
            num_workers=WORKERS,
            verbose=False,
        )
        dataset = litdata.StreamingDataset(str(folder), shuffle=True, transform=_lit_augmented)
        loader = litdata.StreamingDataLoader(
            dataset, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True
        )
        return lambda _number: (batch["image"] for batch in loader)

    return make


def _lit_jpeg(path: str) -> dict[str, Any]:
    return {"image": Image.open(path), "label": _label(path)}


def _lit_tensor(path: str) -> dict[str, Any]:
    return {"image": torch.from_numpy(_planar(Path(path).read_bytes())), "label": _label(path)}


def _lit_augmented(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, "image": _of_pixels(row["image"])}


def _label(path: str) -> int:
    return int(Path(path).parent.name.removeprefix("class"))


READERS: Mapping[str, Callable[[Path, Path], Epoch]] = {
    "mcl_bench, decoded": ours("decoded"),
    "mcl_bench, encoded": ours("encoded"),
    "ImageFolder, DataLoader": image_folder,
    "webdataset": web_dataset("jpg"),
    "datasets": hf_datasets("image"),
    "litdata": lit_data("jpeg"),
    "webdataset, decoded": web_dataset("npy"),
    "datasets, decoded": hf_datasets("pixels"),
    "litdata, decoded": lit_data("tensor"),
}
"""Name of what is read with -> how it is made ready."""
