"""Batches of an epoch: sampled, cropped, augmented and normalised, the same whenever asked for.

Legend: B batch, c cropped pixels a side.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mcl_bench.data import augment
from mcl_bench.data.images import ImageSet
from mcl_bench.data.mixing import Mix, Mixing
from mcl_bench.data.policies import Policy, drawn_from
from mcl_bench.data.prefetch import one_ahead
from mcl_bench.data.recipe import parse_recipe
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec
from mcl_bench.spec.seeds import named_seed

_CACHED_BYTES = 1 << 18
"""Stored bytes that are cropped and normalised together on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """`images` B×3×c×c float32, `target` B int64, `indices` B int64 into the image set (CPU).

    `mix` says how the images are mixed with each other, if they are.
    """

    images: Tensor
    target: Tensor
    indices: Tensor
    mix: Mix | None = None


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a batch will be: its seed, its images, what was drawn for them.

    `windows` (B×3×w×w uint8, on the CPU) are gathered if they were prefetched.
    """

    seed: int
    indices: Tensor
    draw: augment.Draw
    windows: Tensor | None = None


class Batches:
    """The images at `indices`, in batches on `device`; stateless between epochs.

    With `train` each epoch has an order of its own, images are augmented by `data.augment`, and a
    last batch of one image is dropped (batch normalisation cannot use it); with `data.balance:
    sampling` an epoch draws as many images, every class as often. Without `train` images come in
    the order of `indices`, cropped in the middle.

    `mean` and `std` (three each, of pixels in 0..1) normalise. All randomness comes from `seed`,
    the epoch's number and the batch's, so an epoch can be entered at any batch.

    With `prefetch` (None: on a GPU) a thread gathers the next batch's pixels, in pinned memory on a
    GPU, while the last batch is used; the batches are the same. What draws from torch's global
    generator is done where the batches are asked for, never in that thread.
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
        prefetch: bool | None = None,
    ) -> None:
        self._images = images
        self._indices = indices
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._train = train
        self._prefetch = self._device.type == "cuda" if prefetch is None else prefetch
        recipe = parse_recipe(data.augment)
        self._draw_crop = augment.CROPS[recipe.crop]
        self._policy = Policy(recipe.policies) if train and recipe.policies else None
        self._mixing = Mixing(recipe.mixing) if train and recipe.mixing is not None else None
        self._sampling = data.balance == "sampling"
        self._stored = images.pixels.shape[-1]
        self._crop = self._stored if data.crop is None else data.crop
        self._scale, self._shift = augment.normalisers(mean, std, self._device)
        if not len(self):
            raise DataError(
                f"{len(indices)} images of {data.name} are too few to make a batch",
                key="data.name",
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self._indices), self._batch_size)
        return whole + (rest > (1 if self._train else 0))

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch, from batch `start` (0: the first) on.

        To be closed if it is left before its end: a thread may be at work.
        """
        plans = self._plans(number, start)
        if not self._prefetch:
            for plan in plans:
                yield self._batch(plan)
            return
        gathered = one_ahead(self._with_windows(plan) for plan in plans)
        with closing(gathered):
            for plan in gathered:
                yield self._batch(plan)

    def _plans(self, epoch: int, start: int) -> Iterator[_Plan]:
        order = self._order(epoch)
        for batch in range(start, len(self)):
            first = batch * self._batch_size
            yield self._plan(epoch, batch, order[first : first + self._batch_size])

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

    def _plan(self, epoch: int, batch: int, indices: Tensor) -> _Plan:
        seed = named_seed(self._seed, "augment", epoch, batch)
        count = len(indices)
        if self._train:
            generator = torch.Generator().manual_seed(seed)
            draw = self._draw_crop(count, self._stored, self._crop, generator)
        else:
            draw = augment.centre(count, self._stored, self._crop)
        return _Plan(seed=seed, indices=indices, draw=draw)

    def _with_windows(self, plan: _Plan) -> _Plan:
        return replace(plan, windows=self._windows(plan.indices, plan.draw))

    def _batch(self, plan: _Plan) -> Batch:
        count = len(plan.indices)
        images = torch.empty((count, 3, self._crop, self._crop), device=self._device)
        target = self._images.labels[plan.indices].to(self._device)
        draws = self._policy is not None or self._mixing is not None
        with drawn_from(named_seed(plan.seed, "policy")) if draws else nullcontext():
            step = self._at_once(count, plan.draw.window)
            for first in range(0, count, step):
                self._write(plan, slice(first, first + step), out=images)
            if self._mixing is None:
                return Batch(images=images, target=target, indices=plan.indices)
            images, mix = self._mixing(images, target)
        return Batch(images=images, target=target, indices=plan.indices, mix=mix)

    def _at_once(self, count: int, window: int) -> int:
        """How many images are worked on together: on a CPU as many as stay in its cache.

        All, where reading them takes threads.
        """
        if self._device.type != "cpu" or self._images.pixels.in_threads:
            return count
        return min(count, max(1, _CACHED_BYTES // (3 * window * window)))

    def _write(self, plan: _Plan, piece: slice, *, out: Tensor) -> None:
        """Augment and normalise a piece of the batch into its place in `out`."""
        draw = plan.draw.part(piece.start, piece.stop)
        if plan.windows is None:
            windows = self._windows(plan.indices[piece], draw)
        else:
            windows = plan.windows[piece]
        images = augment.cropped(windows.to(self._device, non_blocking=True), draw, self._crop)
        if self._policy is not None:
            images = self._policy(images)
        augment.normalise(images, scale=self._scale, shift=self._shift, out=out[piece])

    def _windows(self, indices: Tensor, draw: augment.Draw) -> Tensor:
        """The pixels that a batch needs, on the CPU."""
        shape = (len(indices), 3, draw.window, draw.window)
        pinned = self._device.type == "cuda"
        windows = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self._images.pixels.windows(
            indices.numpy(), top=draw.top, left=draw.left, out=windows.numpy()
        )
        return windows
