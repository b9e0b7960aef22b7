"""What a setting of the Mutual-Channel Loss says on one network, in every dialect."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from mcl_bench.spec.dialects import SOURCES, Inexpressible, from_canonical, to_canonical
from mcl_bench.spec.key import channels_dropped
from mcl_bench.spec.loss import OPTIONS, Dialect, LossSpec, MutualChannelSpec

CANONICAL: tuple[str, str, Mapping[str, str]] = (
    "this package",
    "mu·(L_dis + lambda·(1 − diversity))",
    {key: key for key in ("mu", "lambda", "mask_ratio", *OPTIONS)},
)
"""Title, formula and names of the canonical form, as `Source` has those of the others."""


@dataclass(frozen=True, kw_only=True)
class Width:
    """Classes with equally many channels, and how many of these the mask drops."""

    classes: int
    xi: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Translation:
    """One dialect's own numbers, by its own words, or the reason why it has none.

    `formula` is what it minimises beside the cross-entropy. `remarks` are what its code would have
    to be changed for.
    """

    dialect: Dialect
    title: str
    formula: str
    remarks: tuple[str, ...]
    numbers: Mapping[str, float | str] | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A setting on one network.

    `idle` says of each setting that cannot matter why; `warnings` are what else its writer may not
    expect.
    """

    loss: MutualChannelSpec
    widths: tuple[Width, ...]
    translations: tuple[Translation, ...]
    idle: Mapping[str, str]
    warnings: tuple[str, ...]


def mutual_channel_part(loss: LossSpec) -> MutualChannelSpec | None:
    """The Mutual-Channel Loss of an arm, whatever it weighs; None where there is none."""
    return loss if isinstance(loss, MutualChannelSpec) else loss.plus


def explain_loss(
    loss: MutualChannelSpec,
    *,
    groups: Sequence[int],
    map_size: tuple[int, int],
    signed: bool = False,
) -> Explanation:
    """What the loss says on the network with these channels per class and maps.

    `signed` tells whether the maps can be below zero.
    """
    return Explanation(
        loss=loss,
        widths=widths_of(groups, loss.mask_ratio),
        translations=tuple(
            _translation(loss, dialect, groups, map_size) for dialect in get_args(Dialect)
        ),
        idle=idle(loss, groups),
        warnings=tuple(_warnings(loss, groups, map_size, signed=signed)),
    )


def widths_of(groups: Sequence[int], ratio: float) -> tuple[Width, ...]:
    """The classes by their number of channels, narrow ones first."""
    return tuple(
        Width(classes=count, xi=xi, dropped=channels_dropped(xi, ratio))
        for xi, count in sorted(Counter(groups).items())
    )


def drop_text(widths: Iterable[Width]) -> str:
    """What the mask drops: `4 of 10 and 4 of 11`."""
    return " and ".join(f"{width.dropped} of {width.xi}" for width in widths)


def idle(loss: MutualChannelSpec, groups: Sequence[int] | None) -> dict[str, str]:
    """The settings of a loss that cannot change a training, and why, by their keys in the file.

    `groups` are the channels per class, or None where they are not known.
    """
    options = OPTIONS if loss.dialect == "canonical" else ()
    if loss.mu == 0:
        reason = "mu is 0, so the maps are in no loss"
        return dict.fromkeys(("lambda", "mask_ratio", *options), reason)
    found: dict[str, str] = {}
    if groups is not None and max(groups) == 1:
        reason = "every class has one channel, so its diversity is constant"
        found |= dict.fromkeys(("lambda", "reduction", "diversity"), reason)
    elif loss.lambda_ == 0:
        found |= dict.fromkeys(("reduction", "diversity"), "lambda is 0")
    elif groups is not None and len(set(groups)) == 1:
        found["reduction"] = f"every class has {groups[0]} channels, so there is one group"
    masks = ("mask_ratio", *(key for key in OPTIONS if key.startswith("mask_")))
    widths = () if groups is None else widths_of(groups, loss.mask_ratio)
    if loss.mask_ratio == 0 or (widths and not any(width.dropped for width in widths)):
        what = drop_text(widths) if widths else "none"
        found |= dict.fromkeys(masks, f"the mask drops no channel: {what}")
    return {key: why for key, why in found.items() if key in {"lambda", "mask_ratio", *options}}


def _translation(
    loss: MutualChannelSpec, dialect: Dialect, groups: Sequence[int], map_size: tuple[int, int]
) -> Translation:
    found: MutualChannelSpec | Inexpressible = loss
    if dialect == "canonical" or dialect != loss.dialect:
        found = from_canonical(loss, dialect, groups=groups, map_size=map_size)
    title, formula, names = CANONICAL if dialect == "canonical" else _words(dialect)
    if isinstance(found, Inexpressible):
        return Translation(
            dialect=dialect, title=title, formula=formula, reason=found.reason, remarks=()
        )
    dumped = found.model_dump(mode="json", by_alias=True)
    return Translation(
        dialect=dialect,
        title=title,
        formula=formula,
        numbers={name: dumped[key] for key, name in names.items()},
        remarks=() if dialect == "canonical" else tuple(_remarks(found, groups)),
    )


def _words(dialect: Dialect) -> tuple[str, str, Mapping[str, str]]:
    source = SOURCES[dialect]
    return source.title, source.formula, source.names


def _remarks(loss: MutualChannelSpec, groups: Sequence[int]) -> Iterator[str]:
    """What a source's own code does otherwise than these numbers on these groups."""
    source = SOURCES[loss.dialect]
    widths = widths_of(groups, loss.mask_ratio)
    if source.widths is not None and not set(groups) <= source.widths:
        known = " and ".join(str(xi) for xi in sorted(source.widths))
        yield f"its code takes ξ = {known} only: its formula, on these groups"
    elif source.fixed_mask is not None and any(
        source.fixed_mask(width.xi) != width.dropped for width in widths
    ):
        yield f"its code always drops {source.mask}, not {drop_text(widths)}"
    if source.remark:
        yield source.remark


def _warnings(
    loss: MutualChannelSpec, groups: Sequence[int], map_size: tuple[int, int], *, signed: bool
) -> Iterator[str]:
    """What of a setting its writer may not expect on this network."""
    canonical = to_canonical(loss, groups=groups, map_size=map_size)
    widths = widths_of(groups, loss.mask_ratio)
    wide = [width for width in widths if width.xi > 1]
    if loss.mu == 0 or not wide:
        return
    if wide != list(widths):
        yield f"{widths[0].classes} classes have one channel: lambda and the mask pass them by"
    if canonical.lambda_ > 0 and canonical.reduction == "groups" and len(wide) > 1:
        rare, *_, common = sorted(wide, key=lambda width: width.classes)
        yield (
            f"the sum over groups weighs the {rare.classes} classes of {rare.xi} channels "
            f"{common.classes / rare.classes:.1f} times as much as the {common.classes} of "
            f"{common.xi}"
        )
    undropped = [width for width in wide if width.dropped == 0]
    if undropped and len(undropped) < len(wide):
        yield f"the mask drops nothing of {undropped[0].xi} channels: {drop_text(widths)}"
    if signed and canonical.mask_fill == "zero" and len(undropped) < len(wide):
        yield (
            "the maps can be below zero, where a channel dropped by mask_fill: zero wins the "
            "maximum; with mask_fill: minus_inf it cannot"
        )
