"""Numbers of one source in the words of another, against the published settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from spec_files import ADAPTER, BASE, ROOT, read, refusal

from mcl_bench.spec import Inexpressible, MutualChannelSpec, from_canonical, notes, to_canonical
from mcl_bench.spec.dialects import SOURCES
from mcl_bench.spec.explanation import explain_loss, idle
from mcl_bench.spec.loss import OPTIONS, PUBLISHED, Dialect

SCRATCH = (3,) * 200
PRETRAINED = (10,) * 152 + (11,) * 48
MAPS = (14, 14)
DIALECTS = get_args(Dialect)


def spec_of(dialect: str = "canonical", **changed: Any) -> MutualChannelSpec:
    return MutualChannelSpec.model_validate({"name": "mc", "dialect": dialect, **changed})


def converted(
    loss: MutualChannelSpec,
    dialect: Any,
    groups: Sequence[int] = SCRATCH,
    map_size: tuple[int, int] = MAPS,
) -> tuple[float, float]:
    """The source's own numbers: what `mu` and `lambda` are in its dialect."""
    found = from_canonical(loss, dialect, groups=groups, map_size=map_size)
    assert isinstance(found, MutualChannelSpec), found
    return found.mu, found.lambda_


def why_not(loss: MutualChannelSpec, dialect: Any, groups: Sequence[int] = SCRATCH) -> str:
    found = from_canonical(loss, dialect, groups=groups, map_size=MAPS)
    assert isinstance(found, Inexpressible), found
    return found.reason


@pytest.mark.parametrize(
    ("written", "weights"),
    [
        (spec_of("official"), (1.5, 20)),
        (spec_of(mu=1.5), (1.5, 15)),
        (spec_of(mu=2.0), (2, 20)),
        (spec_of("official-pretrained"), (0.0005, 0.005)),
        (spec_of("kurumi"), (1.5, 15)),
        (spec_of("kurumi", mu=2.0), (2, 20)),
        (spec_of("kurumi", mu=0.0005), (0.0005, 0.005)),
        (spec_of(mu=0.005), (0.005, 0.05)),
        (spec_of("paper", mu=1.5), (1.5, 45)),
        (spec_of("paper", mu=1.5, **{"lambda": 10 / 3}), (1.5, 15)),
        (spec_of(mu=0.05), (0.05, 0.5)),
        (spec_of(mu=1.0, **{"lambda": 20}), (1, 20)),
        (spec_of("holocron", **{"lambda": 1960 / 3}), (1, 10)),
        (spec_of("holocron"), (1, 3 / 196)),
    ],
)
def test_published_settings_land_on_their_alpha_1_and_beta_1(
    written: MutualChannelSpec, weights: tuple[float, float]
) -> None:
    assert converted(written, "official") == pytest.approx(weights)


def test_the_paper_and_the_authors_default_differ_by_xi_in_lambda() -> None:
    head = spec_of("official")
    assert converted(head, "canonical") == pytest.approx((1.5, 40 / 3))
    assert converted(head, "paper") == pytest.approx((1.5, 40 / 9))


def test_holocron_needs_a_lambda_of_hundreds_for_the_published_weight() -> None:
    assert converted(spec_of(), "holocron") == pytest.approx((1.5, 10 * 196 / 3))
    assert converted(spec_of("paper", mu=1.5), "holocron") == pytest.approx((1.5, 1960))
    assert converted(spec_of(), "holocron", map_size=(7, 14)) == pytest.approx((1.5, 980 / 3))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_published_numbers_are_a_dialects_defaults(dialect: Any) -> None:
    loss = spec_of(dialect)
    own = {"mu": loss.mu, "lambda": loss.lambda_, "mask_ratio": loss.mask_ratio}
    assert own == dict(PUBLISHED[dialect])


@pytest.mark.parametrize("dialect", sorted(SOURCES))
def test_the_published_mask_ratio_drops_what_the_sources_mask_drops(dialect: Any) -> None:
    source = SOURCES[dialect]
    groups = sorted(source.widths or {10, 11})
    dropped = [
        width.dropped
        for width in explain_loss(spec_of(dialect), groups=groups, map_size=MAPS).widths
    ]
    by_source = source.fixed_mask or (lambda xi: int(xi * 0.4))
    assert dropped == [by_source(xi) for xi in groups]


