"""The contract of a dataset."""

# N images, S stored pixels a side, c cropped pixels a side

import dataclasses
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcl_bench import data as room
from mcl_bench.data.catalog import DATASETS, groups_of
from mcl_bench.data.catalog.source import Dataset, Fault, Source
from mcl_bench.data.check import UNUSED
from mcl_bench.records import DataError, TestGrant, UserError
from mcl_bench.spec.defaults import SIZES, validation_of
from mcl_bench.spec.schema import DataSpec

GRANT = TestGrant(cell="contract", key="0" * 16, seed=0, entry="0" * 64)


class DatasetContract:
    """What every dataset keeps: `class TestMine(DatasetContract)` with a fixture `spec`.

    `spec` gives a DataSpec whose root, if it has one, is a tree that is sound and small: every
    image of it is decoded once, and the tree is copied. It needs `resize` and `crop`. The fixture
    may be parametrised and has the scope of the class, as the others here have. A dataset that
    the catalog doesn't have is given by the fixture `dataset`.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> DataSpec:
        """The data; a suite must give its own."""
        raise NotImplementedError("a DatasetContract needs a fixture named spec")

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, spec: DataSpec) -> Dataset:
        """The catalog's entry; a suite may give one that the catalog doesn't have."""
        return DATASETS[spec.name]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def catalog(cls, spec: DataSpec, dataset: Dataset) -> Iterator[None]:
        """The catalog has the dataset while its contract is held against it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(DATASETS, spec.name, dataset)
            patch.setitem(SIZES, spec.name, SIZES.get(spec.name, SIZES["folder"]))
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder for the store and for hashes."""
        return tmp_path_factory.mktemp("contract")

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, spec: DataSpec, dataset: Dataset, place: Path) -> Source:
        """The opened source."""
        return dataset.open(spec, cache=place / "listings")

    @pytest.fixture(scope="class")
    @classmethod
    def packed(cls, spec: DataSpec, source: Source, place: Path) -> room.Packed:  # noqa: ARG003
        """The packed set."""
        return room.prepare(spec, store=place)

    def test_its_facts_are_complete(self, spec: DataSpec, dataset: Dataset, source: Source) -> None:
        """Name, citation, licence and origin are told, and archives can be got and checked."""
        facts = dataset.facts
        assert facts.name == spec.name
        for told in (facts.title, facts.images, facts.citation, facts.licence, *facts.traps):
            assert told.strip() == told != ""
        assert facts.needs_root == (spec.root is not None)
        assert facts.classes is None or not facts.needs_root or len(source.classes) <= facts.classes
        assert all(count > 0 for count in facts.counts.values())
        assert not facts.archives or facts.folder
        names = [archive.name for archive in facts.archives]
        assert len(set(names)) == len(names)
        for archive in facts.archives:
            for url in (archive.page, *archive.urls):
                assert re.fullmatch(r"https?://\S+", url), url
            assert archive.md5 is None or re.fullmatch(r"[0-9a-f]{32}", archive.md5)
            assert not Path(archive.folder).is_absolute()

    def test_its_check_passes_and_refuses_an_unknown_option_by_name(
        self, spec: DataSpec, dataset: Dataset
    ) -> None:
        """Good data pass without a word; an option that it doesn't have is told by its key."""
        dataset.check(spec)
        assert set(dataset.unused(spec)) <= set(UNUSED)
        options = {**spec.options, "no_such_option": 1}
        with pytest.raises(UserError) as caught:
            dataset.check(spec.model_copy(update={"options": options}))
        assert caught.value.key == "data.options.no_such_option"

    def test_a_root_that_is_absent_is_told_by_its_key(
        self, spec: DataSpec, dataset: Dataset, tmp_path: Path
    ) -> None:
        """Where there is a root to give, none and one that isn't there are told; else any is."""
        absent = spec.model_copy(update={"root": str(tmp_path / "absent")})
        with pytest.raises(DataError if dataset.facts.needs_root else UserError) as caught:
            dataset.check(absent)
        assert caught.value.key == "data.root"
        assert str(tmp_path / "absent") in str(caught.value)
        if dataset.facts.needs_root:
            with pytest.raises(UserError, match=r"data\.root"):
                dataset.check(spec.model_copy(update={"root": None}))

    def test_members_are_sorted_and_every_class_is_used_in_training(self, source: Source) -> None:
        """Ids are sorted and each is there once; labels count the classes, and each is trained."""
        ids = [member.id for member in source.members]
        assert ids == sorted(set(ids))
        assert len(source.classes) == len(set(source.classes)) >= 2
        labels = range(len(source.classes))
        assert all(member.label in labels for member in source.members)
        trained = {member.label for member in source.members if member.split in ("train", None)}
        assert trained == set(labels)

    def test_splits_are_all_given_or_none(
        self, spec: DataSpec, dataset: Dataset, source: Source
    ) -> None:
        """A dataset has an official test split, which makes `data.test` say nothing, or none."""
        splits = {member.split for member in source.members}
        assert splits == {None} or {"train", "test"} <= splits <= {"train", "validation", "test"}
        assert ("test" in dataset.unused(spec)) == (splits != {None})

    def test_train_and_test_share_no_image(self, source: Source, packed: room.Packed) -> None:
        """No test image is trained on, by its id or by its bytes."""
        sides = (room.open_train(packed).ids, room.open_test(packed, GRANT).ids)
        assert sorted([*sides[0], *sides[1]]) == [member.id for member in source.members]
        index = {member.id: number for number, member in enumerate(source.members)}
        train, test = ({_bytes_of(source, index[one]) for one in side} for side in sides)
        assert not train & test

    def test_the_digest_is_the_same_again_and_elsewhere(
        self, spec: DataSpec, dataset: Dataset, source: Source, tmp_path: Path
    ) -> None:
        """64 hex digits that know neither the time nor the place of the files."""
        assert re.fullmatch("[0-9a-f]{64}", source.digest)
        assert dataset.open(spec, cache=tmp_path / "cache").digest == source.digest
        if spec.root is not None:
            moved = _copied(spec, tmp_path)
            assert dataset.open(moved, cache=tmp_path / "cache").digest == source.digest

    def test_the_digest_changes_with_an_image_and_with_a_label(
        self, spec: DataSpec, dataset: Dataset, source: Source, tmp_path: Path
    ) -> None:
        """One more byte makes another digest, and so do two classes' images that change places."""
        if spec.root is None:
            pytest.skip("its images lie in no files of the user's")
        copy = _copied(spec, tmp_path)
        root, listed = _inspected(dataset, copy, tmp_path, [])
        first = root / listed.members[0].id
        whole = first.read_bytes()
        first.write_bytes(whole + b"\0")
        longer = dataset.open(copy, cache=tmp_path / "cache").digest
        other = next(one for one in listed.members if one.label != listed.members[0].label)
        first.write_bytes((root / other.id).read_bytes())
        (root / other.id).write_bytes(whole)
        swapped = dataset.open(copy, cache=tmp_path / "cache").digest
        assert len({source.digest, longer, swapped}) == 3

    def test_an_inspection_finds_a_sound_tree_sound(
        self, spec: DataSpec, dataset: Dataset, source: Source, tmp_path: Path
    ) -> None:
        """It lists what opening lists and reports nothing."""
        faults: list[Fault] = []
        root, listed = _inspected(dataset, spec, tmp_path, faults)
        assert faults == []
        assert tuple(listed.members) == tuple(source.members)
        assert listed.digest == source.digest
        if spec.root is not None:
            assert all((root / member.id).is_file() for member in listed.members)

    def test_an_image_that_is_gone_is_refused_or_left_out(
        self, spec: DataSpec, dataset: Dataset, source: Source, tmp_path: Path
    ) -> None:
        """Opening names the file, unless no list tells that it should be there."""
        if spec.root is None:
            pytest.skip("its images lie in no files of the user's")
        copy = _copied(spec, tmp_path)
        faults: list[Fault] = []
        root, listed = _inspected(dataset, copy, tmp_path, faults)
        gone = listed.members[-1].id
        (root / gone).unlink()
        _, listed = _inspected(dataset, copy, tmp_path, faults)
        assert gone not in {member.id for member in listed.members}
        if not faults:
            assert dataset.open(copy, cache=tmp_path / "cache").digest != source.digest
            return
        assert [(fault.kind, fault.file) for fault in faults] == [("missing", gone)]
        with pytest.raises(DataError) as caught:
            dataset.open(copy, cache=tmp_path / "cache")
        assert str(root / gone) in str(caught.value)

    def test_every_image_is_stored_as_told(
        self, spec: DataSpec, source: Source, packed: room.Packed
    ) -> None:
        """N×3×S×S of uint8, with labels in range and all that `extra_shapes` tells, finite."""
        assert packed.digest == source.digest
        assert packed.classes == tuple(source.classes)
        for images in (room.open_train(packed), room.open_test(packed, GRANT)):
            assert images.pixels.shape == (len(images), 3, spec.resize, spec.resize)
            pixels = images.pixels[torch.arange(len(images))]
            assert pixels.dtype == torch.uint8
            assert (pixels.flatten(1).amax(1) > pixels.flatten(1).amin(1)).any()
            shapes = {name: tuple(one.shape) for name, one in images.extra.items()}
            told = {name: (len(images), *shape) for name, shape in source.extra_shapes.items()}
            assert shapes == told
            assert set(source.extra_digests) <= set(told)
            assert all(one.isfinite().all() for one in images.extra.values())

    def test_each_class_of_two_images_or_more_is_on_both_sides_of_a_cut(
        self, spec: DataSpec, source: Source, packed: room.Packed
    ) -> None:
        """The cuts for test and for validation leave no such class out, on either side.

        Where images have groups, it is so for classes of two groups or more, whose groups are of
        one class each.
        """
        images = room.open_train(packed)
        if source.members[0].split is None:
            labels = [member.label for member in source.members]
            tested = room.open_test(packed, GRANT).labels.tolist()
            assert _parted(labels, groups_of(source.members)) <= set(tested)
            assert set(labels) == set(images.labels.tolist())
        sides = _sides(images, packed, spec)
        learnt, held = (images.labels[one].tolist() for one in (sides.train, sides.validation))
        assert len(learnt) + len(held) == len(images)
        assert set(learnt) == set(range(len(source.classes)))
        if validation_of(spec) != "official":
            often = _parted(images.labels.tolist(), images.groups)
            assert often <= set(held)
            assert images.groups is not None or often == set(held)

    def test_no_group_is_on_two_sides(
        self, spec: DataSpec, source: Source, packed: room.Packed
    ) -> None:
        """Images of one object are all trained on, or all validated on, or all in test."""
        images, tested = room.open_train(packed), room.open_test(packed, GRANT)
        if groups_of(source.members) is None:
            assert images.groups is tested.groups is None
            return
        assert images.groups is not None
        assert tested.groups is not None
        sides = _sides(images, packed, spec)
        learnt, held = (
            {images.groups[one] for one in side.tolist()}
            for side in (sides.train, sides.validation)
        )
        assert not learnt & held
        assert not (learnt | held) & set(tested.groups)

    def test_an_epoch_of_batches_is_finite(self, spec: DataSpec, packed: room.Packed) -> None:
        """Every training image comes once, as c×c float32."""
        images = room.open_train(packed)
        batches = room.Batches(
            images,
            torch.arange(len(images)),
            data=spec.model_copy(update={"balance": "none"}),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            batch_size=min(64, len(images)),
            seed=0,
            device="cpu",
            train=True,
        )
        seen: list[int] = []
        for batch in batches.epoch(0):
            assert batch.images.shape == (len(batch.target), 3, spec.crop, spec.crop)
            assert batch.images.dtype == torch.float32
            assert batch.images.isfinite().all()
            assert torch.equal(batch.target, images.labels[batch.indices])
            seen.extend(batch.indices.tolist())
        assert len(seen) == len(set(seen)) >= len(images) - 1

    @pytest.mark.parametrize("grant", [None, True, "entry", dataclasses.asdict(GRANT)])
    def test_the_test_images_open_for_a_grant_only(self, packed: room.Packed, grant: Any) -> None:
        """Without the word that a look was written down there is a TypeError."""
        with pytest.raises(TypeError, match="TestGrant"):
            room.open_test(packed, grant)
        assert len(room.open_test(packed, GRANT)) == packed.num_test > 0


