"""The losses that an arm may have: the forms of their settings, and the numbers they come with.

Defaults are those of each loss's paper, or of the implementation that it is known by.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mcl_bench.spec.model import Model

CUSTOM = "package.module:Class"
"""How a loss of the user's own is named: where Python finds it."""

Dialect = Literal["canonical", "paper", "official", "official-pretrained", "kurumi", "holocron"]

PUBLISHED: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "canonical": {"mu": 1.5, "lambda": 10.0, "mask_ratio": 0.5},
        "paper": {"mu": 0.005, "lambda": 10.0, "mask_ratio": 0.5},
        "official": {"mu": 1.5, "lambda": 20.0, "mask_ratio": 0.34},
        "official-pretrained": {"mu": 0.0005, "lambda": 10.0, "mask_ratio": 0.4},
        "kurumi": {"mu": 1.5, "lambda": 10.0, "mask_ratio": 0.4},
        "holocron": {"mu": 1.0, "lambda": 1.0, "mask_ratio": 0.5},
    }
)
"""The numbers that each source comes with, for what is not written.

canonical: the paper's training from scratch, λ on the normalised term. paper: its text on
fine-tuning. official: PRIS-CV/Mutual-Channel-Loss as it stands, whose mask drops 1 of 3.
official-pretrained: its ResNet-50 script, which drops 4 of 10 and of 11. kurumi:
Kurumi233/Mutual-Channel-Loss. holocron: frgfm/Holocron.
"""

OPTIONS = ("mask_scope", "mask_fill", "mask_draw", "reduction", "diversity")
"""What only the canonical form leaves open; every other dialect has its own."""

AT_ODDS = "at_odds"
"""The kind of a fault that lies in two settings together; its context names one, as `key`."""


class MutualChannelSpec(Model):
    """Cross-entropy + μ·(L_dis + λ·(1 − diversity)), the canonical form, or a source's own.

    `dialect` says whose numbers `mu`, `lambda` and `mask_ratio` are: `spec.dialects` has the
    formulas. The other options are the canonical form's; every other dialect has its own.

    `mask_scope`: one mask for a batch, or one for each image. `mask_fill`: a dropped channel is
    multiplied by 0, or cannot be the maximum. `mask_draw`: anew at each step, or once for the
    training. `reduction`: diversity is the mean over classes, or the sum over groups of classes
    with equally many channels of their means. `diversity`: h/ξ of each class, or h itself.
    """

    name: Literal["mc"]
    dialect: Dialect = "canonical"
    mu: float = Field(default=1.5, ge=0)
    lambda_: float = Field(default=10.0, alias="lambda", ge=0)
    mask_ratio: float = Field(default=0.5, ge=0, lt=1)
    mask_scope: Literal["batch", "sample"] = "batch"
    mask_fill: Literal["zero", "minus_inf"] = "zero"
    mask_draw: Literal["step", "once"] = "step"
    reduction: Literal["classes", "groups"] = "classes"
    diversity: Literal["normalised", "literal"] = "normalised"

    @model_validator(mode="before")
    @classmethod
    def _with_published(cls, value: Any) -> Any:
        """The numbers of the dialect's source where none are written."""
        if not isinstance(value, dict):
            return value
        known = PUBLISHED.get(str(value.get("dialect", "canonical")), {})
        written = {"lambda" if key == "lambda_" else key for key in value}
        return {**{key: one for key, one in known.items() if key not in written}, **value}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse what its dialect does not leave open, and what has no meaning together."""
        if self.dialect != "canonical":
            for key in OPTIONS:
                if key in self.model_fields_set:
                    raise _at_odds(
                        key,
                        f"is of dialect: canonical, and dialect: {self.dialect} has its own",
                    )
        if self.dialect == "official" and self.mu == 0 < self.lambda_:
            raise _at_odds(
                "lambda",
                f"must be 0 where mu is 0, got {self.lambda_:g}: the canonical form, which is "
                "trained, has no diversity without discriminality",
            )
        if (self.mask_draw, self.mask_scope) == ("once", "sample"):
            raise _at_odds("mask_draw", "must be step with mask_scope: sample, got once")
        return self

    @model_serializer(mode="wrap")
    def _without_foreign(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The settings; the canonical form's options only where they are its own."""
        dumped: dict[str, Any] = handler(self)
        foreign = () if self.dialect == "canonical" else OPTIONS
        return {key: one for key, one in dumped.items() if key not in foreign}


def _at_odds(key: str, rule: str) -> PydanticCustomError:
    return PydanticCustomError(AT_ODDS, "{key} {rule}", {"key": key, "rule": rule})


