"""The effective key: equal for two trainings exactly where their results must be equal."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import metadata
from typing import Any, Literal

from mcl_bench import __version__
from mcl_bench.spec.settings import settings_of, trial_spec

WITHOUT_EFFECT = frozenset(
    {"data.root", "data.store", "data.max_faults", "model.weights", "train.seed"}
)
"""Settings that cannot change a result: digest, weights and the trial's own seed speak for them."""


def channels_dropped(xi: int, ratio: float) -> int:
    """⌊ξ·ratio⌋ channels, decimally exact (0.29 of 100 is 29), and at most ξ − 1.

    `xi` is the number of channels of one class, `ratio` the share of them that the mask drops.
    """
    return min(int(Decimal(str(ratio)) * xi), xi - 1)


def effective_key(
    settings: Mapping[str, Any],
    *,
    seed: int,
    digest: str,
    split: Literal["train", "train+validation"],
    groups: Sequence[int],
    weights_sha256: str | None,
    device_type: str,
    versions: Mapping[str, str] | None = None,
) -> str:
    """SHA-256 (64 hex digits) over all that can change what one training gives.

    `settings` are flat and dotted, `digest` is that of the source images, `split` says what is
    trained on, `groups` holds the channels of every class, `weights_sha256` is None without loaded
    weights. `versions` are those of torch, torchvision and mcl_bench, default: the installed ones;
    of mcl_bench only Major.Minor counts.
    """
    used = dict(installed_versions() if versions is None else versions)
    if "mcl_bench" in used:
        used["mcl_bench"] = ".".join(used["mcl_bench"].split(".")[:2])
    parts = {
        "settings": canonical(settings, groups),
        "seed": seed,
        "digest": digest,
        "split": split,
        "weights": weights_sha256,
        "device": device_type,
        "versions": used,
    }
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(settings: Mapping[str, Any], groups: Sequence[int]) -> dict[str, Any]:
    """The settings that can change a result, written in one way only.

    μ = 0 is plain cross-entropy. With one channel per class (ξ = 1)
    diversity is constant and the mask drops nothing, so λ and the mask ratio are erased. Otherwise
    the ratio becomes the number of channels dropped for every ξ that `groups` holds.
    """
    flat = {
        key: value
        for key, value in settings_of(trial_spec(settings)).items()
        if key not in WITHOUT_EFFECT and not key.startswith("confirm.")
    }
    if flat["loss.name"] != "mc":
        return flat
    ratio = flat.pop("loss.mask_ratio")
    if flat["loss.mu"] == 0:
        rest = {key: value for key, value in flat.items() if not key.startswith("loss.")}
        return {**rest, "loss.name": "ce"}
    widths = sorted(set(groups))
    if widths == [1]:
        del flat["loss.lambda"]
        return flat
    return {**flat, "loss.dropped": [[xi, channels_dropped(xi, ratio)] for xi in widths]}


@cache
def installed_versions() -> Mapping[str, str]:
    """The versions of torch, torchvision and mcl_bench that are installed here."""
    return {
        "torch": metadata.version("torch"),
        "torchvision": metadata.version("torchvision"),
        "mcl_bench": __version__,
    }
