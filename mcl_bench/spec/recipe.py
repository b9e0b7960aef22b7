"""How `data.augment` is written: parts joined by `+`, and the one form that stands for its equals.

What the parts do is the data room's; here is what their names mean to each other.
"""

USUAL_CROP = "crop_flip"
"""The crop of a recipe that names none."""

CROPS = (
    "none",
    "crop_flip",
    "shift_flip_brightness",
    "dihedral",
    "resized_crop",
    "paper_scratch",
    "paper_finetune",
)
"""The parts of which each is a crop."""

SAME_CROPS = {"paper_scratch": USUAL_CROP, "paper_finetune": USUAL_CROP}
"""Crops that do what another does; they are for one size only, which the settings say too."""


def recipe_parts(text: str) -> list[str]:
    """The names of a recipe's parts as they are written."""
    return [name.strip() for name in text.split("+")]


def canonical_recipe(text: str) -> str:
    """The recipe with its crop written out, in one way for all recipes that do the same."""
    names = recipe_parts(text)
    if names[0] not in CROPS:
        names.insert(0, USUAL_CROP)
    return "+".join(SAME_CROPS.get(name, name) for name in names)
