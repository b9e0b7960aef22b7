"""A recipe: what `data.augment` asks for, part by part.

A recipe is one part, or parts joined by `+` in this order: a crop, then what changes pixels
(rotate, colour, one of randaugment and trivialaugment), then what mixes images (one of mixup and
cutmix). Without a crop `crop_flip` stands in front: `randaugment` is `crop_flip+randaugment`;
`none+randaugment` crops the middle.
"""

from dataclasses import dataclass

from mcl_bench.data.augment import SIZES
from mcl_bench.data.catalog.options import nearest
from mcl_bench.data.mixing import MIXINGS
from mcl_bench.data.policies import POLICIES
from mcl_bench.records import UserError
from mcl_bench.spec.recipe import CROPS, USUAL_CROP, recipe_parts

_RANKS: dict[str, tuple[int, str]] = {
    **dict.fromkeys(CROPS, (0, "a crop")),
    "rotate": (1, "rotate"),
    "colour": (2, "colour"),
    **dict.fromkeys(("randaugment", "trivialaugment"), (3, "randaugment or trivialaugment")),
    **dict.fromkeys(MIXINGS, (4, "mixup or cutmix")),
}
"""Each part's place in a recipe, and what stands there."""

PARTS = tuple(_RANKS)
"""Every part that a recipe can have."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of a recipe by name; `policies` in their order, `mixing` None for none."""

    crop: str
    policies: tuple[str, ...]
    mixing: str | None


def parse_recipe(text: str) -> Recipe:
    """The recipe that `data.augment` names.

    Raises UserError for a part that is unknown, out of order, or beside another of its kind.
    """
    names = recipe_parts(text)
    for name in names:
        if name not in _RANKS:
            of = "" if len(names) == 1 else f", in {text!r}"
            raise UserError(
                f"data.augment must be made of {', '.join(PARTS)}, got {name!r}{of}",
                key="data.augment",
                remedy=nearest(name, PARTS).strip() or None,
            )
    ranks = [_RANKS[name][0] for name in names]
    if len(set(ranks)) < len(ranks):
        first = next(name for name in names if ranks.count(_RANKS[name][0]) > 1)
        raise UserError(
            f"data.augment may have {_RANKS[first][1]} once, got {text!r}", key="data.augment"
        )
    if ranks != sorted(ranks):
        order = sorted(names, key=lambda name: _RANKS[name][0])
        raise UserError(
            f"data.augment has its parts in the order {', '.join(_orders())}, got {text!r}",
            key="data.augment",
            remedy=f"write {'+'.join(order)}",
        )
    crops = [name for name in names if name in CROPS]
    mixings = [name for name in names if name in MIXINGS]
    return Recipe(
        crop=crops[0] if crops else USUAL_CROP,
        policies=tuple(name for name in names if name in POLICIES),
        mixing=mixings[0] if mixings else None,
    )


def check_recipe(text: str, *, stored: int, crop: int) -> None:
    """Raise UserError for no recipe, or for one that isn't for images of these sizes."""
    name = parse_recipe(text).crop
    if name in SIZES and SIZES[name] != (stored, crop):
        resize, cropped = SIZES[name]
        raise UserError(
            f"data.augment {name} is for data.resize {resize} and data.crop {cropped}, "
            f"got {stored} and {crop}",
            key="data.augment",
            remedy=f"set resize: {resize} and crop: {cropped}, or take augment: {USUAL_CROP}, "
            "which does the same at any size",
        )


def _orders() -> tuple[str, ...]:
    return tuple(dict.fromkeys(words for _, words in _RANKS.values()))
