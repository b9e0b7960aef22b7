"""Photographs of one object are never on both sides of a cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_data_splits import labels_of, spec

from mcl_bench import data
from mcl_bench.data.catalog import DATASETS
from mcl_bench.data.splits import cut, cut_test
from mcl_bench.records import DataError, TestGrant

Images = list[tuple[int, str]]


def held(images: Images, share: float, *, digest: str = "d", seed: int = 0) -> list[bool]:
    labels = torch.tensor([label for label, _ in images])
    groups = [group for _, group in images]
    data_spec = spec(validation=share, split_seed=seed)
    found = cut(labels, digest=digest, data=data_spec, groups=groups)
    assert sorted([*found.train.tolist(), *found.validation.tolist()]) == list(range(len(images)))
    on = torch.zeros(len(images), dtype=torch.bool)
    on[found.validation] = True
    return on.tolist()


def sides(images: Images, on: Sequence[bool]) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for (_, group), side in zip(images, on, strict=True):
        found.setdefault(group, set()).add(side)
    return found


@given(
    groups=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=5),
    share=st.floats(0.02, 0.98),
    seed=st.integers(0, 2),
)
def test_no_group_is_parted_and_a_class_of_two_groups_is_on_both_sides(
    groups: list[list[int]], share: float, seed: int
) -> None:
    images = [
        (label, f"{label}-{number}")
        for label, sizes in enumerate(groups)
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]
    on = held(images, share, seed=seed)
    assert all(len(side) == 1 for side in sides(images, on).values())
    for label, sizes in enumerate(groups):
        own = [side for (of, _), side in zip(images, on, strict=True) if of == label]
        assert not all(own)
        assert any(own) == (len(sizes) > 1)


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from("abcdefgh")), min_size=1, max_size=60
    ),
    share=st.floats(0.05, 0.6),
)
def test_groups_of_several_classes_stay_whole_and_leave_every_class_to_train_on(
    pairs: Images, share: float
) -> None:
    on = held(pairs, share)
    assert all(len(side) == 1 for side in sides(pairs, on).values())
    trained = {label for (label, _), side in zip(pairs, on, strict=True) if not side}
    assert trained == {label for label, _ in pairs}


def test_a_share_of_even_groups_is_held_out_of_each_class() -> None:
    images = [(k, f"{k}/{g}") for k in range(4) for g in range(20) for _ in range(3)]
    on = held(images, 0.2)
    counts = [sum(o for (k, _), o in zip(images, on, strict=True) if k == own) for own in range(4)]
    assert counts == [12] * 4


def test_the_cut_knows_neither_the_order_nor_the_names_of_the_images() -> None:
    rng = np.random.default_rng(0)
    images = [(g % 3, f"g{g}") for g in range(30) for _ in range(int(rng.integers(1, 6)))]
    first = sides(images, held(images, 0.2))
    for _ in range(3):
        turned = [images[place] for place in rng.permutation(len(images))]
        assert sides(turned, held(turned, 0.2)) == first
    assert first != sides(images, held(images, 0.2, digest="e"))
    assert first != sides(images, held(images, 0.2, seed=1))


def test_the_test_cut_keeps_groups_whole_too() -> None:
    images = [(k, f"{k}/{g}") for k in range(2) for g in range(10) for _ in range(2)]
    labels, groups = [k for k, _ in images], [g for _, g in images]
    on = cut_test(labels, digest="d", share=0.2, groups=groups)
    assert sum(on) == 8
    assert all(len(side) == 1 for side in sides(images, on).values())
    assert on == cut_test(labels, digest="d", share=0.2, groups=groups)


def test_thousands_of_classes_of_few_large_groups_are_cut_at_once() -> None:
    images = [(k, f"{k}/{g}") for k in range(3000) for g in range(2) for _ in range(4)]
    on = held(images, 0.1)
    assert sum(on) == 3000 * 4


def test_classes_of_one_group_each_leave_nothing_to_test_on() -> None:
    with pytest.raises(DataError, match="no test image: each class has one group only"):
        cut_test([0, 0, 1, 1], digest="d", share=0.5, groups=["a", "a", "b", "b"])


def test_without_groups_the_cut_is_what_it_was() -> None:
    """These were worked out before there were groups: results rest on them."""
    found = cut(labels_of(8, 6), digest="d", data=spec(validation=0.25))
    assert found.validation.tolist() == [0, 5, 8, 11]
    on = cut_test([0] * 9 + [1] * 6, digest="d", share=0.3)
    assert [place for place, side in enumerate(on) if side] == [0, 4, 8, 10, 14]


def test_a_group_on_both_official_sides_is_refused() -> None:
    official = torch.tensor([False, True, False, True])
    options: Any = {"digest": "d", "data": spec(validation="official"), "official": official}
    cut(labels_of(4), **options, groups=["a", "b", "a", "c"])
    with pytest.raises(DataError, match="the group 'a' has images in training"):
        cut(labels_of(4), **options, groups=["a", "a", "b", "c"])


def write_groups(root: Path, *, size: int = 3) -> dict[str, str]:
    """A group of `size` images in a row, as `groups.csv` says."""
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    groups = {
        path: f"{Path(path).parent.name} {int(Path(path).stem) // size}, bird" for path in paths
    }
    lines = [f'{path},"{group}"' for path, group in groups.items()]
    (root / "groups.csv").write_text("\n".join(["path,group", *lines]) + "\n")
    return groups


def test_a_folders_groups_are_packed_and_cut_whole(
    flat: Path, store: Path, grant: TestGrant
) -> None:
    plain = data.prepare(spec_of(flat), store=store)
    assert data.open_train(plain).groups is None
    groups = write_groups(flat)
    packed = data.prepare(spec_of(flat), store=store)
    assert packed.digest != plain.digest
    train, test = data.open_train(packed), data.open_test(packed, grant)
    assert train.groups == tuple(groups[name] for name in train.ids)
    assert not set(train.groups) & {groups[name] for name in test.ids}
    assert len(train) + len(test) == 26
    found = data.cut(train.labels, digest=packed.digest, data=spec_of(flat), groups=train.groups)
    learnt = {train.groups[place] for place in found.train.tolist()}
    judged = {train.groups[place] for place in found.validation.tolist()}
    assert judged
    assert not learnt & judged


def test_another_group_makes_other_data_and_another_order_of_lines_does_not(flat: Path) -> None:
    def digest() -> str:
        return DATASETS["folder"].open(spec_of(flat), cache=flat.parent / "cache").digest

    write_groups(flat)
    first = digest()
    lines = (flat / "groups.csv").read_text().splitlines()
    (flat / "groups.csv").write_text("\r\n".join(["\ufeffPath,Group", *reversed(lines[1:])]))
    assert digest() == first
    (flat / "groups.csv").write_text("\n".join([*lines[:-1], "c/014.png,another"]))
    assert digest() != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: ["name,object", *lines[1:]], "groups.csv:1: must begin with path,group"),
        (lambda _: [], "must begin with path,group, got ''"),
        (lambda lines: [*lines, "a/999.png,x"], "groups.csv:28: .*a/999.png is no image"),
        (lambda lines: [*lines, "../a/000.png,x"], "a/000.png is no image"),
        (lambda lines: [*lines, lines[1]], "groups.csv:28: .*has a group in groups.csv:2 already"),
        (lambda lines: lines[:-1], "c/014.png: has no line in groups.csv"),
        (lambda lines: [lines[0], "a/000.png", *lines[2:]], "groups.csv:2: must have a path and"),
        (lambda lines: [lines[0], "a/000.png, ", *lines[2:]], "groups.csv:2: must have a path and"),
        (lambda lines: [*lines, 'a/000.png,"x'], "groups.csv: can't be read"),
    ],
)
def test_what_is_wrong_with_groups_is_told_with_its_line(
    flat: Path, change: Any, words: str
) -> None:
    write_groups(flat)
    lines = (flat / "groups.csv").read_text().splitlines()
    (flat / "groups.csv").write_text("\n".join(change(lines)))
    with pytest.raises(DataError, match=words) as raised:
        DATASETS["folder"].open(spec_of(flat), cache=flat.parent / "cache")
    assert "mend groups.csv" in str(raised.value.remedy)


def test_verify_names_what_is_wrong_with_groups_and_looks_at_the_images(flat: Path) -> None:
    write_groups(flat)
    lines = (flat / "groups.csv").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("b/001.png")]
    (flat / "groups.csv").write_text("\n".join([*lines, "a/999.png,x", "no line"]))
    (flat / "c/001.png").write_bytes(b"")
    found = data.verify(spec_of(flat), cache=flat.parent / "cache")
    assert found.images == 26
    assert [(fault.kind, fault.file) for fault in found.faults] == [
        ("missing", "a/999.png"),
        ("orphan", "b/001.png"),
        ("empty", "c/001.png"),
        ("corrupt", "groups.csv"),
    ]


def test_groups_that_are_no_text_are_told(flat: Path) -> None:
    (flat / "groups.csv").write_bytes(b"path,group\n\xff\xfe,x\n")
    with pytest.raises(DataError, match=r"groups.csv: can't be read"):
        DATASETS["folder"].open(spec_of(flat), cache=flat.parent / "cache")


def test_a_group_in_train_and_in_test_is_refused(split: Path) -> None:
    paths = sorted(path.relative_to(split).as_posix() for path in split.rglob("*.png"))
    shared = {"train/x/000.png", "test/x/000.png"}
    lines = [f"{path},{'same' if path in shared else path}" for path in paths]
    (split / "groups.csv").write_text("\n".join(["path,group", *lines]))
    with pytest.raises(DataError, match=r"test/x/000.png is a test image of group 'same'"):
        DATASETS["folder"].open(spec_of(split), cache=split.parent / "cache")


def spec_of(root: Path) -> Any:
    return spec(name="folder", root=str(root), resize=16, crop=16, validation=0.3, test=0.3)
