"""Stratified cuts and class weights: how images are shared out, the same way every time.

Legend: N images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mcl_bench.data.groups import held_count, hold_groups
from mcl_bench.records import DataError, UserError
from mcl_bench.spec.defaults import validation_of
from mcl_bench.spec.schema import DataSpec
from mcl_bench.spec.seeds import named_seed

Balance = Literal["none", "weights", "sqrt_weights", "sampling"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices into the training images (int64, ascending): trained on, and validated on."""

    train: Tensor
    validation: Tensor


def cut(
    labels: Tensor,
    *,
    digest: str,
    data: DataSpec,
    official: Tensor | None = None,
    groups: Sequence[str] | None = None,
) -> Split:
    """Share the training images out into train and validation.

    `labels` is int64 of length N. A stratified share `data.validation` of each class is
    validated on; it depends on the digest, the share and `data.split_seed` only. A class with two
    images or more has at least one on each side; a single image is trained on. With
    `data.validation: official`, `official` (bool of length N) marks the validation images.
    `data.per_class` then limits what is trained on, never what is validated on.

    `groups` names the object that each image shows: no group is on both sides, and each class of
    two groups or more is on both, as far as groups of several classes allow.

    Raises UserError where there are no official validation images, DataError where one group is on
    both official sides.
    """
    share = validation_of(data)
    if share == "official":
        if official is None or not bool(official.any()):
            raise UserError(
                f"data.validation: official, but {data.name} has no validation split of its own",
                key="data.validation",
                remedy="give a share of the training images, such as 0.1",
            )
        held = official.numpy()
        if groups is not None:
            _refuse_shared(groups, held)
    else:
        parts = ("validation", digest, repr(share), data.split_seed)
        held = _held_out(labels.tolist(), share, groups, *parts)
    kept = ~held
    if data.per_class is not None:
        kept &= _first_of_each(labels.numpy(), kept, data.per_class, digest, data.split_seed)
    return Split(
        train=torch.from_numpy(np.flatnonzero(kept)),
        validation=torch.from_numpy(np.flatnonzero(held)),
    )


def cut_test(
    labels: Sequence[int], *, digest: str, share: float, groups: Sequence[str] | None = None
) -> list[bool]:
    """Which images of a set without a test split of its own are test images.

    Stratified; depends on the source digest and the share only. A class with two images or more
    has at least one on each side; a single image is not in test. `groups` as for `cut`; DataError
    where they leave no test image.
    """
    held = _held_out(labels, share, groups, "test", digest, repr(share))
    if groups is not None and not held.any():
        raise DataError(
            "the groups leave no test image: each class has one group only, or shares one",
            key="data.root",
            remedy="give two objects of a class groups of their own",
        )
    return [bool(one) for one in held]


def class_weights(labels: Tensor, num_classes: int, balance: Balance) -> Tensor | None:
    """A weight per class (float32, length K) whose mean over the training images is 1.

    `weights` are proportional to 1/n of a class with n images, `sqrt_weights` to 1/√n; a class
    without images has weight 0. None for `none` and `sampling`, which weight no loss.
    """
    if balance in ("none", "sampling"):
        return None
    counts_K = torch.bincount(labels, minlength=num_classes).double()
    power = 1.0 if balance == "weights" else 0.5
    raw_K = torch.where(counts_K > 0, counts_K.clamp(min=1) ** -power, 0.0)
    return (raw_K * counts_K.sum() / (raw_K * counts_K).sum()).float()


def _held_out(
    labels: Sequence[int], share: float, groups: Sequence[str] | None, *parts: str | int
) -> np.ndarray:
    """True for the images of each class that are held out, bool of length N."""
    labels_N = np.asarray(labels, dtype=np.int64)
    if groups is not None:
        return hold_groups(labels_N, groups, share, order_seed=named_seed(*parts, "groups"))
    held_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        if len(members) > 1:
            held_N[_shuffled(members, *parts, int(label))[: held_count(len(members), share)]] = True
    return held_N


def _refuse_shared(groups: Sequence[str], held_N: np.ndarray) -> None:
    both = {group for group, held in zip(groups, held_N, strict=True) if held}
    both &= {group for group, held in zip(groups, held_N, strict=True) if not held}
    if both:
        raise DataError(
            f"the group {min(both)!r} has images in training and in the official validation split",
            key="data.validation",
            remedy="give a share of the training images, such as 0.1, or mend the groups",
        )


def _first_of_each(
    labels_N: np.ndarray, kept_N: np.ndarray, limit: int, digest: str, split_seed: int
) -> np.ndarray:
    """True for at most `limit` of the kept images of each class, bool of length N."""
    first_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero((labels_N == label) & kept_N)
        first_N[_shuffled(members, "per_class", digest, split_seed, int(label))[:limit]] = True
    return first_N


def _shuffled(members: np.ndarray, *parts: str | int) -> np.ndarray:
    generator = torch.Generator().manual_seed(named_seed(*parts))
    return np.asarray(members[torch.randperm(len(members), generator=generator).numpy()])
