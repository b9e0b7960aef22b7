"""The effective key: equal for two trainings exactly where their results must be equal."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib import metadata
from typing import Any, Literal

from mcl_bench import __version__
from mcl_bench.spec.dialects import to_canonical
from mcl_bench.spec.loss import MutualChannelSpec, split_loss
from mcl_bench.spec.recipe import canonical_recipe
from mcl_bench.spec.settings import flatten, settings_of, trial_spec

WITHOUT_EFFECT = frozenset({"data.root", "data.max_faults", "model.weights", "train.seed"})
"""Settings that cannot change a result: digest, weights and the trial's own seed speak for them."""

_SPOKEN_FOR = ("confirm.", "loss.", "data.options.")
"""What stands below these is written in another form; for data's options the digest speaks."""


def channels_dropped(xi: int, ratio: float) -> int:
    """⌊ξ·ratio⌋ channels, decimally exact (0.29 of 100 is 29), and at most ξ − 1.

    `xi` is the number of channels of one class, `ratio` the share of them that the mask drops.
    """
    return min(int(Decimal(str(ratio)) * xi), xi - 1)


def effective_key(  # noqa: PLR0913 - all that a result depends on
    settings: Mapping[str, Any],
    *,
    seed: int,
    digest: str,
    split: Literal["train", "train+validation"],
    groups: Sequence[int],
    weights_sha256: str | None,
    device_type: str,
    map_size: tuple[int, int] | None = None,
    sources: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> str:
    """SHA-256 (64 hex digits) over all that can change what one training gives.

    `settings` are flat and dotted, and where images are kept encoded, `data.store` says so, not
    `auto`, which counts as decoded. `digest` is that of the source images, `split` says what is
    trained on, `groups` holds the channels of every class, `weights_sha256` is None without loaded
    weights. `map_size` is the height and width of the maps; a loss in dialect `holocron` needs it,
    else ValueError. `sources` are the SHA-256 of the files that a user's own backbone and loss are
    defined in, and the versions of the packages that others come from, in this order. `versions`
    are those of torch, torchvision and mcl_bench, default: the installed ones; of mcl_bench only
    Major.Minor counts.
    """
    used = dict(installed_versions() if versions is None else versions)
    if "mcl_bench" in used:
        used["mcl_bench"] = ".".join(used["mcl_bench"].split(".")[:2])
    parts = {
        "settings": canonical(settings, groups, map_size=map_size),
        "seed": seed,
        "digest": digest,
        "split": split,
        "weights": weights_sha256,
        "device": device_type,
        "versions": used,
    }
    if sources:
        parts["sources"] = list(sources)
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(
    settings: Mapping[str, Any],
    groups: Sequence[int],
    *,
    map_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The settings that can change a result, written in one way only.

    Recipes of augmentation that do the same are one, and the data's options are left out: the
    digest of the images speaks for them. That a batch may be trained in pieces changes nothing; in
    how many it is does. A loss is its main part, and the Mutual-Channel Loss on
    top of it unless μ = 0: so `mc` at μ = 0 is `ce`. In whatever dialect that loss is written, its
    canonical form counts, which is what is trained.
    """
    spec = trial_spec(settings)
    flat = {
        key: value
        for key, value in settings_of(spec).items()
        if key not in WITHOUT_EFFECT and not key.startswith(_SPOKEN_FOR)
    }
    flat["train.allow_micro_batch"] = False  # what it has led to stands beside it
    flat["data.augment"] = canonical_recipe(spec.data.augment)
    if spec.data.store != "encoded":
        del flat["data.store"]
    main, plus = split_loss(spec.loss)
    flat |= flatten(main.model_dump(mode="json", by_alias=True, exclude={"plus"}), "loss.")
    if plus is None:
        return flat
    return flat | flatten(_canonical_mc(plus, groups, map_size), "loss.plus.")


def _canonical_mc(
    loss: MutualChannelSpec, groups: Sequence[int], map_size: tuple[int, int] | None
) -> dict[str, Any]:
    """What counts of the Mutual-Channel Loss where the classes have these channels.

    With one channel per class (ξ = 1) diversity is constant and the mask drops nothing, so λ and
    the mask are erased. Otherwise the ratio becomes the number of channels dropped for every ξ.
    """
    if map_size is None:
        if loss.dialect == "holocron":
            raise ValueError("the key of a loss in dialect holocron needs map_size, got None")
        map_size = (1, 1)
    converted = to_canonical(loss, groups=groups, map_size=map_size)
    kept = converted.model_dump(mode="json", by_alias=True)
    ratio = kept.pop("mask_ratio")
    widths = sorted(set(groups))
    dropped = [[xi, channels_dropped(xi, ratio)] for xi in widths]
    if not any(count for _, count in dropped):
        kept = {key: value for key, value in kept.items() if not key.startswith("mask_")}
    else:
        kept["dropped"] = dropped
    if widths == [1]:
        del kept["lambda"]
    if "lambda" not in kept or kept["lambda"] == 0:
        kept = {key: value for key, value in kept.items() if key != "diversity"}
    if len(widths) == 1 or "diversity" not in kept:
        del kept["reduction"]
    return kept


@cache
def installed_versions() -> Mapping[str, str]:
    """The versions of torch, torchvision and mcl_bench that are installed here."""
    return {
        "torch": metadata.version("torch"),
        "torchvision": metadata.version("torchvision"),
        "mcl_bench": __version__,
    }
