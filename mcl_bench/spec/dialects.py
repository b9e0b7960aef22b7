"""The Mutual-Channel Loss as others write it, and the same loss in the canonical form.

On one network a loss is three things: the weight of L_dis, the weight of every class's diversity h,
and the mask. A source says them with numbers of its own; two losses with the same three have the
same gradient, and differ at most by a constant. That is what these conversions keep.

Sources: Chang et al., "The Devil is in the Channels", IEEE TIP 2020, and the code of
PRIS-CV/Mutual-Channel-Loss, Kurumi233/Mutual-Channel-Loss and frgfm/Holocron.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, TypeAlias

from mcl_bench.spec.loss import Dialect, MutualChannelSpec

# c classes, ξ channels of one class, h its diversity, 1 to ξ, H×W positions

Reduction: TypeAlias = Literal["classes", "groups"]
Diversity: TypeAlias = Literal["normalised", "literal"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a source writes the loss.

    `names` are its own words for `mu`, `lambda` and `mask_ratio`. `reduction` and `diversity` are
    how it averages h, in the words of the canonical form's options. `fixed_mask` is the number of
    channels that its code drops of ξ, where that is not a parameter, and `mask` says it in words.
    `widths` are the ξ that its code can take, where not all, and `remark` says what else of it is
    carried over to other networks.
    """

    title: str
    formula: str
    names: Mapping[str, str]
    reduction: Reduction
    diversity: Diversity
    mask: str
    fixed_mask: Callable[[int], int] | None = None
    widths: frozenset[int] | None = None
    remark: str = ""


SOURCES: Mapping[Dialect, Source] = MappingProxyType(
    {
        "paper": Source(
            title="Chang et al., IEEE TIP 2020",
            formula="mu·(L_dis − lambda·mean over classes of h)",
            names={"mu": "mu", "lambda": "lambda"},
            reduction="classes",
            diversity="literal",
            mask="⌊ξ/2⌋ of ξ",
            fixed_mask=lambda xi: xi // 2,
        ),
        "official": Source(
            title="PRIS-CV/Mutual-Channel-Loss",
            formula="alpha_1·L_dis + beta_1·(1 − mean over classes of h/ξ)",
            names={"mu": "alpha_1", "lambda": "beta_1"},
            reduction="classes",
            diversity="normalised",
            mask="1 of 3",
            fixed_mask=lambda _: 1,
            widths=frozenset({3}),
        ),
        "official-pretrained": Source(
            title="PRIS-CV/Mutual-Channel-Loss, its ResNet-50 script",
            formula="alpha·(L_dis + lambda·Σ over groups of (1 − mean in the group of h/ξ))",
            names={"mu": "alpha", "lambda": "lambda"},
            reduction="groups",
            diversity="normalised",
            mask="4 of 10 and 4 of 11",
            fixed_mask=lambda _: 4,
            widths=frozenset({10, 11}),
        ),
        "kurumi": Source(
            title="Kurumi233/Mutual-Channel-Loss",
            formula="alpha·(L_dis + lambda_·Σ over groups of (1 − mean in the group of h/ξ))",
            names={"mu": "alpha", "lambda": "lambda_", "mask_ratio": "p"},
            reduction="groups",
            diversity="normalised",
            mask="⌊ξ·p⌋ of ξ",
        ),
        "holocron": Source(
            title="frgfm/Holocron, MutualChannelLoss",
            formula="weight·(L_dis − alpha·mean over classes of h/(H·W))",
            names={"mu": "weight", "lambda": "alpha"},
            reduction="classes",
            diversity="literal",
            mask="⌊ξ/2⌋ of ξ",
            fixed_mask=lambda xi: xi // 2,
            remark="its L_dis has no GAP and cannot take the labels of images: here it has one; "
            "weight is what its caller multiplies it by",
        ),
    }
)
"""Every dialect but the canonical form. All draw one mask a batch, anew, and multiply by 0.

A group is all classes with equally many channels.
"""

FORMS: Sequence[tuple[Reduction, Diversity]] = (
    ("classes", "normalised"),
    ("classes", "literal"),
    ("groups", "normalised"),
    ("groups", "literal"),
)
"""The averages of h, those first that the canonical form prefers where several are equal."""

AVERAGES: Mapping[tuple[Reduction, Diversity], str] = MappingProxyType(
    {
        ("classes", "normalised"): "the mean over classes of h/ξ",
        ("classes", "literal"): "the mean over classes of h",
        ("groups", "normalised"): "the sum over groups of their means of h/ξ",
        ("groups", "literal"): "the sum over groups of their means of h",
    }
)


@dataclass(frozen=True, kw_only=True)
class Inexpressible:
    """A loss that a dialect has no numbers for, and why."""

    reason: str


