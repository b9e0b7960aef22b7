"""The JSON Schema of experiment files, for editors."""

import copy
from collections.abc import Mapping
from typing import Any

from mcl_bench.spec.schema import KINDS, ExperimentSpec

NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
RANGE: Mapping[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "properties": {
        "log": NUMBERS,
        "float": NUMBERS,
        "int": {**NUMBERS, "items": {"type": "integer"}},
        "choice": {"type": "array", "minItems": 1},
        "step": {"type": "number", "exclusiveMinimum": 0},
        "points": {"type": "integer", "minimum": 1},
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of an experiment file of version 1, `extends` included.

    What a base file may give is not required here, and null is allowed where it deletes.
    """
    schema = copy.deepcopy(ExperimentSpec.model_json_schema(by_alias=True))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "mcl_bench experiment file"
    parts = schema["$defs"]
    whole = {name: copy.deepcopy(parts[name]) for name in ("DataSpec", "ModelSpec")}
    files = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    schema["properties"]["extends"] = {"anyOf": [{"type": "string"}, files, {"type": "null"}]}
    partial_train = _partial({"$ref": "#/$defs/TrainSpec"}, parts)
    beside = {
        "label": {"type": "string", "minLength": 1},
        "train": partial_train,
        "arms": {"type": "object"},
        "space": {"type": "object"},
        "resources": {"$ref": "#/$defs/ResourcesSpec"},
    }
    parts["ArmSpec"]["properties"]["train"] = partial_train
    matrix = parts["MatrixSpec"]["properties"]
    for axis, name in (("data", "DataSpec"), ("model", "ModelSpec")):
        entry = _partial(whole[name], parts)
        entry["properties"] = {**entry["properties"], **beside}
        matrix[axis] = {"type": "array", "items": entry}
    search = parts["SearchSpec"]["properties"]
    parts["Range"] = RANGE
    search["space"] = {"type": "object", "description": "dotted or nested keys with their ranges"}
    search["space"]["additionalProperties"] = {
        "anyOf": [{"$ref": "#/$defs/Range"}, {"type": "object"}, {"type": "null"}]
    }
    search["pruner"] = {"anyOf": [search["pruner"], {"enum": list(KINDS["pruner"])}]}
    for part in (schema, *parts.values()):
        _allow_null(part)
    required = ["version", "name", "data", "model", "arms"]
    for name in whole:
        parts[name] = _partial(parts[name], parts)  # every entry of the matrix may name its own
    schema["required"] = []
    schema["if"] = {"required": ["extends"]}
    schema["else"] = {"required": required}
    return schema


def _partial(schema: dict[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of partial overrides: nothing required, all the way down."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].rsplit("/", 1)[-1]]
    partial = {key: value for key, value in copy.deepcopy(schema).items() if key != "required"}
    return partial


def _allow_null(part: dict[str, Any]) -> None:
    """Let null stand for every key that is not required."""
    required = part.get("required", ())
    for name, below in part.get("properties", {}).items():
        options = below.get("anyOf", [below])
        if name not in required and {"type": "null"} not in options:
            kept = {key: below[key] for key in ("default", "description") if key in below}
            part["properties"][name] = {"anyOf": [*options, {"type": "null"}], **kept}