class _MainSpec(Model):
    """A loss of the head's outputs; `plus` adds the Mutual-Channel Loss of the maps."""

    plus: MutualChannelSpec | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The settings; `plus` only where there is one."""
        dumped: dict[str, Any] = handler(self)
        return {key: one for key, one in dumped.items() if key != "plus" or one is not None}


class CrossEntropySpec(_MainSpec):
    """Plain cross-entropy."""

    name: Literal["ce"]


class LabelSmoothingSpec(_MainSpec):
    """Cross-entropy with a target that is spread: `smoothing` of it goes to all classes alike."""

    name: Literal["label_smoothing"]
    smoothing: float = Field(default=0.1, ge=0, lt=1)


class FocalSpec(_MainSpec):
    """Focal loss over classes: cross-entropy times (1 − p)^gamma (Lin et al. 2017)."""

    name: Literal["focal"]
    gamma: float = Field(default=2.0, ge=0)


class CosineLossSpec(_MainSpec):
    """1 − the cosine of logits and one-hot target, + ce_weight × cross-entropy (Barz 2020: 0.1)."""

    name: Literal["cosine"]
    ce_weight: float = Field(default=0.1, ge=0)


class CenterSpec(_MainSpec):
    """Cross-entropy + weight/2 × the squared distance to the class's centre (Wen et al. 2016)."""

    name: Literal["center"]
    weight: float = Field(default=0.003, ge=0)


class SphereFaceSpec(_MainSpec):
    """A-softmax, a multiplicative angular margin (Liu et al. 2017)."""

    name: Literal["sphereface"]
    margin: int = Field(default=4, ge=1, le=8)
    scale: float = Field(default=1.0, gt=0)


class CosFaceSpec(_MainSpec):
    """Large-margin cosine loss, an additive cosine margin (Wang et al. 2018)."""

    name: Literal["cosface"]
    margin: float = Field(default=0.35, ge=0, lt=2)
    scale: float = Field(default=64.0, gt=0)


class ArcFaceSpec(_MainSpec):
    """ArcFace, an additive angular margin in degrees (Deng et al. 2019: 0.5 radians)."""

    name: Literal["arcface"]
    margin: float = Field(default=28.6, ge=0, le=90)
    scale: float = Field(default=64.0, gt=0)


class GaussianMixtureSpec(_MainSpec):
    """Large-margin Gaussian mixture loss (Wan et al. 2018)."""

    name: Literal["lgm"]
    margin: float = Field(default=0.1, ge=0)
    likelihood: float = Field(default=0.01, ge=0)


OptionName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
"""What a Python argument may be called."""


class CustomLossSpec(_MainSpec):
    """The user's own loss; `options` are handed to its class."""

    name: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", examples=[CUSTOM])
    options: Mapping[OptionName, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _plain_options(self) -> Self:
        """Refuse mappings as options: settings are flat."""
        for name, value in self.options.items():
            if any(isinstance(one, Mapping) for one in (value, *_items(value))):
                raise _at_odds(
                    "options", f"are text, numbers, true, false and lists, got a mapping for {name}"
                )
        return self


def _items(value: Any) -> Iterator[Any]:
    """What is in a list, and in lists in it."""
    for one in value if isinstance(value, list | tuple) else ():
        yield one
        yield from _items(one)


def loss_kind(value: Any) -> Any:
    """What kind of loss a mapping or a spec is: its name, `CUSTOM` for one with a colon."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return CUSTOM if isinstance(name, str) and ":" in name else name


def split_loss(loss: "LossSpec") -> "tuple[MainLossSpec, MutualChannelSpec | None]":
    """The main loss, and the Mutual-Channel Loss on top of it, if it weighs anything.

    `mc` is cross-entropy with the Mutual-Channel Loss on top.
    """
    if isinstance(loss, MutualChannelSpec):
        main: MainLossSpec = CrossEntropySpec(name="ce")
        plus: MutualChannelSpec | None = loss
    else:
        main, plus = loss, loss.plus
    return main, None if plus is None or plus.mu == 0 else plus


MainLossSpec: TypeAlias = (
    CrossEntropySpec
    | LabelSmoothingSpec
    | FocalSpec
    | CosineLossSpec
    | CenterSpec
    | SphereFaceSpec
    | CosFaceSpec
    | ArcFaceSpec
    | GaussianMixtureSpec
    | CustomLossSpec
)

LossSpec: TypeAlias = Annotated[
    Annotated[CrossEntropySpec, Tag("ce")]
    | Annotated[MutualChannelSpec, Tag("mc")]
    | Annotated[LabelSmoothingSpec, Tag("label_smoothing")]
    | Annotated[FocalSpec, Tag("focal")]
    | Annotated[CosineLossSpec, Tag("cosine")]
    | Annotated[CenterSpec, Tag("center")]
    | Annotated[SphereFaceSpec, Tag("sphereface")]
    | Annotated[CosFaceSpec, Tag("cosface")]
    | Annotated[ArcFaceSpec, Tag("arcface")]
    | Annotated[GaussianMixtureSpec, Tag("lgm")]
    | Annotated[CustomLossSpec, Tag(CUSTOM)],
    Discriminator(loss_kind),
]
