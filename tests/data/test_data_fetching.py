"""Fetching a dataset: got once, checked, unpacked, and never at cross purposes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archive_files import entry, tar
from mirror_server import Answer, Mirror, mirror
from typer.testing import CliRunner

from mcl_bench.cli import app
from mcl_bench.data import fetching
from mcl_bench.data import store as store_module
from mcl_bench.data.catalog import DATASETS
from mcl_bench.data.catalog.source import Archive, DatasetFacts
from mcl_bench.data.downloading import Patience
from mcl_bench.data.fetching import Fetched, fetch
from mcl_bench.records import DataError

FILES = {"insects/images/1.jpg": b"1" * 2000, "insects/list.txt": b"1"}
LABELS = b"labels" * 100
HASTE = Patience(connect_seconds=2, read_seconds=0.15, tries=3, pause_seconds=0.001)


@pytest.fixture(scope="module")
def server() -> Iterator[Mirror]:
    with mirror() as running:
        yield running


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tar(tmp_path_factory.mktemp("packed") / "insects.tgz", FILES).read_bytes()


@pytest.fixture
def home(tmp_path: Path, server: Mirror) -> Path:
    server.requests.clear()
    return tmp_path / "data"


def archive(name: str, content: bytes, *urls: str, **facts: Any) -> Archive:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    page = "http://localhost/insects"
    return Archive(name=name, urls=urls, page=page, md5=md5, nbytes=len(content), **facts)


def insects(*archives: Archive) -> DatasetFacts:
    return DatasetFacts(
        name="insects",
        title="Insects",
        classes=2,
        images="insects.tgz",
        citation="nobody",
        licence="none",
        needs_root=True,
        folder="insects",
        archives=archives,
    )


@pytest.fixture
def facts(server: Mirror, packed: bytes) -> DatasetFacts:
    """Two archives: one to unpack, and labels that stay as they are, in the same folder."""
    return insects(
        archive("insects.tgz", packed, server.serve("/i.tgz", Answer(content=packed))),
        archive(
            "labels.mat",
            LABELS,
            server.serve("/labels.mat", Answer(content=LABELS)),
            unpacked=False,
            folder="insects",
        ),
    )


def get(facts: DatasetFacts, home: Path, **how: Any) -> Fetched:
    return fetch(facts, home=home, patience=HASTE, **how)


def visible(home: Path) -> dict[str, bytes]:
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_all_archives_are_there_checked_and_unpacked(
    facts: DatasetFacts, home: Path, packed: bytes
) -> None:
    told: list[tuple[str, int, int | None]] = []
    got = get(facts, home, progress=lambda *done: told.append(done))
    assert got.root == home / "insects"
    assert [(one.name, one.state, one.checked) for one in got.archives] == [
        ("insects.tgz", "unpacked", True),
        ("labels.mat", "fetched", True),
    ]
    whole = {**FILES, "insects/labels.mat": LABELS, "insects.tgz": packed}
    assert visible(home) == whole
    assert {what for what, _, _ in told} == {
        "insects.tgz",
        "unpacking insects.tgz",
        "labels.mat",
    }


def test_what_is_there_is_not_fetched_again_even_without_its_archive(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    get(facts, home)
    (home / "insects.tgz").unlink()
    server.requests.clear()
    again = get(facts, home)
    assert [one.state for one in again.archives] == ["there", "there"]
    assert server.requests == []


def test_an_unpacked_file_that_was_lost_is_put_back_from_the_archive(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    get(facts, home)
    server.requests.clear()
    (home / "insects/images/1.jpg").unlink()
    assert [one.state for one in get(facts, home).archives] == ["unpacked", "there"]
    assert server.requests == []
    assert FILES.items() <= visible(home).items()


@pytest.mark.parametrize("edited", [b"2", b"1\n2"])
def test_a_list_that_someone_edited_is_kept_and_told_until_it_is_deleted(
    facts: DatasetFacts, home: Path, edited: bytes
) -> None:
    get(facts, home)
    listed, image = home / "insects/list.txt", home / "insects/images/1.jpg"
    listed.write_bytes(edited)
    image.unlink()
    mended = get(facts, home).archives[0]
    assert (mended.state, mended.kept) == ("unpacked", (listed,))
    assert image.read_bytes() == FILES["insects/images/1.jpg"]
    assert listed.read_bytes() == edited
    listed.unlink()
    assert get(facts, home).archives[0].kept == ()
    assert FILES.items() <= visible(home).items()


def test_an_edited_list_alone_costs_no_archive(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    get(facts, home)
    (home / "insects.tgz").unlink()
    server.requests.clear()
    (home / "insects/list.txt").write_bytes(b"mine")
    got = get(facts, home).archives[0]
    assert (got.state, got.kept) == ("there", (home / "insects/list.txt",))
    assert server.requests == []
    assert visible(home)["insects/list.txt"] == b"mine"


def test_a_changed_file_that_is_not_unpacked_is_kept_and_told_until_it_is_deleted(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    get(facts, home)
    server.requests.clear()
    labels = home / "insects/labels.mat"
    labels.write_bytes(b"mine")
    kept = get(facts, home).archives[1]
    assert (kept.state, kept.checked, kept.kept) == ("there", False, (labels,))
    assert labels.read_bytes() == b"mine"
    labels.unlink()
    assert [one.state for one in get(facts, home).archives] == ["there", "fetched"]
    assert server.requests == [("/labels.mat", None)]
    assert labels.read_bytes() == LABELS


def test_an_archive_that_is_damaged_is_fetched_again(
    facts: DatasetFacts, home: Path, server: Mirror, packed: bytes
) -> None:
    home.mkdir()
    (home / "insects.tgz").write_bytes(packed[:-1])
    assert [one.state for one in get(facts, home).archives] == ["unpacked", "fetched"]
    assert server.requests[0] == ("/i.tgz", None)
    assert visible(home)["insects.tgz"] == packed


def test_force_fetches_and_unpacks_all_again(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    get(facts, home)
    server.requests.clear()
    (home / "insects/list.txt").write_bytes(b"mine")
    assert [one.state for one in get(facts, home, force=True).archives] == ["unpacked", "fetched"]
    assert len(server.requests) == 2
    assert visible(home)["insects/list.txt"] == b"1"


def test_a_tree_that_someone_mended_is_not_overwritten_unasked(
    facts: DatasetFacts, home: Path
) -> None:
    (home / "insects").mkdir(parents=True)
    (home / "insects/list.txt").write_bytes(b"mended")
    with pytest.raises(DataError, match=r"list\.txt is not the file"):
        get(facts, home)
    assert (home / "insects/list.txt").read_bytes() == b"mended"


def test_an_archive_that_someone_put_there_is_taken(
    facts: DatasetFacts, home: Path, server: Mirror, packed: bytes
) -> None:
    home.mkdir()
    (home / "insects.tgz").write_bytes(packed)
    assert get(facts, home).archives[0].state == "unpacked"
    assert server.requests == [("/labels.mat", None)]


def test_where_no_link_lives_it_says_which_files_to_put_where_and_takes_them(
    home: Path, packed: bytes
) -> None:
    labels = archive("labels.mat", LABELS, unpacked=False, folder="insects")
    by_hand = insects(archive("insects.tgz", packed), labels)
    with pytest.raises(DataError, match="2 files of insects can't be fetched") as told:
        get(by_hand, home)
    assert told.value.exit_code == 3
    said = str(told.value)
    assert str(home / "insects.tgz") in said
    assert str(home / "insects" / "labels.mat") in said
    assert str(labels.md5) in said
    assert "http://localhost/insects" in said
    assert "data verify" not in said
    (home / "insects").mkdir()
    with pytest.raises(DataError, match=r"2 files") as told:
        get(by_hand, home)
    assert f"mcl-bench data verify insects --root {home / 'insects'}" in str(told.value)
    (home / "insects.tgz").write_bytes(packed)
    (home / "insects" / "labels.mat").write_bytes(LABELS[1:])
    with pytest.raises(DataError, match=r"labels\.mat has md5 .*, must have "):
        get(by_hand, home)
    (home / "insects" / "labels.mat").write_bytes(LABELS)
    assert [one.state for one in get(by_hand, home).archives] == ["there", "there"]
    assert FILES.items() <= visible(home).items()


def test_optional_archives_are_got_when_asked_for(
    facts: DatasetFacts, home: Path, server: Mirror
) -> None:
    masks = archive(
        "masks.mat",
        LABELS,
        server.serve("/masks.mat", Answer(content=LABELS)),
        unpacked=False,
        optional=True,
    )
    more = insects(*facts.archives, masks)
    assert len(get(more, home).archives) == 2
    assert len(get(more, home, optional=True).archives) == 3
    assert visible(home)["masks.mat"] == LABELS


def test_a_malicious_archive_with_the_official_checksum_is_still_refused(
    home: Path, server: Mirror, tmp_path: Path
) -> None:
    evil = tar(tmp_path / "evil.tgz", {}, entry("link", b"2", "/etc/passwd")).read_bytes()
    url = server.serve("/evil.tgz", Answer(content=evil))
    with pytest.raises(DataError, match="holds a link: 'link'"):
        get(insects(archive("evil.tgz", evil, url)), home)
    assert set(visible(home)) == {"evil.tgz"}


def test_two_fetches_at_once_fetch_once(facts: DatasetFacts, home: Path, server: Mirror) -> None:
    at_once = threading.Barrier(2)

    def one() -> Fetched:
        at_once.wait(5)
        return get(facts, home)

    with ThreadPoolExecutor(2) as pool:
        both = [future.result() for future in [pool.submit(one), pool.submit(one)]]
    assert sorted(path for path, _ in server.requests) == ["/i.tgz", "/labels.mat"]
    assert sorted(got.archives[0].state for got in both) == ["there", "unpacked"]
    assert FILES.items() <= visible(home).items()


def test_a_damaged_record_of_what_was_unpacked_is_no_harm(facts: DatasetFacts, home: Path) -> None:
    get(facts, home)
    for damaged in ("{", "[]", json.dumps({"files": 3, "md5": None})):
        (home / ".insects.tgz.unpacked.json").write_text(damaged)
        assert get(facts, home).archives[0].state == "unpacked"


def test_sets_that_need_no_fetch_say_where_their_images_are(home: Path) -> None:
    assert get(DATASETS["parts"].facts, home) == Fetched(root=None, archives=())
    with pytest.raises(DataError, match="folder can't be fetched; its images: yours"):
        get(DATASETS["folder"].facts, home)
    assert not home.exists()


class Insects:
    def __init__(self, facts: DatasetFacts) -> None:
        self.facts = facts


def run(*arguments: str, home: Path) -> Any:
    return CliRunner(env={"MCL_DATA": str(home)}).invoke(
        app, ["data", "fetch", *arguments], catch_exceptions=False
    )


def test_the_verb_fetches_into_the_folder_of_all_data(
    facts: DatasetFacts, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(store_module.DATASETS, "insects", Insects(facts))
    done = run("insects", "--json", home=home)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["root"] == str(home / "insects")
    assert [one["state"] for one in document["archives"]] == ["unpacked", "fetched"]
    assert [one["kept"] for one in document["archives"]] == [[], []]
    edited = home / "insects/list.txt"
    edited.write_bytes(b"edited by hand")
    said = run("insects", home=home).stdout
    assert f"kept, though it is not the official file: {edited}\n" in said
    assert "delete the kept one and fetch again" in said
    assert json.loads(run("insects", "--json", home=home).stdout)["archives"][0]["kept"] == [
        str(edited)
    ]
    assert f"mcl-bench data verify insects --root {home / 'insects'}" in said
    assert run("parts", home=home).exit_code == 0


def test_an_interrupted_verb_says_that_it_goes_on(
    facts: DatasetFacts, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(store_module.DATASETS, "insects", Insects(facts))
    monkeypatch.setattr(fetching, "download", interrupt)
    done = run("insects", "--json", home=home)
    assert done.exit_code == 130
    assert done.stdout == ""
    assert "the same command goes on with it" in done.stderr