def _sides(images: room.ImageSet, packed: room.Packed, spec: DataSpec) -> room.Split:
    """The training images shared out as a training shares them."""
    return room.cut(
        images.labels,
        digest=packed.digest,
        data=spec,
        official=images.official,
        groups=images.groups,
    )


def _parted(labels: Sequence[int], groups: Sequence[str] | None) -> set[int]:
    """The classes that a cut must part: of two images, or of two groups that are theirs alone."""
    whole = [str(number) for number in range(len(labels))] if groups is None else groups
    classes: dict[str, set[int]] = {}
    for label, group in zip(labels, whole, strict=True):
        classes.setdefault(group, set()).add(label)
    shared = {label for own in classes.values() if len(own) > 1 for label in own}
    often = Counter(label for own in classes.values() for label in own)
    return {label for label, count in often.items() if count > 1} - shared


def _bytes_of(source: Source, index: int) -> bytes:
    """A hash of the image as its source gives it."""
    picture = source.read(index).picture
    content = picture if isinstance(picture, bytes) else np.ascontiguousarray(picture).tobytes()
    return hashlib.sha256(content).digest()


def _copied(spec: DataSpec, place: Path) -> DataSpec:
    """The same data at another root, every file with another time."""
    root = shutil.copytree(Path(str(spec.root)), place / "elsewhere", copy_function=shutil.copy)
    for folder, _, files in os.walk(root):
        for name in files:
            os.utime(Path(folder) / name, (1_000_000_000, 1_000_000_000))
    return spec.model_copy(update={"root": str(root)})


def _inspected(
    dataset: Any, spec: DataSpec, place: Path, faults: list[Fault]
) -> tuple[Path, Source]:
    """The root and the source of an inspection, its faults collected."""
    inspected = dataset.inspect(spec, cache=place / "cache", report=faults.append)
    assert inspected is not None, "a sound tree is listed"
    root, source = inspected
    return root, source
