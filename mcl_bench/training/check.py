"""The border: what no training could do is told before any training runs."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

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
from mcl_bench.training.backbones import BACKBONES
from mcl_bench.training.facts import describe
from mcl_bench.training.weights import check_weights

SMALLEST_MAP = 2
"""Maps need more than one position: on one, the channels of a class cannot differ in place."""


def check(experiment: Experiment, classes: Mapping[str, int]) -> None:
    """Refuse what no training can do; `classes` has the number of classes by data label.

    What is looked at: the backbone's name and weights, the number and size of the maps, the
    warm-up, and whether a loss of the user's own can be imported, made and called. Each cell is
    tried as it stands and with each searched setting at its ends (a choice: at each of its values).
    Raises UserError with the key, the value and what is possible, and DataError where a file of
    weights is absent or damaged on this machine.
    """
    weights: set[tuple[str, str | None]] = set()
    networks: set[tuple[ModelSpec, int | None, int]] = set()
    for cell in experiment.cells:
        for spec in _extremes(cell):
            _check_train(spec.train)
            network = (spec.model, spec.data.crop, classes[cell.data_label])
            if network not in networks:
                networks.add(network)
                _check_backbone(spec.model)
                loaded = (spec.model.backbone, spec.model.weights)
                if loaded not in weights:
                    weights.add(loaded)
                    check_weights(spec.model)
                _check_maps(spec, classes[cell.data_label], cell)
            _check_loss(spec, classes[cell.data_label], cell)


def _extremes(cell: Cell) -> Iterator[TrialSpec]:
    yield cell.spec
    for key, searched in cell.space.items():
        for value in searched.ends:
            yield trial_spec(cell.settings({key: value}))


def _check_backbone(model: ModelSpec) -> None:
    if model.backbone not in BACKBONES:
        nearest = get_close_matches(model.backbone, BACKBONES, n=1, cutoff=0.0)
        raise UserError(
            f"model.backbone {model.backbone!r} is not known; the nearest is {nearest[0]!r}",
            key="model.backbone",
            remedy=f"known are: {', '.join(BACKBONES)}",
        )


def _check_train(train: TrainSpec) -> None:
    warmup_epochs = train.schedule.warmup_epochs
    if warmup_epochs >= train.epochs:
        raise UserError(
            f"train.schedule.warmup_epochs must be less than train.epochs ({train.epochs}), "
            f"got {warmup_epochs:g}",
            key="train.schedule.warmup_epochs",
        )


def _check_maps(spec: TrialSpec, num_classes: int, cell: Cell) -> None:
    maps = BACKBONES[spec.model.backbone].maps
    if spec.model.channels == "native" and num_classes > maps:
        raise UserError(
            f"model.channels native gives {spec.model.backbone}'s {maps} maps, fewer than the "
            f"{num_classes} classes of {cell.data_label}",
            key="model.channels",
            remedy="set model.channels to adapter",
        )
    height, width = describe(spec, num_classes).map_size
    if min(height, width) < SMALLEST_MAP:
        raise UserError(
            f"data.crop {spec.data.crop} leaves {spec.model.backbone} maps of {height}×{width}; "
            f"they must be at least {SMALLEST_MAP}×{SMALLEST_MAP}",
            key="data.crop",
            remedy="set a larger data.crop (and data.resize)",
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
