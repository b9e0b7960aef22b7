import hashlib
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcl_bench.spec import channels_dropped, effective_key, named_seed, settings_of, trial_spec
from mcl_bench.spec.defaults import resolve

PLAIN = {
    "data.name": "parts",
    "model.backbone": "convnet",
    "model.channels": "adapter",
    "loss.name": "mc",
    "loss.mu": 1.0,
    "loss.lambda": 10.0,
    "loss.mask_ratio": 0.4,
}
AROUND: dict[str, Any] = {
    "seed": 1,
    "digest": "d",
    "split": "train",
    "groups": [3, 3],
    "weights_sha256": None,
    "device_type": "cpu",
    "versions": {"torch": "2.14", "torchvision": "0.29", "mcl_bench": "0.1.0"},
}


def key(changed: dict[str, Any] | None = None, **around: Any) -> str:
    settings = {**settings_of(resolve(trial_spec(PLAIN))), **(changed or {})}
    return effective_key(settings, **{**AROUND, **around})


def test_a_key_is_64_hex_digits_and_always_the_same() -> None:
    assert key() == key()
    assert len(key()) == 64
    assert int(key(), 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        {"data.root": "elsewhere"},
        {"data.store": "decoded"},
        {"data.max_faults": 3},
        {"train.seed": 3},
        {"train.allow_micro_batch": True},
        {"train.micro_batches": 1},
        {"confirm.refit": False},
        {"confirm.gap": False},
        {"loss.mask_ratio": 0.5},
        {"loss.mask_ratio": 0.34},
        {"loss.lambda": 10},
        {"data.options.classes": 4},
        {"data.augment": " crop_flip "},
        {"data.augment": "paper_scratch"},
        {"data.augment": "paper_finetune"},
    ],
)
def test_what_cannot_change_the_result_does_not_change_the_key(changed: dict[str, Any]) -> None:
    assert key(changed) == key()


@pytest.mark.parametrize(
    "changed",
    [
        {"model.xi": 4},
        {"loss.mu": 2.0},
        {"loss.lambda": 11.0},
        {"loss.mask_ratio": 0.2},
        {"loss.mask_ratio": 0.7},
        {"train.epochs": 3},
        {"train.precision": "bf16"},
        {"train.micro_batches": 2},
        {"data.split_seed": 1},
        {"data.augment": "none"},
        {"data.augment": "randaugment"},
        {"data.store": "encoded"},
        {"train.optimizer.momentum": 0.1},
    ],
)
def test_what_can_change_the_result_changes_the_key(changed: dict[str, Any]) -> None:
    assert key(changed) != key()


@pytest.mark.parametrize(
    "around",
    [
        {"seed": 2},
        {"digest": "e"},
        {"split": "train+validation"},
        {"weights_sha256": "w"},
        {"device_type": "cuda"},
        {"groups": [3, 10]},
        {"sources": ("a" * 64,)},
        {"versions": {**AROUND["versions"], "torch": "2.15"}},
        {"versions": {**AROUND["versions"], "mcl_bench": "0.2.0"}},
    ],
)
def test_everything_around_the_settings_counts(around: dict[str, Any]) -> None:
    assert key(**around) != key()


def test_weights_count_by_their_bytes_and_not_by_their_name() -> None:
    one = key({"model.weights": "imagenet"}, weights_sha256="w")
    assert key({"model.weights": "a/copy.pth"}, weights_sha256="w") == one
    assert key({"model.weights": "a/copy.pth"}, weights_sha256="v") != one


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("randaugment", "crop_flip+randaugment", True),
        ("rotate+mixup", "paper_scratch + rotate + mixup", True),
        ("randaugment", "none+randaugment", False),
        ("rotate+mixup", "rotate+cutmix", False),
        ("dihedral+rotate", "resized_crop+rotate", False),
    ],
)
def test_recipes_have_one_key_exactly_where_they_do_the_same(
    one: str, other: str, equal: bool
) -> None:
    assert (key({"data.augment": one}) == key({"data.augment": other})) == equal


