"""How a row's numbers were made, and where two rows' ways are unlike.

A protocol is what no arm chooses and no search moves: images and their cut, pixels, network,
epochs, what was trained on, the metric that chose, and the versions. Losses are compared where it
is the same; rows of unlike protocols may stand in one table, marked, and are never averaged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcl_bench.records import TrialRecord

Protocol = Mapping[str, Any]
"""Plain values by key; None for what is not recorded."""

OF_DATA = (
    "name",
    "options",
    "resize",
    "crop",
    "augment",
    "balance",
    "per_class",
    "validation",
    "test",
    "split_seed",
)
OTHERS = (
    "model.backbone",
    "model.weights",
    "model.freeze",
    "train.epochs",
    "train.precision",
    "confirm.refit",
)
KEYS = (*(f"data.{key}" for key in OF_DATA), *OTHERS)
"""The settings that a protocol holds, beside the images' digest, the metric and the versions."""

TEST_IMAGES = frozenset({"images", "data.name", "data.options", "data.test"})
"""Where these are unlike the rows were scored on other images: they have no paired difference."""


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """One thing that two protocols do in different ways, as texts."""

    key: str
    a: str
    b: str


def protocol_of(
    best: TrialRecord, confirm: Sequence[TrialRecord], *, digest: str | None, metric: str
) -> Protocol:
    """The protocol of the row whose best search trial and confirm trials these are.

    `digest` is the source digest of its images, None where it is not recorded. Versions are those
    of the confirm trials, of the search where there are none yet; mcl_bench's is its Major.Minor,
    within which results compare.
    """
    config = best.config
    settings = {key: _value(config, key) for key in KEYS}
    if config.get("data.store") == "encoded":
        settings["data.store"] = "encoded"
    if "train.micro_batches" in config:
        settings["train.micro_batches"] = config["train.micro_batches"]
    versions = _versions(confirm or [best])
    return {"images": digest, **settings, "search.metric": metric, **versions}


def unlike(a: Protocol, b: Protocol) -> tuple[Unlike, ...]:
    """Where these two protocols are unlike, in the order of their keys."""
    keys = list(dict.fromkeys([*a, *b]))
    return tuple(
        Unlike(key=key, a=_shown(key, a.get(key)), b=_shown(key, b.get(key)))
        for key in keys
        if a.get(key) != b.get(key)
    )


def _value(config: Mapping[str, Any], key: str) -> Any:
    """A setting's plain value; of nested ones, such as `data.resize.short`, a mapping."""
    if key in config:
        return config[key]
    below = {name.removeprefix(f"{key}."): config[name] for name in config if _below(name, key)}
    return below or None


def _below(name: str, key: str) -> bool:
    return name.startswith(f"{key}.")


def _versions(records: Iterable[TrialRecord]) -> dict[str, str]:
    """Every version that the records were made with, by the package."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            short = ".".join(version.split(".")[:2]) if name == "mcl_bench" else version
            found.setdefault(name, set()).add(short)
    return {f"version of {name}": ", ".join(sorted(found[name])) for name in sorted(found)}


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "not recorded" if key == "images" else "none"
    if key == "images":
        return f"digest {str(value)[:12]}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