def to_canonical(
    loss: MutualChannelSpec, *, groups: Sequence[int], map_size: tuple[int, int]
) -> MutualChannelSpec:
    """The loss in the canonical form: the same gradient on the network with these groups and maps.

    Of all ways to say it the simplest is taken: diversity is the mean over classes of h/ξ wherever
    some λ makes that equal; only then λ is exact, as decimals are. Where no class has two channels
    diversity is constant, and λ is 0.

    Args:
        loss: in any dialect.
        groups: channels per class, positive integers.
        map_size: height and width of the maps; only `holocron` depends on it.
    """
    if loss.dialect == "canonical":
        form = (loss.reduction, loss.diversity)
        scope, fill, draw = loss.mask_scope, loss.mask_fill, loss.mask_draw
    else:
        source = SOURCES[loss.dialect]
        form = (source.reduction, source.diversity)
        scope, fill, draw = "batch", "zero", "step"
    lambda_ = _exact(loss.lambda_)
    if loss.dialect == "official":
        lambda_ = lambda_ / _exact(loss.mu) if loss.mu else Fraction(0)
    elif loss.dialect == "holocron":
        lambda_ /= map_size[0] * map_size[1]
    weights = _weights(lambda_, form, groups)
    for reduction, diversity in FORMS:
        found = _lambda(weights, (reduction, diversity), groups)
        if found is not None:
            break
    assert found is not None, "a loss has at least the form that it was written in"
    return MutualChannelSpec.model_validate(
        {
            "name": "mc",
            "mu": loss.mu,
            "lambda": float(found),
            "mask_ratio": loss.mask_ratio,
            "mask_scope": scope,
            "mask_fill": fill,
            "mask_draw": draw,
            "reduction": reduction,
            "diversity": diversity,
        }
    )


def from_canonical(
    loss: MutualChannelSpec,
    dialect: Dialect,
    *,
    groups: Sequence[int],
    map_size: tuple[int, int],
) -> MutualChannelSpec | Inexpressible:
    """The numbers that a source would be given for the same gradient, or why it has none.

    The mask ratio stays as it is: a source whose mask is fixed (`Source.mask`) has to be changed to
    take another. Arguments as for `to_canonical`; a loss in another dialect is converted first.
    """
    canonical = to_canonical(loss, groups=groups, map_size=map_size)
    if dialect == "canonical":
        return canonical
    reason = _own_mask(canonical, groups)
    if reason is not None:
        return Inexpressible(reason=reason)
    source = SOURCES[dialect]
    form = (source.reduction, source.diversity)
    exact = _exact(canonical.lambda_)
    weights = _weights(exact, (canonical.reduction, canonical.diversity), groups)
    lambda_ = _lambda(weights, form, groups)
    if lambda_ is None:
        widths = " and ".join(str(xi) for xi in sorted(set(groups)))
        return Inexpressible(
            reason=f"no {source.names['lambda']} makes {AVERAGES[form]} the same with classes of "
            f"{widths} channels"
        )
    if dialect == "official":
        lambda_ *= _exact(canonical.mu)
    elif dialect == "holocron":
        lambda_ *= map_size[0] * map_size[1]
    return MutualChannelSpec.model_validate(
        {
            "name": "mc",
            "dialect": dialect,
            "mu": canonical.mu,
            "lambda": float(lambda_),
            "mask_ratio": canonical.mask_ratio,
        }
    )


def _weights(
    lambda_: Fraction, form: tuple[Reduction, Diversity], groups: Sequence[int]
) -> dict[int, Fraction]:
    """What each class's h is multiplied by, over the weight of L_dis, by the class's ξ.

    Classes of one channel are left out: their h is 1, whatever the maps.
    """
    return {xi: lambda_ / divisor for xi, divisor in _divisors(form, groups).items()}


def _lambda(
    weights: Mapping[int, Fraction], form: tuple[Reduction, Diversity], groups: Sequence[int]
) -> Fraction | None:
    """The λ that gives these weights in a form: the inverse of `_weights`; None if there is none.

    0 where no class has two channels.
    """
    divisors = _divisors(form, groups)
    found = {weight * divisors[xi] for xi, weight in weights.items()} or {Fraction(0)}
    return found.pop() if len(found) == 1 else None


def _divisors(form: tuple[Reduction, Diversity], groups: Sequence[int]) -> dict[int, int]:
    """What each class's h is divided by in a form, by the class's ξ, where ξ > 1."""
    reduction, diversity = form
    return {
        xi: (count if reduction == "groups" else len(groups))
        * (xi if diversity == "normalised" else 1)
        for xi, count in Counter(groups).items()
        if xi > 1
    }


def _own_mask(loss: MutualChannelSpec, groups: Sequence[int]) -> str | None:
    """Why no source draws or applies this mask, or None if all do or it drops nothing."""
    widest = max(groups)
    if widest == 1 or int(Decimal(str(loss.mask_ratio)) * widest) == 0:
        return None
    if loss.mask_scope != "batch":
        return "no source draws a mask for each image (mask_scope: sample)"
    if loss.mask_draw != "step":
        return "no source keeps one mask for the training (mask_draw: once)"
    if loss.mask_fill != "zero":
        return "no source keeps dropped channels from winning (mask_fill: minus_inf)"
    return None


def _exact(number: float) -> Fraction:
    """The number as it is written in decimals: 0.1 is a tenth."""
    return Fraction(str(number))
