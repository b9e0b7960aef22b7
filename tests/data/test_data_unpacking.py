"""Unpacking archives that are sound, damaged, malicious, or in each other's way."""

import errno
import os
import shutil
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from archive_files import entry, tar, zipped

from mcl_bench.data.unpacking import Unpacked, absent, resized, unpack
from mcl_bench.records import DataError

FILES = {"birds/images/Grün 1.jpg": b"1" * 2000, "birds/images.txt": b"1 Gr\xc3\xbcn", "top": b""}
SIZES = {name: len(content) for name, content in FILES.items()}


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """The folder that is unpacked into, with nothing around it but archives."""
    return tmp_path / "around" / "data"


def all_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["tar", "tgz", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_what_was_packed_is_there_and_nothing_else(tmp_path: Path, inside: Path, kind: str) -> None:
    archive = (zipped if kind == "zip" else tar)(tmp_path / f"birds.{kind}", FILES)
    told: list[tuple[int, int]] = []
    done = unpack(archive, inside, progress=lambda *done: told.append(done))
    assert done == Unpacked(sizes=SIZES, kept=())
    assert all_files(inside) == FILES
    assert sorted(path.name for path in inside.iterdir()) == ["birds", "top"]
    assert not absent(inside, SIZES)
    assert not resized(inside, SIZES)
    assert 0 < told[-1][0] <= told[-1][1]


def test_folders_and_dots_in_names_are_fine(tmp_path: Path, inside: Path) -> None:
    archive = tar(tmp_path / "x.tar", {"./a/..b": b"1", "./c": b"2"})
    assert set(unpack(archive, inside).sizes) == {"a/..b", "c"}
    (inside / "c").unlink()
    assert absent(inside, {"a/..b": 1, "c": 1}) == ["c"]
    assert resized(inside, {"a/..b": 2, "c": 1}) == ["a/..b"]


EVIL_NAMES = ["../out", "a/../../out", "/tmp/mcl_bench_out", "a/../b", "C:/out"]
LINKS = {
    "a symbolic link": entry("link", tarfile.SYMTYPE, "/etc/passwd"),
    "a symbolic link inside": entry("link", tarfile.SYMTYPE, "birds"),
    "a hard link": entry("link", tarfile.LNKTYPE, "birds/images.txt"),
    "a character device": entry("device", tarfile.CHRTYPE),
    "a block device": entry("device", tarfile.BLKTYPE),
    "a pipe": entry("pipe", tarfile.FIFOTYPE),
}


def refuse(archive: Path, inside: Path, why: str) -> None:
    with pytest.raises(DataError, match=why) as told:
        unpack(archive, inside)
    assert archive.name in told.value.rule
    assert all_files(inside.parent) == {}
    assert not list(inside.iterdir())
    assert not Path("/tmp/mcl_bench_out").exists()


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_a_path_that_leads_out_is_refused_and_nothing_is_written(
    tmp_path: Path, inside: Path, name: str, kind: str
) -> None:
    pack = zipped if kind == "zip" else tar
    refuse(pack(tmp_path / f"evil.{kind}", {"good": b"1", name: b"evil"}), inside, "leads out")


@pytest.mark.parametrize("kind", LINKS)
def test_links_and_devices_are_refused_and_nothing_is_written(
    tmp_path: Path, inside: Path, kind: str
) -> None:
    refuse(tar(tmp_path / "evil.tar", FILES, LINKS[kind]), inside, "holds a (link|device)")


def test_a_link_is_not_written_through(tmp_path: Path, inside: Path) -> None:
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as packed:
        packed.addfile(entry("out", tarfile.SYMTYPE, str(tmp_path)))
        packed.addfile(tarfile.TarInfo("out/evil"))
    refuse(archive, inside, "holds a link")
    assert not (tmp_path / "evil").exists()


def test_links_and_paths_of_other_systems_in_zip_files_are_refused(
    tmp_path: Path, inside: Path
) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refuse(zipped(tmp_path / "evil.zip", {}, link), inside, "a link or a device")
    refuse(zipped(tmp_path / "evil.zip", {"..\\out": b"1"}), inside, "of another system|leads out")


@pytest.mark.parametrize("kind", ["tar", "tgz", "tar.xz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_truncated_archive_is_told_and_nothing_of_it_is_kept(
    tmp_path: Path, inside: Path, kind: str, share: float
) -> None:
    content = {f"{number}": os.urandom(3000) for number in range(9)}
    archive = (zipped if kind == "zip" else tar)(tmp_path / f"x.{kind}", content)
    whole = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(whole[: int(len(whole) * share)])
    refuse(archive, inside, "is damaged or no archive")


def test_a_tar_file_that_ends_between_two_files_is_truncated(tmp_path: Path, inside: Path) -> None:
    archive = tar(tmp_path / "x.tar", {"a": b"1" * 512, "b": b"2" * 512})
    archive.write_bytes(archive.read_bytes()[:1024])
    refuse(archive, inside, "it ends before its end")


def test_a_flipped_byte_in_a_zip_file_is_told(tmp_path: Path, inside: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a": b"1" * 999})
    archive.write_bytes(archive.read_bytes().replace(b"1" * 999, b"1" * 998 + b"2"))
    refuse(archive, inside, "damaged or no archive: Bad CRC")


def test_what_is_larger_than_the_disk_is_not_begun(
    tmp_path: Path, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(9, 9, 1999))
    refuse(tar(tmp_path / "x.tgz", FILES), inside, "No space left on device")


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", fail)
    refuse(tar(tmp_path / "x.tgz", FILES), inside, "No space left on device")


def test_what_is_there_in_another_size_is_replaced_by_force_only(
    tmp_path: Path, inside: Path
) -> None:
    archive = tar(tmp_path / "x.tgz", FILES)
    unpack(archive, inside)
    (inside / "birds/images.txt").write_text("mended by hand")
    (inside / "birds/own.txt").write_text("mine")
    with pytest.raises(DataError, match=r"birds/images\.txt is not the file that x\.tgz holds"):
        unpack(archive, inside)
    assert (inside / "birds/images.txt").read_text() == "mended by hand"
    assert unpack(archive, inside, clash="replace") == Unpacked(sizes=SIZES, kept=())
    assert all_files(inside) == {**FILES, "birds/own.txt": b"mine"}


def test_what_is_there_with_other_bytes_of_the_same_size_is_refused_or_kept(
    tmp_path: Path, inside: Path
) -> None:
    archive = tar(tmp_path / "x.tgz", FILES)
    unpack(archive, inside)
    (inside / "birds/images.txt").write_bytes(b"2 Gr\xc3\xbcn")
    (inside / "birds/images/Grün 1.jpg").unlink()
    (inside / "top").unlink()
    (inside / "top").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"images\.txt is not the file .* nor are 1 others"):
        unpack(archive, inside)
    done = unpack(archive, inside, clash="keep")
    assert done == Unpacked(sizes=SIZES, kept=("birds/images.txt", "top"))
    assert (inside / "top").is_symlink()
    (inside / "top").unlink()
    assert all_files(inside) == {
        "birds/images.txt": b"2 Gr\xc3\xbcn",
        "birds/images/Grün 1.jpg": b"1" * 2000,
    }


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path, inside: Path) -> None:
    (inside / "top" / "mine").mkdir(parents=True)
    with pytest.raises(DataError, match="top is in the way"):
        unpack(tar(tmp_path / "x.tgz", FILES), inside, clash="replace")
    assert (inside / "top" / "mine").is_dir()


def test_archives_share_a_folder_and_a_linked_folder_is_unpacked_into(
    tmp_path: Path, inside: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    inside.mkdir(parents=True)
    (inside / "pets").symlink_to(elsewhere)
    for name in ("images", "lists"):
        unpack(tar(tmp_path / f"{name}.tgz", {f"pets/{name}/1": b"1"}), inside)
    assert set(all_files(elsewhere)) == {"images/1", "lists/1"}


def test_what_an_interrupted_call_left_is_cleared(tmp_path: Path, inside: Path) -> None:
    (inside / ".x.tgz.unpacking" / "birds").mkdir(parents=True)
    (inside / ".x.tgz.unpacking" / "half").write_text("half")
    assert unpack(tar(tmp_path / "x.tgz", FILES), inside).sizes == SIZES
    assert all_files(inside) == FILES
