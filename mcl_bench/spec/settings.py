"""One training's configuration as flat dotted settings, and back."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from mcl_bench.spec.loss import CUSTOM
from mcl_bench.spec.schema import KINDS, TrialSpec, foreign_keys


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; lists stay values, empty mappings leave no key."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings: the inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        *parents, last = dotted.split(".")
        place = nested
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value
    return nested


def settings_of(spec: TrialSpec) -> dict[str, Any]:
    """The flat dotted settings of one training (`loss.lambda`, `data.options.classes`, …)."""
    return flatten(spec.model_dump(mode="json", by_alias=True))


def trial_spec(settings: Mapping[str, Any]) -> TrialSpec:
    """The training that flat dotted settings describe.

    Raises pydantic's ValidationError where a setting is unknown or its value impossible.
    """
    return validated(nest(settings))


def with_params(flat: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The flat settings of a training with searched ones put in their place.

    Where the optimizer's name is searched, momentum goes with the kind that does not know it. An
    option of the user's own loss that is searched goes with all that stands below it.
    """
    below = tuple(f"{key}." for key in params if key.startswith("loss.options."))
    merged = {key: value for key, value in flat.items() if not (below and key.startswith(below))}
    merged |= params
    if "train.optimizer.name" not in params:
        return merged
    for key in foreign_keys("optimizer", params["train.optimizer.name"]):
        merged.pop(f"train.optimizer.{key}", None)
    return merged


def validated(nested: Mapping[str, Any]) -> TrialSpec:
    """The training that nested plain values describe; strict, but lists serve as tuples."""
    return TrialSpec.model_validate_json(json.dumps(nested))


@cache
def trial_keys() -> frozenset[str]:
    """Every dotted key that some training has, whatever its loss and schedule.

    The default optimizer has the keys of all.
    """
    plus = {"name": "mc"}
    losses = [
        {"name": "mc"},
        *({"name": name, "plus": plus} for name in KINDS["loss"] if name not in {"mc", CUSTOM}),
    ]
    schedules = ({"name": "cosine"}, {"name": "step", "milestones": [1]})
    base = {"data": {"name": "any"}, "model": {"backbone": "any"}}
    return frozenset(
        key
        for loss in losses
        for schedule in schedules
        for key in settings_of(validated({**base, "loss": loss, "train": {"schedule": schedule}}))
    )
