"""Which keys may be searched, and how a key of `search.space` names one of a training."""

from collections.abc import Iterable
from dataclasses import dataclass

from mcl_bench.records import UserError
from mcl_bench.spec.faults import suggestion
from mcl_bench.spec.schema import ModelSpec
from mcl_bench.spec.settings import trial_keys

INTEGERS = frozenset({"model.xi", "train.epochs", "train.batch_size"})
"""The searchable keys that take integers only."""

OF_NETWORK = frozenset({"model.xi", "model.head"})
OF_IMAGES = frozenset({"data.augment", "data.balance"})
FIXED = frozenset(
    {
        "train.seed",
        "train.allow_micro_batch",
        "train.micro_batches",
        "train.schedule.name",
        "train.schedule.milestones",
        "loss.name",
        "loss.dialect",
        "loss.plus.name",
        "loss.plus.dialect",
    }
)
"""Keys of a training that stay as written: what they change is not a setting to tune."""


OPTIONS = "loss.options."
"""What the options of a user's own loss begin with; which there are, its class says."""


@dataclass(frozen=True, kw_only=True)
class SearchKey:
    """A key of the space: the arm that it belongs to (None: all share it) and the setting."""

    arm: str | None
    setting: str


def shared_keys() -> frozenset[str]:
    """The settings that arms may search together."""
    trained = {key for key in trial_keys() if key.startswith("train.")} - FIXED
    return frozenset(trained | OF_NETWORK | OF_IMAGES)


def arm_keys() -> frozenset[str]:
    """The settings that one arm may search for itself, as they stand after `arms.X.`."""
    own = {key for key in trial_keys() if key.startswith(("train.", "loss."))}
    return frozenset(own - FIXED)


def parse_key(key: str, *, arms: Iterable[str], name: str, place: str) -> SearchKey:
    """What a key of the space or of `enqueue` means; `name` is its full key in the file.

    Raises UserError for a key that is unknown, that no cell can search, or that is an arm's model.
    """
    names = list(arms)
    if not key.startswith("arms."):
        if key in shared_keys():
            return SearchKey(arm=None, setting=key)
        raise _refused(key, names, name, place)
    _, arm, *rest = key.split(".")
    setting = ".".join(rest)
    if arm not in names:
        rule = f"{name}: there is no arm {arm}{suggestion(arm, names)}"
        raise UserError(rule, key=name, place=place)
    if rest[:1] == ["model"]:
        raise UserError(
            f"{name}: an arm's model is not searched, since arms are compared on one network",
            key=name,
            place=place,
            remedy="search model.xi for all arms, or list networks in matrix.model",
        )
    if setting in arm_keys() or _is_option(setting):
        return SearchKey(arm=arm, setting=setting)
    raise _refused(key, names, name, place)


def _is_option(setting: str) -> bool:
    return setting.startswith(OPTIONS) and setting.removeprefix(OPTIONS).isidentifier()


def _refused(key: str, arms: list[str], name: str, place: str) -> UserError:
    setting = key.split(".", 2)[-1] if key.startswith("arms.") else key
    section = key.split(".", 1)[0]
    if section == "loss" and key in trial_keys():
        ways = " or ".join(f"arms.{arm}.{key}" for arm in arms)
        rule = f"{name}: a loss belongs to an arm"
        return UserError(rule, key=name, place=place, remedy=f"write {ways}")
    known = trial_keys() | {f"model.{field}" for field in ModelSpec.model_fields}
    if setting in known:
        remedy = {
            "data": "write its values in entries of matrix.data",
            "model": "write its values in entries of matrix.model",
        }.get(section)
        rule = f"{name}: no cell can search this key"
        return UserError(rule, key=name, place=place, remedy=remedy)
    candidates = shared_keys() | {f"arms.{arm}.{one}" for arm in arms for one in arm_keys()}
    rule = f"unknown key {name}{suggestion(key, candidates)}"
    return UserError(rule, key=name, place=place)
