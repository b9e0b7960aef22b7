"""Downloading from servers that drop, stall, truncate and lie."""

import errno
import hashlib
import json
import random
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mirror_server import Answer, Mirror, mirror

from mcl_bench.data import downloading
from mcl_bench.data.catalog.source import Archive
from mcl_bench.data.downloading import Patience, download
from mcl_bench.records import DataError

CONTENT = random.Random(0).randbytes(700_000)
WRONG = b"x" * len(CONTENT)
HASTE = Patience(connect_seconds=2, read_seconds=0.15, tries=3, pause_seconds=0.001)
HALF = 300_000


@pytest.fixture(scope="module")
def server() -> Iterator[Mirror]:
    with mirror() as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: Mirror) -> Path:
    server.requests.clear()
    return tmp_path / "birds.tgz"


def archive(*urls: str, **facts: Any) -> Archive:
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    known = {"md5": md5, "nbytes": len(CONTENT), **facts}
    return Archive(name="birds.tgz", urls=urls, page="http://localhost/birds", **known)


def get(one: Archive, place: Path) -> bytes:
    download(one, place, patience=HASTE)
    assert [path.name for path in place.parent.iterdir()] == ["birds.tgz"], "nothing else is left"
    return place.read_bytes()


def honest(**changes: Any) -> Answer:
    return Answer(**{"content": CONTENT, **changes})


def test_a_file_arrives_and_its_progress_is_told(server: Mirror, place: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    url = server.serve("/plain", honest())
    download(archive(url), place, patience=HASTE, progress=lambda *done: told.append(done))
    assert place.read_bytes() == CONTENT
    assert told[-1] == ("birds.tgz", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


@pytest.mark.parametrize(
    "first",
    [honest(drop_after=HALF), honest(stall_after=HALF), honest(drop_after=HALF, chunked=True)],
    ids=["drops", "stalls", "drops without a length"],
)
def test_what_was_broken_off_is_gone_on_with(server: Mirror, place: Path, first: Answer) -> None:
    url = server.serve("/broken", first, honest())
    assert get(archive(url), place) == CONTENT
    (_, whole), (_, rest) = server.requests
    assert whole is None
    assert HALF - (1 << 16) < int(str(rest).removeprefix("bytes=").removesuffix("-")) <= HALF


def test_an_earlier_calls_part_is_gone_on_with(server: Mirror, place: Path) -> None:
    url = server.serve("/later", honest(drop_after=1000))
    with pytest.raises(DataError, match="the connection failed"):
        download(archive(url), place, patience=Patience(tries=1, read_seconds=0.2))
    part = place.with_name("birds.tgz.part")
    assert part.read_bytes() == CONTENT[:1000]
    server.serve("/later", honest())
    assert get(archive(url), place) == CONTENT
    assert server.requests[-1] == ("/later", "bytes=1000-")


def test_a_whole_part_is_not_asked_for_again(server: Mirror, place: Path) -> None:
    place.with_name("birds.tgz.part").write_bytes(CONTENT)
    url = server.serve("/whole", honest())
    assert get(archive(url), place) == CONTENT
    assert server.requests == []
    place.rename(place.with_name("birds.tgz.part"))
    assert get(archive(url, nbytes=None), place) == CONTENT  # answered 416
    assert server.requests == [("/whole", f"bytes={len(CONTENT)}-")]


def test_a_server_without_ranges_starts_over(server: Mirror, place: Path) -> None:
    url = server.serve("/once", honest(drop_after=HALF), honest(ranges=False))
    assert get(archive(url), place) == CONTENT
    assert server.requests[-1] == ("/once", f"bytes={HALF}-")


def test_a_server_that_answers_another_range_is_asked_for_the_whole(
    server: Mirror, place: Path
) -> None:
    url = server.serve("/range", honest(drop_after=HALF), honest(start=7), honest())
    assert get(archive(url), place) == CONTENT
    assert [asked for _, asked in server.requests] == [None, f"bytes={HALF}-", None]


def test_a_file_that_changed_meanwhile_is_not_gone_on_with(server: Mirror, place: Path) -> None:
    url = server.serve("/changed", Answer(content=WRONG, drop_after=HALF), honest(tag='"two"'))
    assert get(archive(url), place) == CONTENT


def test_a_part_that_is_of_something_else_is_thrown_away(server: Mirror, place: Path) -> None:
    place.with_name("birds.tgz.part").write_bytes(WRONG[:HALF])
    url = server.serve("/other", honest())
    assert get(archive(url), place) == CONTENT
    assert [asked for _, asked in server.requests] == [f"bytes={HALF}-", None]


def test_a_part_that_is_too_long_is_thrown_away(server: Mirror, place: Path) -> None:
    place.with_name("birds.tgz.part").write_bytes(CONTENT + b"more")
    assert get(archive(server.serve("/long", honest())), place) == CONTENT


def test_without_an_md5_only_a_known_version_is_gone_on_with(server: Mirror, place: Path) -> None:
    place.with_name("birds.tgz.part").write_bytes(WRONG[:HALF])
    url = server.serve("/untold", honest(drop_after=HALF), honest())
    assert get(archive(url, md5=None, nbytes=None), place) == CONTENT
    assert [asked for _, asked in server.requests] == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Answer(content=WRONG), "its md5 must be .*, got 2a7eddd3"),
        (Answer(content=CONTENT[:-1]), "it has 699,999 bytes, the official file 700,000"),
        (Answer(content=b"<html>", kind="text/html; charset=utf-8"), "a web page came"),
        (Answer(content=b"", code=403), "403 Forbidden"),
        (Answer(content=b"", code=503), "503 Service Unavailable, 3 times"),
        (honest(drop_after=0), "3 times"),
        (honest(stall_after=0), "the server stalled, 3 times"),
        (honest(length=HALF), "it has 300,000 bytes"),
        (Answer(content=b"", code=302, to="file:///etc/passwd"), "."),
        (Answer(content=b"", code=302, to="/bad"), "redirects"),
    ],
    ids=[
        "wrong bytes",
        "truncated",
        "a web page",
        "forbidden",
        "unavailable",
        "drops",
        "stalls",
        "announces less",
        "leads to a file",
        "leads in a circle",
    ],
)
def test_the_next_mirror_is_tried_and_each_ones_fault_is_told(
    server: Mirror, place: Path, bad: Answer, why: str
) -> None:
    bad_url = server.serve("/bad", bad)
    assert get(archive(bad_url, server.serve("/good", honest())), place) == CONTENT
    place.unlink()
    with pytest.raises(DataError, match=why) as told:
        download(archive(bad_url), place, patience=HASTE)
    assert bad_url in told.value.rule
    assert "http://localhost/birds" in str(told.value.remedy)
    assert not place.exists()


