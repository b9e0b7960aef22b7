"""The border: what no training could do is told before any training runs."""

import math
from collections.abc import Iterator, Mapping

from mcl_bench import losses
from mcl_bench.records import UserError
from mcl_bench.spec import (
    Cell,
    CustomLossSpec,
    Experiment,
    ModelSpec,
    TrainSpec,
    TrialSpec,
    trial_spec,
)
from mcl_bench.training.backbones import Backbone, find_backbone, map_size
from mcl_bench.training.facts import describe
from mcl_bench.training.heads import LARGEST_EMBEDDING
from mcl_bench.training.models import map_groups
from mcl_bench.training.weights import check_weights

SMALLEST_MAP = 2
"""Maps need more than one position: on one, the channels of a class cannot differ in place."""

USUAL_CROPS = (32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 320, 384, 448, 512, 672)
"""The sizes of image that are tried where the one asked for does not suit a backbone."""


def check(experiment: Experiment, classes: Mapping[str, int]) -> None:
    """Refuse what no training can do; `classes` has the number of classes by data label.

    What is looked at: the backbone's name and weights, the number and size of the maps, the width
    of a bilinear head, the frozen stages, the warm-up, and whether a loss of the user's own can be
    imported, made and called. Each cell is tried as it stands and with each searched setting at its
    ends (a choice: at each of its values). Raises UserError with the key, the value and what is
    possible, and DataError where a file of weights is absent or damaged on this machine.
    """
    weights: set[tuple[str, str | None]] = set()
    networks: set[tuple[ModelSpec, int | None, int]] = set()
    for cell in experiment.cells:
        for spec in _extremes(cell):
            _check_train(spec.train)
            network = (spec.model, spec.data.crop, classes[cell.data_label])
            if network not in networks:
                networks.add(network)
                find_backbone(spec.model.backbone)
                loaded = (spec.model.backbone, spec.model.weights)
                if loaded not in weights:
                    weights.add(loaded)
                    check_weights(spec.model)
                _check_channels(spec.model, classes[cell.data_label], cell.data_label)
                _check_map_size(spec)
                _check_network(spec, classes[cell.data_label])
            _check_loss(spec, classes[cell.data_label], cell)


def _extremes(cell: Cell) -> Iterator[TrialSpec]:
    yield cell.spec
    for key, searched in cell.space.items():
        for value in searched.ends:
            yield trial_spec(cell.settings({key: value}))


def _check_train(train: TrainSpec) -> None:
    warmup_epochs = train.schedule.warmup_epochs
    if warmup_epochs >= train.epochs:
        raise UserError(
            f"train.schedule.warmup_epochs must be less than train.epochs ({train.epochs}), "
            f"got {warmup_epochs:g}",
            key="train.schedule.warmup_epochs",
        )


def _check_channels(model: ModelSpec, num_classes: int, data_label: str) -> None:
    backbone = find_backbone(model.backbone)
    if model.channels == "native" and num_classes > backbone.maps:
        raise UserError(
            f"model.channels native gives {model.backbone}'s {backbone.maps} maps, fewer than the "
            f"{num_classes} classes of {data_label}",
            key="model.channels",
            remedy="set model.channels to adapter",
        )
    if model.channels == "widen" and backbone.widen is None:
        raise UserError(
            f"model.channels widen: {model.backbone} has no last stage that can be rebuilt",
            key="model.channels",
            remedy="set model.channels to adapter, which puts a 1×1 convolution after its maps",
        )


def _check_map_size(spec: TrialSpec) -> None:
    backbone, crop = find_backbone(spec.model.backbone), spec.data.crop
    assert crop is not None, "a trial's crop is resolved"
    try:
        height, width = map_size(backbone.build, crop)
    except UserError:
        raise
    except Exception as error:  # another's network can raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"data.crop {crop} does not suit {spec.model.backbone}: {reason}",
            key="data.crop",
            remedy=_working_crop(backbone, crop),
        ) from error
    if min(height, width) < SMALLEST_MAP:
        raise UserError(
            f"data.crop {crop} leaves {spec.model.backbone} maps of {height}×{width}; they must be "
            f"at least {SMALLEST_MAP}×{SMALLEST_MAP}",
            key="data.crop",
            remedy=_working_crop(backbone, crop),
        )


def _working_crop(backbone: Backbone, crop: int) -> str | None:
    """The advice to take the nearest usual crop at which the backbone has maps, if there is one.

    A smaller one is looked for last, since most networks want larger images.
    """
    for other in sorted(USUAL_CROPS, key=lambda one: (one < crop, abs(one - crop))):
        try:
            sides = map_size(backbone.build, other)
        except Exception:  # noqa: BLE001 - this size does not suit it either
            continue
        if min(sides) >= SMALLEST_MAP:
            return f"data.crop {other} works; data.resize must be as large or larger"
    return None


def _check_network(spec: TrialSpec, num_classes: int) -> None:
    model = spec.model
    width = sum(map_groups(model, num_classes))
    if model.head == "bilinear" and width**2 > LARGEST_EMBEDDING:
        most = math.isqrt(LARGEST_EMBEDDING) // num_classes
        raise UserError(
            f"model.head bilinear on {width} maps has an embedding of {width**2} numbers; at most "
            f"{LARGEST_EMBEDDING} are possible",
            key="model.head",
            remedy=f"set model.channels to adapter and model.xi to at most {most}"
            if most
            else f"take another head: {num_classes} classes are too many for it",
        )
    if model.freeze == 0:
        return
    stages = describe(spec, num_classes).stages
    most = stages - 1 if model.channels == "widen" else stages
    if model.freeze > most:
        why = f"; widen rebuilds the last of {stages}" if model.channels == "widen" else ""
        raise UserError(
            f"model.freeze must be at most {most} with {model.backbone}{why}, got {model.freeze}",
            key="model.freeze",
        )


def _check_loss(spec: TrialSpec, num_classes: int, cell: Cell) -> None:
    if not isinstance(spec.loss, CustomLossSpec):
        return
    facts = describe(spec, num_classes)
    try:
        losses.check(
            spec.loss,
            groups=facts.groups,
            map_size=facts.map_size,
            embedding_size=facts.embedding_size,
            balanced=spec.data.balance in ("weights", "sqrt_weights"),
        )
    except UserError as error:
        raise UserError(
            f"arms.{cell.arm}.loss: {error.rule}",
            key=f"arms.{cell.arm}.{error.key}",
            remedy=error.remedy,
        ) from error
