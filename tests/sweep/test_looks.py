"""The ledger of looks at test: chained, sealed, held against the records."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_sweep_folder import EXPERIMENT, opened

from mcl_bench import files
from mcl_bench.records import DataError
from mcl_bench.results.folder import count_looks, ledger_warnings
from mcl_bench.sweep.folder import SweepFolder

Lines = list[str]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def written(path: Path, count: int = 4, *, cell: str = "c") -> SweepFolder:
    """A sweep with so many looks, each with its record, and closed."""
    folder = opened(path)
    for k in range(count):
        folder.look(cell=cell, key=f"k{k}", seed=k, of=0)
        ended = {"cell": cell, "stage": "confirm", "trial": k, "key": f"k{k}", "seed": k}
        files.append_line(path / "records.jsonl", ended)
    folder.close()
    return folder


def lines_of(path: Path) -> Lines:
    return (path / "looks.jsonl").read_text().splitlines()


def rewrite(path: Path, lines: Lines) -> None:
    (path / "looks.jsonl").write_text("".join(f"{line}\n" for line in lines))


def changed(line: str, **changes: Any) -> str:
    return json.dumps({**json.loads(line), **changes})


def test_each_look_holds_the_hash_of_the_one_before_and_is_its_grants_entry(
    tmp_path: Path,
) -> None:
    folder = opened(tmp_path / "s")
    grants = [folder.look(cell="c", key=f"k{k}", seed=k, of=None) for k in range(3)]
    lines = lines_of(tmp_path / "s")
    links = [json.loads(line)["previous"] for line in lines]
    assert links == ["start", *map(sha256, lines[:2])]
    assert [grant.entry for grant in grants] == [sha256(line) for line in lines]


TAMPERED: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "changed": (lambda a: [a[0], changed(a[1], of=9), *a[2:]], r":3: .*changed or removed"),
    "first changed": (lambda a: [changed(a[0], time=1.0), *a[1:]], ":2: .*changed or removed"),
    "last changed": (lambda a: [*a[:3], changed(a[3], time=1.0)], ":4: .*is not what was written"),
    "removed": (lambda a: [a[0], *a[2:]], ":2: .*changed or removed"),
    "first removed": (lambda a: a[1:], ":1: .*changed or removed"),
    "last removed": (lambda a: a[:3], ":4: .*line 4 was written and is gone"),
    "all removed": (lambda _: [], ":1: .*line 1 was written and is gone"),
    "reordered": (lambda a: [a[0], a[2], a[1], a[3]], ":2: .*written after line 3, and does not"),
    "turned": (lambda a: a[::-1], ":1: .*line 1 was written after line 2"),
    "doubled": (lambda a: [*a, a[3]], ":5: .*written after line 3"),
    "added": (
        lambda a: [*a, json.dumps({"cell": "c", "key": "x", "seed": 5, "of": 0, "time": 1.0})],
        ":5: .*line 5 holds no hash of the line before it",
    ),
    "added in front": (
        lambda a: [json.dumps({"cell": "c", "key": "x", "seed": 5, "of": 0, "time": 1.0}), *a],
        ":1: .*line 1 holds no hash",
    ),
    "two added with their hashes": (
        lambda a: [
            *a,
            *(two := [changed(a[3], key="x", previous=sha256(a[3]))]),
            changed(a[3], key="y", previous=sha256(two[0])),
        ],
        ":5: .*line 5 and those after it were added by hand",
    ),
    "links taken away": (
        lambda a: [json.dumps({**json.loads(line), "previous": None}) for line in a],
        ":1: .*line 1 holds no hash",
    ),
    "made to look older than the chain": (
        lambda a: [line.partition(', "previous"')[0] + "}" for line in a],
        ":1: .*line 1 holds no hash",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_ledger_that_was_tampered_with_stops_the_sweep(tmp_path: Path, how: str) -> None:
    written(tmp_path / "s")
    tamper, words = TAMPERED[how]
    rewrite(tmp_path / "s", tamper(lines_of(tmp_path / "s")))
    with pytest.raises(DataError, match=f"looks.jsonl{words}") as raised:
        SweepFolder(tmp_path / "s").open(EXPERIMENT)
    assert raised.value.exit_code == 3
    assert "put the file back from a copy" in str(raised.value.remedy)
    with pytest.raises(DataError):  # and it has let the lock go
        SweepFolder(tmp_path / "s").open(EXPERIMENT)


def test_a_record_without_its_look_stops_the_sweep_without_a_seal_too(tmp_path: Path) -> None:
    written(tmp_path / "s")
    unseal(tmp_path / "s")
    rewrite(tmp_path / "s", lines_of(tmp_path / "s")[:3])
    with pytest.raises(DataError, match=r"no look of c/confirm-3, seed 3, whose record is line 4"):
        opened(tmp_path / "s")


def unseal(path: Path) -> None:
    """Make the sweep one that is older than seals."""
    facts = json.loads((path / "sweep.json").read_text())
    facts.pop("looks", None)
    (path / "sweep.json").write_text(json.dumps(facts))


def older(path: Path, count: int = 3) -> Lines:
    """A sweep whose looks are older than the chain."""
    written(path, count)
    unseal(path)
    plain = [json.loads(line) for line in lines_of(path)]
    lines = [json.dumps({k: v for k, v in look.items() if k != "previous"}) for look in plain]
    rewrite(path, lines)
    return lines


def test_looks_older_than_the_chain_are_taken_and_sealed_by_the_next(tmp_path: Path) -> None:
    lines = older(tmp_path / "s")
    folder = opened(tmp_path / "s")
    grant = folder.look(cell="c", key="k0", seed=0, of=0)
    assert grant.entry == sha256(lines[0])
    folder.look(cell="c", key="new", seed=0, of=0)
    folder.close()
    assert lines_of(tmp_path / "s")[:3] == lines
    assert json.loads(lines_of(tmp_path / "s")[3])["previous"] == sha256("\n".join(lines))
    opened(tmp_path / "s").close()
    for tampered in (
        [changed(lines[0], time=1.0), *lines[1:]],
        lines[1:],
        [lines[1], lines[0], lines[2]],
        [*lines, lines[0]],
    ):
        rewrite(tmp_path / "s", [*tampered, lines_of(tmp_path / "s")[-1]])
        with pytest.raises(DataError, match="tampered with"):
            opened(tmp_path / "s")


def test_looks_older_than_the_chain_are_sealed_when_they_are_first_read(tmp_path: Path) -> None:
    lines = older(tmp_path / "s")
    opened(tmp_path / "s").close()
    rewrite(tmp_path / "s", [changed(lines[0], time=1.0), *lines[1:]])
    with pytest.raises(DataError, match="is not what was written"):
        opened(tmp_path / "s")


def test_a_look_whose_seal_a_crash_prevented_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "s", 2)
    facts = (tmp_path / "s" / "sweep.json").read_text()
    folder = opened(tmp_path / "s")
    grant = folder.look(cell="c", key="late", seed=9, of=0)
    folder.close()
    (tmp_path / "s" / "sweep.json").write_text(facts)
    again = opened(tmp_path / "s")
    assert again.look(cell="c", key="late", seed=9, of=0) == grant
    again.close()
    opened(tmp_path / "s").close()


@pytest.mark.parametrize("old", [False, True])
def test_a_new_sweep_goes_on_with_the_chain_of_the_old_one(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "s"
    lines = older(path) if old else (written(path), lines_of(path))[1]
    folder = opened(path)
    folder.retire(folder.next_name())
    folder.close()
    again = opened(path)
    again.look(cell="c", key="fresh", seed=0, of=None)
    again.close()
    now = lines_of(path)
    assert now[:-1] == lines
    assert json.loads(now[-1])["previous"] == (
        sha256("\n".join(lines)) if old else sha256(lines[-1])
    )
    opened(path).close()
    assert lines_of(tmp_path / "s.1") == lines
    rewrite(path, now[1:])
    with pytest.raises(DataError, match="tampered with"):
        opened(path)


def test_a_file_that_only_grew_is_no_break() -> None:
    lines: Lines = []
    for number in range(5):
        link = sha256(lines[-1]) if lines else "start"
        lines.append(json.dumps({"n": number, "previous": link}))
    for count in range(6):
        assert files.find_break(lines, files.seal(lines[:count])) is None
    assert files.find_break(lines, None) is None
    assert dataclasses.asdict(files.seal([])) == {"unchained": 0, "count": 0, "link": "start"}


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (b"{}\n", r"looks.jsonl:5: damaged: it names no cell, key and seed"),
        (b'{"cell": "c", "key": "k", "seed": [0]}\n', r"looks.jsonl:5: damaged: it names no cell"),
        (b"\xff\n", r"line 5 of .*looks.jsonl is damaged: it is no text"),
    ],
)
def test_a_line_that_is_no_look_is_told_by_who_goes_on_and_by_who_reads(
    tmp_path: Path, added: bytes, words: str
) -> None:
    path = tmp_path / "s"
    written(path)
    with (path / "looks.jsonl").open("ab") as file:
        file.write(added)
    with pytest.raises(DataError, match=words):
        SweepFolder(path).open(EXPERIMENT)
    with pytest.raises(DataError, match=r"line 5 of .*looks.jsonl is damaged"):
        ledger_warnings(path, ())
    with pytest.raises(DataError, match=r"line 5 of .*looks.jsonl is damaged"):
        count_looks(path, "c")


def test_a_seal_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    written(path)
    facts = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**facts, "looks": "none"}))
    with pytest.raises(DataError, match=r"sweep.json: the seal of the looks at test is damaged"):
        SweepFolder(path).open(EXPERIMENT)