def test_uneven_groups_keep_a_sum_of_group_means_and_an_unnormalised_mean_apart() -> None:
    grouped = to_canonical(spec_of("kurumi"), groups=PRETRAINED, map_size=MAPS)
    assert (grouped.reduction, grouped.diversity, grouped.lambda_) == ("groups", "normalised", 10)
    literal = to_canonical(spec_of("paper"), groups=PRETRAINED, map_size=MAPS)
    assert (literal.reduction, literal.diversity, literal.lambda_) == ("classes", "literal", 10)
    assert why_not(grouped, "official", PRETRAINED) == (
        "no beta_1 makes the mean over classes of h/ξ the same with classes of 10 and 11 channels"
    )
    assert "no lambda_ makes the sum over groups" in why_not(spec_of(), "kurumi", PRETRAINED)
    assert "no alpha makes the mean over classes of h the same" in why_not(
        spec_of(), "holocron", PRETRAINED
    )
    assert converted(grouped, "official-pretrained", PRETRAINED) == (1.5, 10)
    assert converted(literal, "holocron", PRETRAINED) == pytest.approx((0.005, 1960))


def test_groups_of_equally_many_classes_have_one_canonical_form() -> None:
    groups = (4,) * 30 + (5,) * 30
    one = to_canonical(spec_of("kurumi"), groups=groups, map_size=MAPS)
    assert (one.reduction, one.lambda_) == ("classes", 20)


def test_classes_of_one_channel_weigh_nothing_in_any_form() -> None:
    groups = (1,) * 30 + (2,) * 10
    one = to_canonical(spec_of("kurumi"), groups=groups, map_size=MAPS)
    assert (one.reduction, one.diversity, one.lambda_) == ("classes", "normalised", 40)
    none = to_canonical(spec_of("kurumi"), groups=(1, 1), map_size=MAPS)
    assert none.lambda_ == 0


def test_decimals_stay_exact() -> None:
    assert to_canonical(spec_of("paper", **{"lambda": 0.1}), groups=(3, 3), map_size=MAPS) == (
        spec_of(mu=0.005, **{"lambda": 0.3}, mask_scope="batch", mask_fill="zero").model_copy()
    )
    assert 0.1 * 3 != 0.3


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"mask_scope": "sample"}, "mask_scope: sample"),
        ({"mask_draw": "once"}, "mask_draw: once"),
        ({"mask_fill": "minus_inf"}, "mask_fill: minus_inf"),
    ],
)
def test_a_mask_of_ours_alone_has_no_counterpart_unless_it_drops_nothing(
    option: dict[str, str], reason: str
) -> None:
    for dialect in SOURCES:
        assert reason in why_not(spec_of(**option), dialect)
        converted(spec_of(**option, mask_ratio=0.2), dialect)
        converted(spec_of(**option), dialect, groups=(1, 1))


@settings(max_examples=200, deadline=None)
@given(
    dialect=st.sampled_from(DIALECTS),
    other=st.sampled_from(DIALECTS),
    mu=st.floats(0.001, 100),
    lambda_=st.just(0.0) | st.floats(1e-6, 100),
    num_classes=st.integers(1, 9),
    more=st.integers(0, 30),
    map_size=st.tuples(st.integers(1, 30), st.integers(2, 30)),
)
def test_there_and_back_is_the_same_loss(
    dialect: Any,
    other: Any,
    mu: float,
    lambda_: float,
    num_classes: int,
    more: int,
    map_size: tuple[int, int],
) -> None:
    width, wider = divmod(num_classes + more, num_classes)
    groups = (width,) * (num_classes - wider) + (width + 1,) * wider
    around: dict[str, Any] = {"groups": groups, "map_size": map_size}
    written = spec_of(dialect, mu=mu, **{"lambda": lambda_})
    canonical = to_canonical(written, **around)
    assert to_canonical(canonical, **around) == canonical
    there = from_canonical(written, other, **around)
    if isinstance(there, Inexpressible):
        assert lambda_ > 0
        assert len(set(groups)) == 2
        return
    back = to_canonical(there, **around)
    assert (back.mu, back.mask_ratio) == (canonical.mu, canonical.mask_ratio)
    assert (back.reduction, back.diversity) == (canonical.reduction, canonical.diversity)
    assert back.lambda_ == pytest.approx(canonical.lambda_, rel=1e-9)


