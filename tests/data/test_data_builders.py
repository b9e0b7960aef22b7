"""Builders that die, run out of disk or meet one another, and the memory that building takes."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from mcl_bench import data
from mcl_bench.spec.schema import DataSpec

STARTS = """
import resource, sys, time
from pathlib import Path
from mcl_bench import data
from mcl_bench.data import packed_file
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec
root, store, size = sys.argv[1:]
spec = DataSpec(name="folder", root=root, resize=int(size), crop=int(size))
"""

HALTS = """
packed_file._BATCH_BYTES = 3 * 3 * 16 * 16
def halt(done, total):
    print(done, flush=True)
    time.sleep(600)
data.prepare(spec, store=Path(store), progress=halt)
"""

FILLS = """
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limit[1]))
try:
    data.prepare(spec, store=Path(store))
except DataError as error:
    print(error.exit_code, str(error).replace("\\n", " "))
print(sorted(path.suffix for path in Path(store).iterdir() if path.is_file()))
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
print(data.prepare(spec, store=Path(store)).num_train)
"""

PEAKS = """
packed_file._BATCH_BYTES = 4 << 20
few = DataSpec(name="folder", root=root, resize=32, crop=32)
data.prepare(few, store=Path(store))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
packed = data.prepare(spec, store=Path(store))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(packed.nbytes, (after - before) * 1024)
"""


def builder(code: str, root: Path, store: Path, *, size: int = 16) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTS + code, str(root), str(store), str(size)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def answers(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()


def folder(root: Path) -> DataSpec:
    return DataSpec(name="folder", root=str(root), resize=16, crop=16)


def test_a_reader_reads_on_and_a_waiting_builder_builds_when_the_first_is_killed(
    flat: Path, store: Path
) -> None:
    packed = data.prepare(folder(flat), store=store)
    reader = data.open_train(packed)
    whole = reader.pixels[torch.arange(len(reader))].clone()
    packed.test_path.unlink()
    first = builder(HALTS, flat, store)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "3\n"
        again = data.open_train(packed)
        assert torch.equal(again.pixels[torch.arange(len(again))], whole)
        found: list[data.Packed] = []
        second = threading.Thread(
            target=lambda: found.append(data.prepare(folder(flat), store=store))
        )
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert not packed.test_path.exists()
        assert list(store.glob(".*.part"))
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    second.join(60)
    assert found == [packed]
    assert packed.test_path.exists()
    assert torch.equal(reader.pixels[torch.arange(len(reader))], whole)
    assert not list(store.glob(".*.part"))


def test_what_a_killed_builder_left_is_removed_by_the_next_of_whatever_set(
    flat: Path, split: Path, store: Path
) -> None:
    killed = builder(HALTS, flat, store)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "3\n"
    (left,) = store.glob(".*.part")
    data.prepare(folder(split), store=store)
    assert left.exists()  # its builder is alive
    killed.kill()
    killed.communicate()
    data.prepare(folder(split).model_copy(update={"resize": 12, "crop": 12}), store=store)
    assert not left.exists()
    assert len(list(store.glob("*.arrow"))) == 4


def test_a_disk_that_is_full_half_way_is_told_and_leaves_nothing(flat: Path, store: Path) -> None:
    told, left, again = answers(builder(FILLS, flat, store))
    assert told.startswith(f"3 cannot write the packed file {store}")
    assert "File too large" in told
    assert "set MCL_HOME to a folder with more space" in told
    assert left == "['.lock']"
    assert again == "20"


def test_a_set_larger_than_the_memory_it_may_take_is_built(tmp_path: Path, store: Path) -> None:
    for number in range(140):
        place = tmp_path / "many" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(place)
    nbytes, grown = map(int, answers(builder(PEAKS, tmp_path / "many", store, size=512))[0].split())
    assert nbytes > 110e6
    assert grown < 40e6


def test_unicode_and_spaces_in_every_name(wild: Path, tmp_path: Path) -> None:
    store = tmp_path / "my störe" / "Гриф 1"
    packed = data.prepare(folder(wild), store=store)
    images = data.open_train(packed)
    assert any("Blåmes (hane)/photo" in name for name in images.ids)
    assert images.pixels[torch.arange(len(images))].shape[0] == packed.num_train


@pytest.mark.parametrize("error", [OSError(38, "Function not implemented")])
def test_a_file_system_that_cannot_lock_is_named(
    flat: Path, store: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    from mcl_bench.records import UserError

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    with pytest.raises(UserError, match="Function not implemented") as raised:
        data.prepare(folder(flat), store=store)
    assert str(store) in str(raised.value)
