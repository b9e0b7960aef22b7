"""What the data room refuses before anything starts, and the sets that come with a package."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcl_bench import data
from mcl_bench.data.catalog.elpv import Elpv
from mcl_bench.data.catalog.source import Fault
from mcl_bench.records import DataError, TestGrant, UserError
from mcl_bench.spec.schema import (
    CrossEntropySpec,
    DataSpec,
    ModelSpec,
    ShortSide,
    TrainSpec,
    TrialSpec,
)
from mcl_bench.spec.space import Choice

HAS_ELPV = importlib.util.find_spec("elpv_dataset") is not None
needs_elpv = pytest.mark.skipif(not HAS_ELPV, reason="needs the extra elpv")


@dataclass(frozen=True)
class Cell:
    spec: TrialSpec
    data_label: str
    space: Mapping[str, Choice]


@dataclass(frozen=True)
class Experiment:
    cells: tuple[Cell, ...]


def experiment(*specs: DataSpec, searched: Sequence[str] = ()) -> Experiment:
    return Experiment(
        tuple(
            Cell(
                TrialSpec(
                    data=spec,
                    model=ModelSpec(backbone="convnet"),
                    loss=CrossEntropySpec(name="ce"),
                    train=TrainSpec(),
                ),
                f"{spec.name}_{number}",
                {"data.augment": Choice(values=tuple(searched))} if searched else {},
            )
            for number, spec in enumerate(specs)
        )
    )


def parts(**changes: Any) -> DataSpec:
    return DataSpec(name="parts", **{"resize": 64, "crop": 64, **changes})


@pytest.mark.parametrize(
    ("spec", "key", "words"),
    [
        (parts(resize=ShortSide(short=9)), "data.resize", "{short: 9}"),
        (parts(crop=65), "data.crop", "got 65 and 64"),
        (parts(augment="crop_flp"), "data.augment", "did you mean crop_flip?"),
        (parts(augment="crop_flip+mixups"), "data.augment", "did you mean mixup?"),
        (parts(augment="randaugment+crop_flip"), "data.augment", "write crop_flip+randaugment"),
        (parts(augment="mixup+cutmix"), "data.augment", "mixup or cutmix once"),
        (parts(augment="none+dihedral"), "data.augment", "a crop once"),
        (parts(augment="crop_flip+"), "data.augment", "got ''"),
        (parts(augment="paper_scratch"), "data.augment", "resize: 224 and crop: 224"),
        (parts(augment="paper_finetune+mixup"), "data.augment", "600 and data.crop 448"),
        (parts(root="/somewhere"), "data.root", "'/somewhere'"),
        (parts(options={"clases": 3}), "data.options.clases", "did you mean classes?"),
        (parts(options={"classes": 1}), "data.options.classes", "got 1"),
        (parts(options={"classes": "12"}), "data.options.classes", "got '12'"),
        (parts(options={"parts": 1}), "data.options.parts", "got 1"),
        (parts(validation="official"), "data.validation", "parts has no validation split"),
        (DataSpec(name="cub"), "data.name", "got 'cub'"),
        (DataSpec(name="digits", options={"size": 3}), "data.options.size", "digits"),
        (DataSpec(name="folder"), "data.root", "got none"),
    ],
)
def test_a_value_that_cannot_be_served_is_refused_with_key_and_value(
    spec: DataSpec, key: str, words: str
) -> None:
    with pytest.raises(UserError) as raised:
        data.check(experiment(spec))
    assert raised.value.key == key
    assert words in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_recipe_that_is_searched_is_checked_like_one_that_is_set() -> None:
    data.check(experiment(parts(), searched=["none", "crop_flip+rotate+mixup"]))
    with pytest.raises(UserError, match="got 'spin'"):
        data.check(experiment(parts(), searched=["none", "spin"]))


@pytest.mark.parametrize(
    ("name", "resize", "crop"), [("scratch", 224, 224), ("finetune", 600, 448)]
)
def test_the_papers_recipes_are_for_the_papers_sizes(name: str, resize: int, crop: int) -> None:
    data.check(experiment(parts(augment=f"paper_{name}", resize=resize, crop=crop)))
    with pytest.raises(UserError, match=f"data.resize {resize} and data.crop {crop}"):
        data.check(experiment(parts(augment=f"paper_{name}", resize=resize, crop=crop - 32)))


def test_good_data_pass(flat: Path) -> None:
    specs = [parts(augment=name, balance="sampling") for name in ("none", "dihedral")]
    specs += [DataSpec(name="digits", resize=8, crop=8), DataSpec(name="folder", root=str(flat))]
    data.check(experiment(*specs))


def test_official_validation_needs_a_val_folder(flat: Path, split: Path) -> None:
    data.check(experiment(DataSpec(name="folder", root=str(split), validation="official")))
    with pytest.raises(UserError, match="needs a folder val/"):
        data.check(experiment(DataSpec(name="folder", root=str(flat), validation="official")))


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (parts(test=0.3), "data.test"),
        (parts(max_faults=2), "data.max_faults"),
        (DataSpec(name="digits", max_faults=2), "data.max_faults"),
    ],
)
def test_a_value_that_no_data_can_use_is_refused(spec: DataSpec, key: str) -> None:
    with pytest.raises(UserError, match=f"{key} says nothing of {spec.name}, got") as raised:
        data.check(experiment(spec))
    assert raised.value.key == key


def test_a_share_of_test_images_is_used_where_no_test_folder_is(flat: Path, split: Path) -> None:
    cut, given = (DataSpec(name="folder", root=str(root), test=0.3) for root in (flat, split))
    data.check(experiment(cut))
    data.check(experiment(given, cut, parts(test=0.3)))
    with pytest.raises(UserError, match=r"data\.test says nothing of folder, got 0\.3"):
        data.check(experiment(given, parts(), DataSpec(name="digits", test=0.4)))


def test_a_missing_root_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as raised:
        data.check(experiment(DataSpec(name="folder", root=str(tmp_path / "no"))))
    assert raised.value.exit_code == 3


def test_of_several_data_the_faulty_one_is_named() -> None:
    with pytest.raises(UserError, match=r"\(data parts_1\)") as raised:
        data.check(experiment(parts(), parts(crop=65)))
    assert raised.value.key == "data.crop"


def test_check_writes_nothing(flat: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    data.check(experiment(DataSpec(name="folder", root=str(flat))))
    assert sorted(tmp_path.rglob("*")) == before


def test_the_catalog_tells_its_facts() -> None:
    facts = {one.name: one for one in data.names()}
    assert list(facts) == sorted(facts)
    assert set(facts) >= {"aircraft", "cars", "cub200", "dogs", "elpv", "flowers102", "pets"}
    rootless = {name for name, one in facts.items() if not one.needs_root}
    assert rootless == {"parts", "elpv", "digits"}
    assert facts["elpv"].licence == "CC-BY-NC-SA-4.0"
    for one in facts.values():
        assert all((one.title, one.images, one.citation, one.licence))


def test_digits_are_those_of_scikit_learn(store: Path, grant: TestGrant) -> None:
    from sklearn.datasets import load_digits

    spec = DataSpec(name="digits", resize=8, crop=8)
    packed = data.prepare(spec, store=store)
    assert packed.num_train + packed.num_test == 1797
    assert packed.classes == tuple("0123456789")
    test = data.open_test(packed, grant)
    assert torch.bincount(test.labels).min() >= 34
    digits: Any = load_digits()
    for position in (0, 100, 300):
        number = int(test.ids[position])
        pixels = test.pixels[torch.tensor([position])][0].numpy()
        assert (pixels == pixels[:1]).all()
        assert np.array_equal(np.rint(pixels[0] / 255 * 16), digits.images[number])
        assert test.labels[position] == digits.target[number]


@needs_elpv
def test_elpv_has_its_four_grades(store: Path) -> None:
    def labels(kind: str) -> list[int]:
        spec = DataSpec(name="elpv", options={"types": kind})
        return [member.label for member in Elpv().open(spec, cache=store).members]

    counts = {kind: np.bincount(labels(kind)).tolist() for kind in ("all", "mono", "poly")}
    assert counts == {
        "all": [1508, 295, 106, 715],
        "mono": [588, 117, 56, 313],
        "poly": [920, 178, 50, 402],
    }


@needs_elpv
def test_elpv_is_packed_with_a_stratified_test_cut(store: Path, grant: TestGrant) -> None:
    spec = DataSpec(name="elpv", resize=32, crop=32, options={"types": "mono"})
    packed = data.prepare(spec, store=store)
    assert (packed.num_train, packed.num_test) == (859, 215)
    test = data.open_test(packed, grant)
    assert torch.bincount(test.labels).tolist() == [118, 23, 11, 63]
    assert not set(test.ids) & set(data.open_train(packed).ids)
    brightness = test.pixels[torch.arange(len(test))].float().mean().item() / 255
    assert 0.4 < brightness < 0.75


def test_without_its_package_elpv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(DataError) as raised:
        Elpv().check(DataSpec(name="elpv"))
    assert "pip install 'mcl-bench[elpv]'" in str(raised.value)
    assert raised.value.exit_code == 3


def test_a_damaged_elpv_is_told_and_its_faults_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(1, 7):
        (images / f"cell{number}.png").write_bytes(b"\x89PNG")
    (images / "cell2.png").unlink()
    (tmp_path / "labels.csv").write_text(
        "images/cell1.png 0.0 mono\nimages/cell2.png 1.0 mono\nimages/cell3.png 0.5 mono\n"
        "images/cell4.png  mono\nimages/cell5.png 0.3333333333333333 poly\n"
        "images/cell1.png 0.0 mono\n../cell.png 0.0 mono\n"
    )
    monkeypatch.setattr("mcl_bench.data.catalog.elpv._package_data", lambda: tmp_path)
    found: list[Fault] = []
    root, source = Elpv().inspect(
        DataSpec(name="elpv"), cache=tmp_path / "cache", report=found.append
    )
    assert root == tmp_path
    assert [(fault.kind, fault.file) for fault in found] == [
        ("label", "images/cell3.png"),
        ("corrupt", "labels.csv"),
        ("duplicate", "images/cell1.png"),
        ("path", "../cell.png"),
        ("orphan", "images/cell6.png"),
        ("missing", "images/cell2.png"),
    ]
    assert [member.id for member in source.members] == ["images/cell1.png", "images/cell5.png"]
    with pytest.raises(DataError, match=r"labels\.csv:3: images/cell3\.png has another grade"):
        Elpv().open(DataSpec(name="elpv"), cache=tmp_path / "cache")


def test_a_val_folder_that_is_not_validated_on_is_told_once(split: Path, flat: Path) -> None:
    by_share = DataSpec(name="folder", root=str(split), resize=8, crop=8)
    (note,) = data.notes(experiment(by_share, parts(), by_share))
    assert f"val/ of {split} are taken as training images" in note
    assert "0.1 of both is validated on; data.validation: official" in note
    official = by_share.model_copy(update={"validation": "official"})
    assert data.notes(experiment(official, DataSpec(name="folder", root=str(flat)))) == []


def test_what_is_told_of_a_val_folder_is_what_is_done(split: Path, store: Path) -> None:
    chosen = DataSpec(name="folder", root=str(split), resize=8, crop=8, validation=0.5)
    packed = data.prepare(chosen, store=store)
    images = data.open_train(packed)
    assert images.official.sum() == 4
    sides = data.cut(images.labels, digest=packed.digest, data=chosen, official=images.official)
    assert len(sides.train) == len(sides.validation) == 8
    assert any(images.official[index] for index in sides.train.tolist())