def test_data_options_count_by_the_images_that_they_name() -> None:
    found, asked = {"data.name": "cars"}, {"data.name": "cars", "data.options.layout": "devkit"}
    assert key(found) == key(asked)
    assert key(found, digest="of the other layout") != key(asked)


def test_only_major_and_minor_of_this_package_count() -> None:
    assert key(versions={**AROUND["versions"], "mcl_bench": "0.1.7"}) == key()


def test_mu_of_zero_is_plain_cross_entropy() -> None:
    ce = settings_of(resolve(trial_spec({**PLAIN_CE})))
    assert key({"loss.mu": 0.0}) == effective_key(ce, **AROUND)
    assert key({"loss.mu": 0, "loss.lambda": 3.0}) == key({"loss.mu": 0, "loss.mask_ratio": 0.9})


PLAIN_CE = {key: value for key, value in PLAIN.items() if not key.startswith("loss.")} | {
    "loss.name": "ce"
}


def test_one_channel_per_class_erases_lambda_and_mask() -> None:
    one = {"groups": [1, 1], "changed": {"model.xi": 1}}
    other = {"model.xi": 1, "loss.lambda": 3.0, "loss.mask_ratio": 0.9}
    assert key(one["changed"], groups=[1, 1]) == key(other, groups=[1, 1])
    assert key({**other, "loss.mu": 2.0}, groups=[1, 1]) != key(other, groups=[1, 1])


def test_uneven_groups_count_every_width() -> None:
    ratios = {"loss.mask_ratio": 0.3}, {"loss.mask_ratio": 0.28}
    assert key(ratios[0], groups=[3, 3]) == key(ratios[1], groups=[3, 3])
    assert key(ratios[0], groups=[3, 10]) != key(ratios[1], groups=[3, 10])


def test_installed_versions_are_the_default() -> None:
    assert len(key(versions=None)) == 64
    assert key(versions=None) != key()


@given(st.integers(1, 300), st.integers(0, 999))
def test_channels_dropped_is_the_exact_decimal_floor(xi: int, thousandths: int) -> None:
    exact = min(int(Fraction(thousandths, 1000) * xi), xi - 1)
    assert channels_dropped(xi, thousandths / 1000) == exact


def test_channels_dropped_of_the_known_trap_is_29() -> None:
    assert channels_dropped(100, 0.29) == 29
    assert int(100 * 0.29) == 28


def test_a_seed_is_a_hash_of_its_named_parts() -> None:
    digest = hashlib.sha256(json.dumps([3, "confirm", 1], separators=(",", ":")).encode()).digest()
    number = int.from_bytes(digest, "big")
    assert named_seed(3, "confirm", 1) == number >> (256 - 63)
    assert named_seed(3, "confirm", 1, bits=32) == number >> (256 - 32)
    assert named_seed("a", "b") != named_seed("ab")
    with pytest.raises(ValueError, match="at least one named part"):
        named_seed()


def loss_key(groups: list[int], map_size: tuple[int, int] | None = None, **loss: Any) -> str:
    settings = {**PLAIN_CE, "loss.name": "mc"}
    settings |= {f"loss.{key.rstrip('_')}": value for key, value in loss.items()}
    return effective_key(
        settings_of(resolve(trial_spec(settings))),
        **{**AROUND, "groups": groups},
        map_size=map_size,
    )


