"""MATLAB files: read as SciPy reads them, and a damaged one is an error and nothing worse."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dogs_tree import write_dogs
from mat_trees import write_cars_annos, write_cars_devkit, write_flowers102
from scipy.io import loadmat, savemat

from mcl_bench.data.catalog import matlab
from mcl_bench.data.catalog.matlab import read_matlab

HEADER = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"


def plain(value: Any) -> Any:
    """What SciPy read, without shapes."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        return [{name: plain(row[name]) for name in value.dtype.names} for row in value.ravel("F")]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [plain(one) for one in value.ravel("F")]
    if value.dtype.kind == "U":
        return str(value[0]) if value.size else ""
    return tuple(value.ravel("F").tolist())


def ours(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: ours(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return [ours(one) for one in value] if isinstance(value, list) else value


def both(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs = {name: plain(v) for name, v in loadmat(path).items() if not name.startswith("__")}
    found = read_matlab(path, list(theirs))
    return {name: ours(value) for name, value in found.items()}, theirs


@pytest.mark.parametrize("compressed", [True, False])
def test_any_variable_of_a_list_is_read_as_scipy_reads_it(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [[np.array(["Grün Ж"]), np.arange(3)], [np.zeros((0, 0)), np.array(["a"])]]
    values: dict[str, Any] = {
        kind: rng.integers(0, 100, (2, 3)).astype(kind)
        for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    }
    values |= {"single": rng.random((3, 1), dtype=np.float32), "double": rng.random((1, 4))}
    values |= {"flag": np.array([[True, False]]), "nothing": np.zeros((0, 0)), "word": "wörter"}
    values |= {"cells": cells, "record": {"name": "x", "inner": {"number": 3.5}}}
    savemat(tmp_path / "all.mat", values, do_compression=compressed)
    found, wanted = both(tmp_path / "all.mat")
    assert found == wanted
    assert found.keys() == values.keys()


def test_the_lists_of_each_set_are_read_as_scipy_reads_them(tmp_path: Path) -> None:
    for number, write in enumerate(
        (write_cars_annos, write_cars_devkit, write_flowers102, write_dogs)
    ):
        write(tmp_path / str(number))
    files = sorted(tmp_path.rglob("*.mat"))
    assert len(files) == 10
    for file in files:
        found, wanted = both(file)
        assert found == wanted


def test_a_file_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    """Four numbers as a big-endian machine writes them."""
    matrix = b"".join(
        [
            bytes.fromhex("00000006 00000008 00000006 00000000"),
            bytes.fromhex("00000005 00000008 00000004 00000001"),
            bytes.fromhex("00010001 78000000"),
            bytes.fromhex("00000004 00000008 0001 0102 0003 0004"),
        ]
    )
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    size = len(matrix).to_bytes(4, "big")
    (tmp_path / "big.mat").write_bytes(head + bytes.fromhex("0000000e") + size + matrix)
    read = read_matlab(tmp_path / "big.mat", ["x"])["x"]
    assert np.asarray(read).tolist() == [1, 258, 3, 4]


def test_only_the_variables_that_are_asked_for_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    savemat(file, {"a": [[1]], "complex": [[1j]], "b": [[2]]})
    assert ours(read_matlab(file, ["b"])) == {"b": (2,)}
    with pytest.raises(ValueError, match="has no variable absent, other"):
        read_matlab(file, ["b", "absent", "other"])
    with pytest.raises(ValueError, match="not supported"):
        read_matlab(file, ["complex"])


def test_an_object_that_no_list_needs_is_passed_over(tmp_path: Path) -> None:
    """As MATLAB writes a variable of its class `string`: without sides."""
    savemat(tmp_path / "a.mat", {"a": [[7]]})
    flags, name = struct.pack("<4I", 6, 8, 17, 0), struct.pack("<HH4s", 1, 1, b"s")
    opaque = struct.pack("<2I", 14, len(flags + name)) + flags + name
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(content[:128] + opaque + content[128:])
    assert ours(read_matlab(tmp_path / "a.mat", ["a"])) == {"a": (7,)}


def is_whole(file: Path, content: bytes) -> bool:
    file.write_bytes(content)
    try:
        return len(read_matlab(file, ["annotations", "class_names"])) == 2
    except ValueError as error:
        assert str(error).startswith(("is ", "has "))
        return False


def test_no_damage_does_more_than_being_told(tmp_path: Path) -> None:
    file = tmp_path / "cars_annos.mat"
    write_cars_annos(tmp_path, classes=2, counts={"train": 2, "test": 1})
    compressed = file.read_bytes()
    savemat(file, {k: v for k, v in loadmat(file).items() if k[0] != "_"})
    rng = np.random.default_rng(0)
    told = 0
    for whole in (compressed, file.read_bytes()):
        assert is_whole(file, whole)
        for length in range(0, len(whole) - 8, max(1, len(whole) // 60)):
            assert not is_whole(file, whole[:length])
        for _ in range(200):
            damaged = bytearray(whole)
            for place in rng.integers(100, len(whole), 3):
                damaged[place] = rng.integers(0, 256)
            told += not is_whole(file, bytes(damaged))
    assert told > 200


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "LARGEST_BYTES", 1000)
    packed = zlib.compress(b"\0" * 100_000)
    (tmp_path / "a.mat").write_bytes(HEADER + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(ValueError, match="exceeds 1000 bytes"):
        read_matlab(tmp_path / "a.mat", ["a"])
    (tmp_path / "a.mat").write_bytes(HEADER.ljust(1001))
    with pytest.raises(ValueError, match="has 1001 bytes, more than the 1000"):
        read_matlab(tmp_path / "a.mat", ["a"])


def test_a_size_that_no_bytes_stand_for_is_refused(tmp_path: Path) -> None:
    cells = np.empty((1, 3), dtype=object)
    cells[:] = [[np.array([1]), np.array([2]), np.array([3])]]
    savemat(tmp_path / "a.mat", {"a": cells})
    content = (tmp_path / "a.mat").read_bytes()
    shape = struct.pack("<ii", 1, 3)
    assert content.count(shape) == 1
    for sides, count in (((2**30, 2**30), 2**60), ((-1, 3), -3)):
        (tmp_path / "a.mat").write_bytes(content.replace(shape, struct.pack("<ii", *sides)))
        with pytest.raises(ValueError, match=f"a matrix of {count} elements has 3"):
            read_matlab(tmp_path / "a.mat", ["a"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no MATLAB file of version 5 to 7"),
        (b"\x89HDF\r\n\x1a\n".ljust(200), "is no MATLAB file of version 5 to 7"),
        (b"MATLAB 7.3".ljust(124) + b"\0\2IM\x89HDF", "is no MATLAB file of version 5 to 7"),
        (HEADER, "has no variable labels"),
        (HEADER + b"\x0e\0\0\0\xff\xff\xff\x7f", "2147483647 bytes should follow, 0 do"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.mat").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_matlab(tmp_path / "list.mat", ["labels"])