def test_a_length_that_is_announced_too_long_is_no_harm_to_the_official_file(
    server: Mirror, place: Path
) -> None:
    url = server.serve("/boast", honest(length=len(CONTENT) + 9))
    with pytest.raises(DataError, match="it has 700,009 bytes, the official file 700,000"):
        download(archive(url), place, patience=HASTE)
    assert get(archive(url, nbytes=None), place) == CONTENT


def test_a_server_that_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(DataError, match=r"refused.*3 times"):
        download(archive("http://127.0.0.1:9/birds.tgz"), place, patience=HASTE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/x", "birds.tgz"])
def test_only_http_is_fetched(place: Path, url: str) -> None:
    with pytest.raises(ValueError, match="only http"):
        download(archive(url), place, patience=HASTE)


def test_too_little_room_is_told_before_anything_is_written(
    server: Mirror, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(9, 9, 5))
    with pytest.raises(DataError, match=r"has 5 bytes free, birds\.tgz needs 700,000 more"):
        download(archive(server.serve("/big", honest())), place, patience=HASTE)
    assert not list(place.parent.glob("*.part"))


def test_a_disk_that_fills_up_is_told_and_what_has_arrived_stays(
    server: Mirror, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = downloading._Part.add
    monkeypatch.setattr(downloading, "_CHUNK", 100_000)

    def add(part: Any, chunk: bytes) -> None:
        if part.size >= HALF:
            with downloading.writing(part.path):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(part, chunk)

    monkeypatch.setattr(downloading._Part, "add", add)
    url = server.serve("/full", honest())
    with pytest.raises(DataError, match="No space left") as told:
        download(archive(url), place, patience=HASTE)
    assert "the same command then goes on from there" in str(told.value.remedy)
    monkeypatch.setattr(downloading._Part, "add", real)
    assert get(archive(url), place) == CONTENT
    assert server.requests[-1] == ("/full", f"bytes={HALF}-")


def test_a_damaged_note_of_the_version_is_no_harm(server: Mirror, place: Path) -> None:
    place.with_name("birds.tgz.part").write_bytes(CONTENT[:HALF])
    for damaged in ("{", "[]", json.dumps({"elsewhere": "x"})):
        place.with_name("birds.tgz.part.json").write_text(damaged)
        assert get(archive(server.serve("/note", honest())), place) == CONTENT
        place.rename(place.with_name("birds.tgz.part"))