@pytest.mark.parametrize(
    ("one", "other", "groups"),
    [
        ({"dialect": "official"}, {"mu": 1.5, "lambda_": 20 / 1.5, "mask_ratio": 0.4}, [3, 3]),
        ({"dialect": "official", "mu": 2.0}, {"mu": 2.0, "mask_ratio": 0.4}, [3, 3]),
        ({"dialect": "kurumi"}, {"mu": 1.5, "mask_ratio": 0.4}, [3, 3]),
        ({"dialect": "kurumi"}, {"dialect": "official-pretrained", "mu": 1.5}, [3, 4, 4]),
        ({"dialect": "kurumi"}, {"mask_ratio": 0.4, "reduction": "groups"}, [3, 4, 4]),
        ({"dialect": "kurumi"}, {"mask_ratio": 0.4, "lambda_": 20.0}, [3, 4]),
        ({"dialect": "paper"}, {"mu": 0.005, "lambda_": 30.0}, [3, 3]),
        ({"dialect": "paper"}, {"mu": 0.005, "diversity": "literal"}, [3, 4]),
        ({"dialect": "holocron"}, {"mu": 1.0, "lambda_": 0.5}, [3, 3]),
        ({"dialect": "holocron", "mu": 0.0}, {"mu": 0.0}, [3, 3]),
        ({"dialect": "paper", "lambda_": 0.0}, {"mu": 0.005, "lambda_": 0.0}, [3, 4]),
        ({"diversity": "literal"}, {"lambda_": 30.0}, [3, 3]),
        ({"mask_scope": "sample", "mask_ratio": 0.3}, {"mask_ratio": 0.0}, [3, 3]),
        ({"mask_draw": "once"}, {}, [1, 1]),
        ({"dialect": "kurumi"}, {"dialect": "paper", "mu": 1.5}, [1, 1]),
    ],
)
def test_losses_that_are_trained_alike_have_one_key(
    one: dict[str, Any], other: dict[str, Any], groups: list[int]
) -> None:
    assert loss_key(groups, (2, 3), **one) == loss_key(groups, (2, 3), **other)


@pytest.mark.parametrize(
    ("one", "other", "groups"),
    [
        ({"dialect": "official"}, {"mu": 1.5, "lambda_": 20.0, "mask_ratio": 0.4}, [3, 3]),
        ({"dialect": "official"}, {"dialect": "kurumi"}, [3, 3]),
        ({"dialect": "kurumi"}, {"mask_ratio": 0.4}, [3, 4]),
        ({"dialect": "paper"}, {"mu": 0.005}, [3, 4]),
        ({"mask_scope": "sample"}, {}, [3, 3]),
        ({"mask_fill": "minus_inf"}, {}, [3, 3]),
        ({"mask_draw": "once"}, {}, [3, 3]),
        ({"reduction": "groups"}, {}, [3, 4, 4]),
        ({"diversity": "literal"}, {}, [3, 3]),
    ],
)
def test_losses_that_are_trained_otherwise_have_two_keys(
    one: dict[str, Any], other: dict[str, Any], groups: list[int]
) -> None:
    assert loss_key(groups, (2, 3), **one) != loss_key(groups, (2, 3), **other)


def test_only_holocron_depends_on_the_size_of_the_maps() -> None:
    sizes: list[tuple[int, int]] = [(2, 3), (3, 3)]
    assert len({loss_key([3, 3], size, dialect="holocron") for size in sizes}) == 2
    assert len({loss_key([3, 3], size, dialect="paper") for size in [*sizes, None]}) == 1
    with pytest.raises(ValueError, match="in dialect holocron needs map_size, got None"):
        loss_key([3, 3], dialect="holocron")


OWN = {key: value for key, value in PLAIN.items() if not key.startswith("loss.")} | {
    "loss.name": "mine:Loss",
    "loss.options.gamma": 2.0,
}


def own_key(*sources: str, **changed: Any) -> str:
    settings = {**settings_of(resolve(trial_spec(OWN))), **changed}
    return effective_key(settings, **AROUND, sources=sources)


def test_the_source_and_the_options_of_a_users_loss_count() -> None:
    assert own_key("a") == own_key("a")
    different = [own_key("a"), own_key("b"), own_key(), own_key("a", **{"loss.options.gamma": 3})]
    assert len(set(different)) == 4


def test_a_loss_with_mc_loss_of_no_weight_on_top_is_that_loss() -> None:
    arc = {**PLAIN_CE, "loss.name": "arcface"}
    plus = {"loss.plus.name": "mc", "loss.plus.mu": 0.0}
    weighing = {"loss.plus.name": "mc", "loss.plus.mu": 1.0}
    alone, idle, both = (
        effective_key(settings_of(resolve(trial_spec(given))), **AROUND)
        for given in (arc, arc | plus, arc | weighing)
    )
    assert alone == idle != both
