"""The experiment file's form: strict, frozen models of version 1.

Keys and defaults are those of the documentation; whatever is left `None` here is resolved per
cell (`resize`, `crop` and `validation` by dataset, `weights` by backbone, `xi` by channels).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag

from mcl_bench.spec.loss import (
    CUSTOM,
    ArcFaceSpec,
    CenterSpec,
    CosFaceSpec,
    CosineLossSpec,
    CrossEntropySpec,
    CustomLossSpec,
    FocalSpec,
    GaussianMixtureSpec,
    LabelSmoothingSpec,
    LossSpec,
    MutualChannelSpec,
    SphereFaceSpec,
    loss_kind,
)
from mcl_bench.spec.model import Model


def _keys(model: type[Model]) -> frozenset[str]:
    """The keys of a model as a file writes them."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


DEFAULT_KINDS: Mapping[str, str] = {"optimizer": "sgd", "schedule": "cosine", "pruner": "asha"}
"""What a mapping is that does not say its `name`."""


def _by_name(key: str) -> Discriminator:
    """The kind of the mapping under `key`: the one that it names, or the default one."""

    def kind(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("name", DEFAULT_KINDS[key])
        return getattr(value, "name", None)

    return Discriminator(kind)


class ShortSide(Model):
    """Resize so that the short side has this many pixels; the aspect ratio stays."""

    short: int = Field(ge=1)


class DataSpec(Model):
    """Which images, how they are cut into train, validation and test, and how they are seen."""

    name: str
    root: str | None = None
    resize: Annotated[int, Field(ge=1)] | ShortSide | None = None
    crop: int | None = Field(default=None, ge=1)
    augment: str = "crop_flip"
    balance: Literal["none", "weights", "sqrt_weights", "sampling"] = "none"
    store: Literal["auto", "decoded", "encoded"] = "auto"
    max_faults: int = Field(default=0, ge=0)
    validation: Annotated[float, Field(gt=0, lt=1)] | Literal["official"] | None = None
    test: float = Field(default=0.2, gt=0, lt=1)
    per_class: int | None = Field(default=None, ge=1)
    options: Mapping[str, Any] = Field(default_factory=dict)
    split_seed: int = Field(default=0, ge=0)


class ModelSpec(Model):
    """The network: the same for every arm of a cell's data and model."""

    backbone: str
    weights: str | None = None
    freeze: int = Field(default=0, ge=0)
    channels: Literal["native", "adapter", "widen"] = "native"
    xi: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    head: Literal["mlp", "linear", "avgmax", "bilinear"] = "mlp"


class SgdSpec(Model):
    """SGD; `head_lr_scale` multiplies lr for every layer without loaded weights."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.01, gt=0)
    head_lr_scale: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5.0e-4, ge=0)


class AdamWSpec(Model):
    """AdamW; `head_lr_scale` multiplies lr for every layer without loaded weights."""

    name: Literal["adamw"]
    lr: float = Field(default=0.01, gt=0)
    head_lr_scale: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=5.0e-4, ge=0)


OptimizerSpec: TypeAlias = Annotated[
    Annotated[SgdSpec, Tag("sgd")] | Annotated[AdamWSpec, Tag("adamw")], _by_name("optimizer")
]


class CosineSpec(Model):
    """Cosine decay to zero over all epochs, after a linear warm-up."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(default=0, ge=0)


class StepSpec(Model):
    """Multiply lr by gamma at each milestone (an epoch), after a linear warm-up."""

    name: Literal["step"]
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    gamma: float = Field(default=0.1, gt=0)
    warmup_epochs: float = Field(default=0, ge=0)


ScheduleSpec: TypeAlias = Annotated[
    Annotated[CosineSpec, Tag("cosine")] | Annotated[StepSpec, Tag("step")], _by_name("schedule")
]


class TrainSpec(Model):
    """How long and how a trial trains.

    A batch goes through the network in `micro_batches` pieces; 1 stands nowhere. A sweep sets it
    where `allow_micro_batch` lets it.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=2)
    optimizer: OptimizerSpec = SgdSpec()
    schedule: ScheduleSpec = CosineSpec()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(default=0, ge=0)
    allow_micro_batch: bool = False
    micro_batches: int = Field(default=1, ge=1, exclude_if=lambda pieces: bool(pieces == 1))


class ConfirmSpec(Model):
    """The confirm stage: how many seeds, trained on what, and whether the gap is shown."""

    seeds: int = Field(default=5, ge=1)
    refit: bool = True
    gap: bool = True


class ResolvedConfirm(Model):
    """The part of `confirm` that one training needs to know."""

    refit: bool = True
    gap: bool = True


class TrialSpec(Model):
    """One training's configuration, with nothing left to resolve."""

    data: DataSpec
    model: ModelSpec
    loss: LossSpec
    train: TrainSpec = TrainSpec()
    confirm: ResolvedConfirm = ResolvedConfirm()


class ArmSpec(Model):
    """One thing compared: a loss, with partial overrides of `train` and of the network's head."""

    loss: LossSpec
    train: Mapping[str, Any] = Field(default_factory=dict)
    model: Mapping[str, Any] = Field(default_factory=dict)


class AshaSpec(Model):
    """Asynchronous halving; `grace` is the first epoch at which a trial may be pruned."""

    name: Literal["asha"] = "asha"
    grace: int = Field(default=10, ge=1)
    reduction: int = Field(default=3, ge=2)


class HyperbandSpec(Model):
    """Hyperband; `grace` is the first epoch at which a trial may be pruned."""

    name: Literal["hyperband"]
    grace: int = Field(default=10, ge=1)
    reduction: int = Field(default=3, ge=2)


class MedianSpec(Model):
    """Prune below the median; `grace` is the first epoch at which a trial may be pruned."""

    name: Literal["median"]
    grace: int = Field(default=10, ge=1)


class NoPrunerSpec(Model):
    """Every trial runs to its end."""

    name: Literal["none"]


PrunerSpec: TypeAlias = Annotated[
    Annotated[AshaSpec, Tag("asha")]
    | Annotated[HyperbandSpec, Tag("hyperband")]
    | Annotated[MedianSpec, Tag("median")]
    | Annotated[NoPrunerSpec, Tag("none")],
    _by_name("pruner"),
]


class SearchSpec(Model):
    """The search stage of every cell."""

    trials: int = Field(default=40, ge=1)
    metric: Literal["val/top1", "val/macro_top1", "val/loss"] = "val/top1"
    sampler: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = "tpe"
    pruner: PrunerSpec = AshaSpec()
    storage: str | None = None
    reuse: bool = False
    space: Mapping[str, Any] = Field(default_factory=dict)
    enqueue: tuple[Mapping[str, Any], ...] = ()


class ResourcesSpec(Model):
    """What a trial is given, and how many run at once."""

    cpus: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    max_concurrent: int | None = Field(default=None, ge=1)


class BudgetSpec(Model):
    """Where a sweep ends cleanly."""

    hours: float | None = Field(default=None, gt=0)
    device_hours: float | None = Field(default=None, gt=0)
    checkpoint_gb: float | None = Field(default=None, gt=0)


class TrackingSpec(Model):
    """Where MLflow's record is kept."""

    uri: str | None = None
    experiment: str | None = None
    log: Literal["all", "top", "confirmed"] = "all"


class MatrixSpec(Model):
    """Partial overrides of `data` and of `model`; every combination is a cell per arm."""

    data: tuple[Mapping[str, Any], ...] = ()
    model: tuple[Mapping[str, Any], ...] = ()


class ExperimentSpec(Model):
    """The experiment file as a whole."""

    version: Literal[1]
    name: str
    data: DataSpec
    model: ModelSpec
    arms: Mapping[str, ArmSpec] = Field(min_length=1)
    baseline: str | None = None
    train: TrainSpec = TrainSpec()
    search: SearchSpec = SearchSpec()
    matrix: MatrixSpec = MatrixSpec()
    confirm: ConfirmSpec = ConfirmSpec()
    resources: ResourcesSpec = ResourcesSpec()
    budget: BudgetSpec = BudgetSpec()
    files: str | None = None
    tracking: TrackingSpec = TrackingSpec()


def _kinds(*models: type[Model]) -> Mapping[str, frozenset[str]]:
    """The keys of each model by the name that it goes by."""
    return {
        next(iter(get_args(model.model_fields["name"].annotation)), CUSTOM): _keys(model)
        for model in models
    }


KINDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "loss": _kinds(
        CrossEntropySpec,
        MutualChannelSpec,
        LabelSmoothingSpec,
        FocalSpec,
        CosineLossSpec,
        CenterSpec,
        SphereFaceSpec,
        CosFaceSpec,
        ArcFaceSpec,
        GaussianMixtureSpec,
        CustomLossSpec,
    ),
    "optimizer": _kinds(SgdSpec, AdamWSpec),
    "schedule": _kinds(CosineSpec, StepSpec),
    "pruner": _kinds(AshaSpec, HyperbandSpec, MedianSpec, NoPrunerSpec),
}
"""The mappings whose `name` decides what else they hold, and the keys of each kind."""


def foreign_keys(key: str, name: object) -> frozenset[str]:
    """The keys under `key` that other kinds have and the kind of this name lacks.

    A name of None is the default kind's; of a name that no kind has, nothing is said.
    """
    kinds = KINDS.get(key, {})
    kind = DEFAULT_KINDS.get(key) if name is None else name
    if key == "loss":
        kind = loss_kind({"name": kind})
    if not isinstance(kind, str) or kind not in kinds:
        return frozenset()
    return frozenset().union(*kinds.values()) - kinds[kind]
