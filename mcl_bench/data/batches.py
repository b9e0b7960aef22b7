"""Batches of an epoch: sampled, cropped, augmented and normalised, the same whenever asked for.

Legend: B batch, c cropped pixels a side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mcl_bench.data import augment
from mcl_bench.data.images import ImageSet
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec
from mcl_bench.spec.seeds import named_seed

_CACHED_BYTES = 1 << 18
"""Stored bytes that are cropped and normalised together on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """`images` B×3×c×c float32, `target` B int64, `indices` B int64 into the image set (CPU)."""

    images: Tensor
    target: Tensor
    indices: Tensor


class Batches:
    """The images at `indices`, in batches on `device`; stateless between epochs.

    With `train` each epoch has an order of its own, images are augmented by `data.augment`, and a
    last batch of one image is dropped (batch normalisation cannot use it); with `data.balance:
    sampling` an epoch draws as many images, every class as often. Without `train` images come in
    the order of `indices`, cropped in the middle.

    `mean` and `std` (three each, of pixels in 0..1) normalise. All randomness comes from `seed`,
    the epoch's number and the batch's, so an epoch can be entered at any batch.
    """

    def __init__(  # noqa: PLR0913  each is one fact about the batches
        self,
        images: ImageSet,
        indices: Tensor,
        *,
        data: DataSpec,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        seed: int,
        device: torch.device | str,
        train: bool,
    ) -> None:
        self._images = images
        self._indices = indices
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._train = train
        self._recipe = augment.RECIPES[data.augment]
        self._sampling = data.balance == "sampling"
        self._stored = images.pixels.shape[-1]
        self._crop = self._stored if data.crop is None else data.crop
        std_311 = torch.tensor(std, device=self._device).view(3, 1, 1)
        self._scale = 1 / (255 * std_311)
        self._shift = -torch.tensor(mean, device=self._device).view(3, 1, 1) / std_311
        if not len(self):
            raise DataError(
                f"{len(indices)} images of {data.name} are too few to make a batch",
                key="data.name",
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self._indices), self._batch_size)
        return whole + (rest > (1 if self._train else 0))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` (0: the first) on."""
        order = self._order(number)
        for batch in range(start, len(self)):
            first = batch * self._batch_size
            yield self._batch(number, batch, order[first : first + self._batch_size])

    def _order(self, epoch: int) -> Tensor:
        if not self._train:
            return self._indices
        generator = torch.Generator().manual_seed(named_seed(self._seed, "order", epoch))
        count = len(self._indices)
        if not self._sampling:
            return self._indices[torch.randperm(count, generator=generator)]
        labels = self._images.labels[self._indices]
        weights = torch.bincount(labels).double().reciprocal()[labels]
        return self._indices[torch.multinomial(weights, count, True, generator=generator)]

    def _batch(self, epoch: int, batch: int, indices: Tensor) -> Batch:
        count = len(indices)
        if self._train:
            seed = named_seed(self._seed, "augment", epoch, batch)
            generator = torch.Generator().manual_seed(seed)
            draw = self._recipe(count, self._stored, self._crop, generator)
        else:
            draw = augment.centre(count, self._stored, self._crop)
        images = torch.empty((count, 3, self._crop, self._crop), device=self._device)
        step = self._at_once(count, draw.window)
        for first in range(0, count, step):
            piece = slice(first, first + step)
            self._write(indices[piece], draw.part(first, first + step), out=images[piece])
        target = self._images.labels[indices].to(self._device)
        return Batch(images=images, target=target, indices=indices)

    def _at_once(self, count: int, window: int) -> int:
        """How many images are worked on together: on a CPU as many as stay in its cache.

        All, where reading them takes threads.
        """
        if self._device.type != "cpu" or self._images.pixels.in_threads:
            return count
        return min(count, max(1, _CACHED_BYTES // (3 * window * window)))

    def _write(self, indices: Tensor, draw: augment.Draw, *, out: Tensor) -> None:
        on_cuda = self._device.type == "cuda"
        shape = (len(indices), 3, draw.window, draw.window)
        windows = torch.empty(shape, dtype=torch.uint8, pin_memory=on_cuda)
        self._images.pixels.windows(
            indices.numpy(), top=draw.top, left=draw.left, out=windows.numpy()
        )
        augment.apply(
            windows.to(self._device, non_blocking=True),
            draw,
            scale=self._scale,
            shift=self._shift,
            out=out,
        )
