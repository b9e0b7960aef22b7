"""The images that one training sees: which to learn from, which to be judged on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mcl_bench import data
from mcl_bench.records import DataError, TrialConfig
from mcl_bench.spec import TrialSpec
from mcl_bench.training.weights import normalisation

EVALUATION_BATCH = 256
"""The most images that are evaluated at once."""

EVALUATION_PIXELS = 2**20
"""About the most pixels that are evaluated at once, unless a training batch has more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """The batches of one training.

    `validation` is absent where the training learns from it too, `test` in the search stage.
    `class_weights` has one weight per class, or is absent. `test_images` are those of `test`.
    """

    classes: tuple[str, ...]
    train: data.Batches
    validation: data.Batches | None
    test: data.Batches | None
    test_images: data.ImageSet | None
    class_weights: Tensor | None


def check_grant(config: TrialConfig) -> None:
    """Hold the vault: a confirm trial has a TestGrant of its own, a search trial has none.

    Raises ValueError that names the trial.
    """
    grant = config.grant
    if config.id.stage == "search":
        if grant is not None:
            raise ValueError(f"{config.id} is a search trial and may not hold a TestGrant")
        return
    if grant is None:
        raise ValueError(f"{config.id} is a confirm trial and needs a TestGrant")
    if (grant.cell, grant.key, grant.seed) != (config.id.cell, config.key, config.seed):
        raise ValueError(
            f"{config.id} holds the TestGrant of another look: cell {grant.cell}, key {grant.key}, "
            f"seed {grant.seed}"
        )


def open_inputs(config: TrialConfig, spec: TrialSpec, *, device: torch.device) -> Inputs:
    """Open the packed images of a training, test only with its grant.

    Raises ValueError where stage and grant do not fit, DataError where a packed file is missing or
    there are too few images to learn from or to be judged on.
    """
    check_grant(config)
    packed = data.prepare(spec.data, store=Path(config.store), digest=config.digest)
    images = data.open_train(packed)
    cut = data.cut(
        images.labels,
        digest=packed.digest,
        data=spec.data,
        official=images.official,
        groups=images.groups,
    )
    learnt, validation = cut.train, cut.validation
    refit = config.id.stage == "confirm" and spec.confirm.refit
    if refit:
        learnt = torch.cat((cut.train, cut.validation)).sort().values
    _check_sizes(len(learnt), None if refit else len(validation), spec)
    batches = _batch_maker(config, spec, device)
    test = None if config.grant is None else data.open_test(packed, config.grant)
    return Inputs(
        classes=packed.classes,
        train=batches(images, learnt, True),
        validation=None if refit else batches(images, validation, False),
        test=None if test is None else batches(test, torch.arange(len(test.labels)), False),
        test_images=test,
        class_weights=data.class_weights(
            images.labels[learnt], len(packed.classes), spec.data.balance
        ),
    )


def _check_sizes(num_learnt: int, num_validation: int | None, spec: TrialSpec) -> None:
    if num_learnt < 2:
        raise DataError(
            f"{spec.data.name} must have at least 2 images to learn from, got {num_learnt}",
            key="data.name",
        )
    if num_validation == 0:
        raise DataError(
            f"data.validation {spec.data.validation} of {spec.data.name} leaves no image to "
            "validate on",
            key="data.validation",
        )


def _batch_maker(
    config: TrialConfig, spec: TrialSpec, device: torch.device
) -> Callable[[data.ImageSet, Tensor, bool], data.Batches]:
    norm = normalisation(spec.model)
    crop = spec.data.crop
    assert crop is not None, "a trial's crop is resolved"
    evaluated = max(spec.train.batch_size, min(EVALUATION_BATCH, EVALUATION_PIXELS // crop**2))

    def make(images: data.ImageSet, indices: Tensor, train: bool) -> data.Batches:
        return data.Batches(
            images,
            indices,
            data=spec.data,
            mean=norm.mean,
            std=norm.std,
            batch_size=spec.train.batch_size if train else evaluated,
            seed=config.seed,
            device=device,
            train=train,
        )

    return make
