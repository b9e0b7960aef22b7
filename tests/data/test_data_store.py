"""The store: packed once, whole or not at all, and readable when its source is gone."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mcl_bench import data
from mcl_bench.data import packed_file
from mcl_bench.data.decode import planar
from mcl_bench.records import DataError, TestGrant, UserError
from mcl_bench.spec.schema import DataSpec, ShortSide

PARTS = {"classes": 3, "train_per_class": 5, "test_per_class": 2, "size": 16}


def parts(**changes: Any) -> DataSpec:
    return DataSpec(name="parts", **{"resize": 16, "crop": 16, "options": PARTS, **changes})


def folder(root: Path, **changes: Any) -> DataSpec:
    return DataSpec(name="folder", root=str(root), **{"resize": 16, "crop": 16, **changes})


def written(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.glob("*.arrow")}


def test_packed_pixels_are_those_of_the_source(flat: Path, store: Path) -> None:
    images = data.open_train(data.prepare(folder(flat), store=store))
    assert images.pixels.shape == (len(images.ids), 3, 16, 16)
    gathered = images.pixels[torch.arange(len(images.ids))]
    for pixels, name in zip(gathered, images.ids, strict=True):
        assert np.array_equal(pixels.numpy(), planar((flat / name).read_bytes(), size=16))
    classes = ["abc".index(name[0]) for name in images.ids]
    assert images.labels.tolist() == classes
    assert images.labels.dtype == torch.int64


def test_sizes_and_classes_are_told(store: Path) -> None:
    packed = data.prepare(parts(), store=store)
    assert (packed.num_train, packed.num_test, len(packed.classes)) == (15, 6, 3)
    assert packed.nbytes == packed.train_path.stat().st_size + packed.test_path.stat().st_size
    assert packed.train_path.name.removesuffix(".arrow") == packed.test_path.name.removesuffix(
        ".test.arrow"
    )


def test_part_positions_come_back_as_they_were_drawn(store: Path, grant: TestGrant) -> None:
    packed = data.prepare(parts(), store=store)
    for images in (data.open_train(packed), data.open_test(packed, grant)):
        assert images.extra["parts"].shape == (len(images.ids), 4, 3)
        assert images.extra["parts"].dtype == torch.float32
        assert len(images.extra["parts"].unique()) > 8


def test_images_of_many_record_batches_are_gathered_in_any_order(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = data.open_train(data.prepare(parts(), store=store / "one"))
    monkeypatch.setattr(packed_file, "_BATCH_BYTES", 4 * 3 * 16 * 16)
    packed = data.prepare(parts(), store=store / "many")
    images = data.open_train(packed)
    assert pa.ipc.open_file(str(packed.train_path)).num_record_batches == 5  # 4 + the summary
    order = torch.tensor([14, 0, 3, 4, 7, 8, 11, 4])
    assert torch.equal(images.pixels[order], whole.pixels[order])
    assert torch.equal(images.pixels[order][1], whole.pixels[torch.tensor([0])][0])
    assert torch.equal(images.extra["parts"], whole.extra["parts"])


def test_pixels_are_mapped_and_not_read(store: Path) -> None:
    packed = data.prepare(parts(), store=store)
    before = pa.total_allocated_bytes()
    images = data.open_train(packed)
    assert pa.total_allocated_bytes() - before < packed.train_path.stat().st_size / 2
    assert len(images) == 15


def test_what_is_packed_is_not_packed_again(flat: Path, store: Path) -> None:
    told: list[tuple[int, int]] = []
    first = data.prepare(folder(flat), store=store, progress=lambda *done: told.append(done))
    files = written(store)
    assert told[-1] == (26, 26)
    told.clear()
    again = data.prepare(folder(flat), store=store, progress=lambda *done: told.append(done))
    assert again == first
    assert not told
    assert written(store) == files


@pytest.mark.parametrize("change", [{"resize": 12, "crop": 12}, {"test": 0.4}])
def test_another_size_or_test_share_is_packed_apart(
    flat: Path, store: Path, change: dict[str, Any]
) -> None:
    first = data.prepare(folder(flat), store=store)
    other = data.prepare(folder(flat, **change), store=store)
    assert other.digest == first.digest
    assert other.train_path != first.train_path
    assert len(written(store)) == 4


@pytest.mark.parametrize("change", [{"augment": "none"}, {"validation": 0.3}, {"split_seed": 4}])
def test_what_does_not_change_the_pixels_shares_a_file(
    flat: Path, store: Path, change: dict[str, Any]
) -> None:
    first = data.prepare(folder(flat), store=store)
    assert data.prepare(folder(flat, **change), store=store) == first


def test_without_source_and_test_file_train_opens_and_test_fails_by_name(
    flat: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(folder(flat), store=store)
    shutil.rmtree(flat)
    packed.test_path.unlink()
    again = data.prepare(folder(flat), store=store, digest=packed.digest)
    assert again.digest == packed.digest
    assert len(data.open_train(again)) == packed.num_train
    with pytest.raises(DataError) as raised:
        data.open_test(again, grant)
    assert str(packed.test_path) in str(raised.value)


def test_a_missing_test_file_is_made_again_from_the_source(
    flat: Path, store: Path, grant: TestGrant
) -> None:
    packed = data.prepare(folder(flat), store=store)
    ids = data.open_test(packed, grant).ids
    packed.test_path.unlink()
    assert data.open_test(data.prepare(folder(flat), store=store), grant).ids == ids


def test_a_missing_train_file_without_its_source_is_told_by_name(flat: Path, store: Path) -> None:
    packed = data.prepare(folder(flat), store=store)
    packed.train_path.unlink()
    again = data.prepare(folder(flat), store=store, digest=packed.digest)
    assert again == packed
    packed.train_path.unlink()
    shutil.rmtree(flat)
    with pytest.raises(DataError) as raised:
        data.prepare(folder(flat), store=store, digest=packed.digest)
    assert str(packed.train_path) in str(raised.value)
    assert str(flat) in str(raised.value)


def test_a_source_that_has_changed_is_told(flat: Path, store: Path) -> None:
    packed = data.prepare(folder(flat), store=store)
    packed.train_path.unlink()
    (flat / "c" / "000.png").unlink()
    with pytest.raises(DataError, match=f"have changed: their digest was {packed.digest[:12]}"):
        data.prepare(folder(flat), store=store, digest=packed.digest)


@pytest.mark.parametrize("kept", [0, 20, 0.5, -3])
def test_a_damaged_file_is_named_and_packed_again(
    flat: Path, store: Path, kept: float, grant: TestGrant
) -> None:
    packed = data.prepare(folder(flat), store=store)
    for path in (packed.train_path, packed.test_path):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match="is damaged") as raised:
        data.open_train(packed)
    assert str(packed.train_path) in str(raised.value)
    with pytest.raises(DataError, match="is damaged"):
        data.open_test(packed, grant)
    again = data.prepare(folder(flat), store=store, digest=packed.digest)
    assert len(data.open_train(again)) == packed.num_train
    assert len(data.open_test(again, grant)) == packed.num_test


def test_a_file_of_another_version_is_packed_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_file, "VERSION", packed_file.VERSION + 1)
    newer = data.prepare(parts(), store=store)
    monkeypatch.undo()
    ours = data.prepare(parts(), store=store)
    assert ours.train_path != newer.train_path
    shutil.copy(newer.train_path, ours.train_path)
    again = data.prepare(parts(), store=store)
    assert packed_file.read_facts(again.train_path)["version"] == packed_file.VERSION


def test_a_file_without_its_summary_is_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "half.arrow"
    with packed_file.Writer(
        path, size=4, mode="decoded", header={"classes": []}, extra_shapes={}
    ) as writer:
        writer.add(
            [
                packed_file.Row(
                    id="a",
                    label=0,
                    official=False,
                    image=np.zeros((3, 4, 4), dtype=np.uint8),
                    extra={},
                )
            ]
        )
    with pytest.raises(DataError, match="damaged"):
        packed_file.read_facts(path)


def test_a_builder_that_fails_leaves_nothing_and_the_next_one_builds(
    flat: Path, store: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt(f"{done} of {total}")

    with pytest.raises(KeyboardInterrupt):
        data.prepare(folder(flat), store=store, progress=fail)
    assert not list(store.glob("*.arrow"))
    assert not list(store.glob(".*.part"))
    packed = data.prepare(folder(flat), store=store)
    (store / f".{packed.train_path.name}.part").write_bytes(b"of a killed builder")
    packed.train_path.unlink()
    assert data.prepare(folder(flat), store=store) == packed


def test_images_are_told_as_packed_only_once_they_are(flat: Path, store: Path) -> None:
    (flat / "a" / "torn.png").write_bytes(b"")
    told: list[tuple[int, int]] = []
    with pytest.raises(DataError, match=r"1 image of .* cannot be read"):
        data.prepare(folder(flat), store=store, progress=lambda *done: told.append(done))
    assert (27, 27) not in told
    data.prepare(folder(flat, max_faults=1), store=store, progress=lambda *done: told.append(done))
    assert told[-1] == (27, 27)
    assert told.count((27, 27)) == 1


@pytest.mark.parametrize("packed_before", [False, True])
def test_a_store_that_cannot_be_written_is_named(
    flat: Path, store: Path, packed_before: bool
) -> None:
    if packed_before:
        packed = data.prepare(folder(flat), store=store)
        packed.train_path.unlink()
        (lock,) = store.glob("*.lock")
        lock.unlink()
        lock.mkdir()
    else:
        store.touch()
    with pytest.raises(UserError, match="can't be written") as caught:
        data.prepare(folder(flat), store=store)
    assert caught.value.rule.startswith(f"the store's folder {store} can't")
    assert caught.value.exit_code == 2


def test_two_processes_that_build_at_once_build_once(store: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mcl_bench import data\n"
        "from mcl_bench.spec.schema import DataSpec\n"
        "told = []\n"
        "spec = DataSpec(name='parts', resize=16, crop=16, options={'train_per_class': 10})\n"
        "sys.stdin.readline()\n"
        "packed = data.prepare(spec, store=Path(sys.argv[1]), progress=lambda *d: told.append(d))\n"
        "print(packed.digest, len(data.open_train(packed)), bool(told))\n"
    )
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("go\n")
        builder.stdin.flush()
    answers = [builder.communicate(timeout=60)[0].split() for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert answers[0][:2] == answers[1][:2]
    assert answers[0][1] == "120"
    assert sorted(answer[2] for answer in answers) == ["False", "True"]


def test_test_opens_with_a_grant_only(store: Path, grant: TestGrant) -> None:
    packed = data.prepare(parts(), store=store)
    assert len(data.open_test(packed, grant)) == 6
    for stranger in (None, True, {"cell": "c"}):
        with pytest.raises(TypeError, match="TestGrant"):
            data.open_test(packed, stranger)  # type: ignore[arg-type]


def test_a_changed_file_is_hashed_again_and_an_unchanged_one_is_not(
    flat: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl_bench.data import listing

    names = ["a/000.png", "a/001.png"]
    monkeypatch.setattr(listing, "_SETTLED_NS", -(10**18))  # as if all files were old
    first = listing.file_digests(flat, names, cache=store)
    read: list[str] = []
    digest = listing.hashlib.file_digest

    def told(file: Any, kind: str) -> Any:
        read.append(Path(file.name).name)
        return digest(file, kind)

    monkeypatch.setattr(listing.hashlib, "file_digest", told)
    assert listing.file_digests(flat, names, cache=store) == first
    assert not read
    (flat / "a" / "001.png").write_bytes(b"changed")
    second = listing.file_digests(flat, names, cache=store)
    assert read == ["001.png"]
    assert second[0] == first[0]
    assert second[1] != first[1]


def test_a_file_as_young_as_its_reading_is_not_remembered(flat: Path, store: Path) -> None:
    from mcl_bench.data import listing

    listing.file_digests(flat, ["a/000.png"], cache=store)
    assert not list(store.glob("*.json"))


def test_the_digest_of_a_damaged_memory_is_worked_out_again(flat: Path, store: Path) -> None:
    from mcl_bench.data import listing

    first = listing.file_digests(flat, ["a/000.png"], cache=store)
    store.mkdir()
    for name in ("[]", "{", "\0"):
        for place in [*store.glob("*.json")] or [store / "x.json"]:
            place.write_text(name)
        assert listing.file_digests(flat, ["a/000.png"], cache=store) == first


def test_keeping_the_aspect_ratio_is_refused_by_name(store: Path) -> None:
    with pytest.raises(UserError, match=r"data\.resize must be an integer, got \{short: 20\}"):
        data.prepare(parts(resize=ShortSide(short=20)), store=store)


def test_an_unknown_name_is_refused_with_the_nearest(store: Path) -> None:
    with pytest.raises(UserError, match="got 'partz'") as raised:
        data.prepare(DataSpec(name="partz"), store=store)
    assert raised.value.remedy == "did you mean parts?"