@pytest.mark.parametrize("key", OPTIONS)
def test_an_option_beside_another_dialect_is_refused_with_its_place(
    tmp_path: Path, key: str
) -> None:
    usual = MutualChannelSpec.model_fields[key].default
    loss = f"mc:\n    loss:\n      name: mc\n      dialect: official\n      {key}: {usual}"
    text = BASE.replace("mc: {loss: {name: mc}}", loss)
    error = refusal(tmp_path, text)
    assert error.place == "x.yaml:11"
    assert error.key == f"arms.mc.loss.{key}"
    assert error.rule == (
        f"arms.mc.loss.{key} is of dialect: canonical, and dialect: official has its own"
    )


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        ("dialect: official, mu: 0", "arms.mc.loss.lambda must be 0 where mu is 0, got 20"),
        ("mask_draw: once, mask_scope: sample", "arms.mc.loss.mask_draw must be step with"),
        ("dialect: oficial", "arms.mc.loss.dialect must be one of canonical, paper"),
        ("mask_fill: one", "arms.mc.loss.mask_fill must be one of zero, minus_inf, got 'one'"),
    ],
)
def test_settings_without_a_meaning_are_refused(tmp_path: Path, loss: str, rule: str) -> None:
    error = refusal(tmp_path, BASE.replace("{name: mc}", f"{{name: mc, {loss}}}"))
    assert error.place == "x.yaml:7"
    assert error.rule.startswith(rule)


def test_a_range_that_reaches_what_has_no_meaning_is_refused(tmp_path: Path) -> None:
    text = BASE.replace("{name: mc}", "{name: mc, dialect: official}")
    text += "search: {space: {arms.mc.loss.mu: {float: [0, 1]}}}\n"
    error = refusal(tmp_path, text)
    assert error.place == "x.yaml:8"
    assert "reaches 0.0, but arms.mc.loss.lambda must be 0 where mu is 0" in error.rule


def test_a_dialect_is_not_searched(tmp_path: Path) -> None:
    space = "search: {space: {arms.mc.loss.dialect: {choice: [canonical, official]}}}\n"
    assert "no cell can search this key" in refusal(tmp_path, BASE + space).rule


def test_a_loss_in_python_is_held_to_the_same_rules() -> None:
    with pytest.raises(ValidationError, match="mask_fill is of dialect: canonical"):
        MutualChannelSpec(name="mc", dialect="paper", mask_fill="zero")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_loads_again_from_what_is_shown(tmp_path: Path, dialect: str) -> None:
    text = BASE.replace("{name: mc}", f"{{name: mc, dialect: {dialect}}}")
    (cell,) = (cell for cell in read(tmp_path, text).cells if cell.arm == "mc")
    shown = cell.spec.loss.model_dump(mode="json", by_alias=True)
    assert MutualChannelSpec.model_validate(shown) == cell.spec.loss
    assert (set(OPTIONS) <= set(shown)) == (dialect == "canonical")
    assert cell.settings({"loss.mu": 2.0})["loss.mu"] == 2.0


def test_every_mask_and_diversity_option_can_be_searched(tmp_path: Path) -> None:
    choices = {
        "mask_scope": "batch, sample",
        "mask_fill": "zero, minus_inf",
        "mask_draw": "step, once",
        "reduction": "classes, groups",
        "diversity": "normalised, literal",
    }
    for key, values in choices.items():
        space = f"search: {{space: {{arms.mc.loss.{key}: {{choice: [{values}]}}}}}}\n"
        cell = read(tmp_path, BASE + space).cells[1]
        assert list(cell.space) == [f"loss.{key}"]


@pytest.mark.parametrize(
    ("changed", "groups", "keys"),
    [
        ({"mu": 0}, (3, 3), {"lambda", "mask_ratio", *OPTIONS}),
        ({"dialect": "kurumi", "mu": 0}, (3, 3), {"lambda", "mask_ratio"}),
        ({}, (1, 1), {"lambda", "mask_ratio", *OPTIONS}),
        ({}, (3, 3), {"reduction"}),
        ({}, (3, 4), set()),
        ({}, None, set()),
        ({"lambda": 0}, (3, 4), {"reduction", "diversity"}),
        (
            {"mask_ratio": 0.3},
            (3, 3),
            {"reduction", "mask_ratio", "mask_scope", "mask_fill", "mask_draw"},
        ),
        ({"mask_ratio": 0.3}, (3, 4), set()),
        ({"mask_ratio": 0}, None, {"mask_ratio", "mask_scope", "mask_fill", "mask_draw"}),
    ],
)
def test_what_cannot_matter_is_known(
    changed: dict[str, Any], groups: tuple[int, ...] | None, keys: set[str]
) -> None:
    assert set(idle(spec_of(**changed), groups)) == keys


def test_an_explanation_warns_of_rare_classes_that_weigh_more() -> None:
    explained = explain_loss(spec_of("official-pretrained"), groups=PRETRAINED, map_size=MAPS)
    assert explained.warnings == (
        "the sum over groups weighs the 48 classes of 11 channels 3.2 times as much as the 152 "
        "of 10",
    )
    one, two = explain_loss(spec_of(mask_ratio=0.4), groups=(1, 1, 2, 3), map_size=MAPS).warnings
    assert one == "2 classes have one channel: lambda and the mask pass them by"
    assert two == "the mask drops nothing of 2 channels: 0 of 1 and 0 of 2 and 1 of 3"


def test_an_explanation_warns_of_a_zero_mask_on_maps_below_zero() -> None:
    around: dict[str, Any] = {"groups": SCRATCH, "map_size": MAPS}
    (warning,) = explain_loss(spec_of("official"), **around, signed=True).warnings
    assert warning.startswith("the maps can be below zero")
    for changed in ({"mask_fill": "minus_inf"}, {"mask_ratio": 0.2}, {"mu": 0}):
        assert explain_loss(spec_of(**changed), **around, signed=True).warnings == ()
    assert explain_loss(spec_of(), **around).warnings == ()


def test_a_searched_option_of_another_dialect_is_refused(tmp_path: Path) -> None:
    text = BASE.replace("{name: mc}", "{name: mc, dialect: official}")
    space = "search: {space: {arms.mc.loss.mask_fill: {choice: [zero, minus_inf]}}}\n"
    error = refusal(tmp_path, text + space)
    assert error.place == "x.yaml:8"
    assert error.rule.endswith("is searched by no cell: dialect: official has its own mask_fill")


def test_settings_that_cannot_matter_are_noted_where_the_file_tells(tmp_path: Path) -> None:
    space = "search: {space: {arms.mc.loss.mask_ratio: {float: [0.4, 0.6]}}}\n"
    (_, note) = notes(read(tmp_path, ADAPTER + space))
    assert note == (
        "loss.mask_ratio cannot matter: every value of its range drops 1 of 3 channels "
        "(in parts-convnet-mc)"
    )
    zero = ADAPTER.replace("{name: mc}", "{name: mc, mu: 0}") + "search: {trials: 1}\n"
    (note,) = notes(read(tmp_path, zero))
    assert note.startswith("loss.lambda, loss.mask_ratio cannot matter: mu is 0")
    one = ADAPTER.replace("adapter}", "adapter, xi: 1}") + "search: {trials: 1}\n"
    assert len(notes(read(tmp_path, one))) == 2
    assert notes(read(tmp_path, BASE + "search: {trials: 1}\n")) == []
    few = ADAPTER.replace("{name: mc}", "{name: mc, mask_ratio: 0.3}")
    (note,) = notes(read(tmp_path, few + "search: {trials: 1}\n"))
    assert note == (
        "loss.mask_ratio cannot matter: the mask drops no channel: 0 of 3 (in parts-convnet-mc)"
    )


def test_a_searched_mu_or_xi_leaves_nothing_to_note(tmp_path: Path) -> None:
    text = ADAPTER.replace("adapter}", "adapter, xi: 1}").replace("mc}", "mc, mu: 0}")
    space = "search: {space: {model.xi: {int: [1, 3]}, arms.mc.loss.mu: {float: [0, 1]}}}\n"
    assert notes(read(tmp_path, text + space)) == []


def test_the_page_on_losses_has_every_dialect_as_it_is() -> None:
    lines = (ROOT / "docs/losses.md").read_text(encoding="utf-8").splitlines()
    rows = {
        cells[1].strip("`"): cells
        for cells in ([cell.strip() for cell in line.split("|")] for line in lines)
        if len(cells) == 8
    }
    for dialect, numbers in PUBLISHED.items():
        _, _, title, formula, names, defaults, mask, _ = rows[dialect]
        assert defaults == ", ".join(f"{number:g}" for number in numbers.values())
        if dialect in SOURCES:
            source = SOURCES[dialect]
            assert (title, formula, mask) == (source.title, source.formula, source.mask)
            assert names == f"{source.names['mu']}, {source.names['lambda']}"
    options = {line.split("|")[1].strip(" `") for line in lines if line.startswith("| `")}
    assert set(OPTIONS) <= options
