"""MATLAB files: read as SciPy reads them, and a damaged one is an error and nothing worse."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mat_trees import write_cars_annos, write_cars_devkit, write_flowers102
from scipy.io import loadmat, savemat

from mcl_bench.data.catalog import mat_format
from mcl_bench.data.catalog.mat_files import read_names, read_numbers, read_structures
from mcl_bench.data.catalog.mat_format import Cells, MatError, Structures, variables
from mcl_bench.data.catalog.source import Fault


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
    if isinstance(value, Cells):
        return [ours(one) for one in value.values]
    if isinstance(value, Structures):
        return [{name: ours(one) for name, one in row.items()} for row in value.rows]
    return value


def both(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    theirs = {name: plain(v) for name, v in loadmat(path).items() if not name.startswith("__")}
    found = variables(path.read_bytes(), list(theirs))
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


def test_the_lists_of_cars_and_flowers_are_read_as_scipy_reads_them(tmp_path: Path) -> None:
    write_cars_annos(tmp_path)
    write_cars_devkit(tmp_path)
    write_flowers102(tmp_path)
    files = sorted(tmp_path.rglob("*.mat"))
    assert len(files) == 7
    for file in files:
        found, wanted = both(file)
        assert found == wanted


def test_only_the_variables_that_are_asked_for_are_read(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"a": [[1]], "complex": [[1j]], "b": [[2]]})
    content = (tmp_path / "a.mat").read_bytes()
    assert variables(content, ["b", "absent"]) == {"b": (2,)}
    with pytest.raises(MatError, match="which is none of a list"):
        variables(content, ["complex"])


def is_whole(content: bytes) -> bool:
    try:
        return len(variables(content, ["annotations", "class_names"])) == 2
    except MatError:
        return False


def test_no_damage_does_more_than_being_told(tmp_path: Path) -> None:
    write_cars_annos(tmp_path, classes=2, counts={"train": 2, "test": 1})
    compressed = (tmp_path / "cars_annos.mat").read_bytes()
    values = {k: v for k, v in loadmat(tmp_path / "cars_annos.mat").items() if k[0] != "_"}
    savemat(tmp_path / "plain.mat", values)
    plain_file = (tmp_path / "plain.mat").read_bytes()
    rng = np.random.default_rng(0)
    told = 0
    for whole in (compressed, plain_file):
        for length in range(0, len(whole) - 8, max(1, len(whole) // 150)):
            assert not is_whole(whole[:length])
        for _ in range(600):
            damaged = bytearray(whole)
            for place in rng.integers(100, len(whole), 3):
                damaged[place] = rng.integers(0, 256)
            told += not is_whole(bytes(damaged))
    assert told > 600


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_format, "LARGEST_BYTES", 1000)
    header = b" " * 124 + struct.pack("<H", 0x0100) + b"IM"
    packed = zlib.compress(b"\0" * 100_000)
    with pytest.raises(MatError, match="exceed 1000 bytes"):
        variables(header + struct.pack("<II", 15, len(packed)) + packed, ["a"])


def test_a_size_that_no_bytes_stand_for_is_refused(tmp_path: Path) -> None:
    cells = np.empty((1, 3), dtype=object)
    cells[:] = [[np.array([1]), np.array([2]), np.array([3])]]
    savemat(tmp_path / "a.mat", {"a": cells})
    content = (tmp_path / "a.mat").read_bytes()
    shape = struct.pack("<ii", 1, 3)
    assert content.count(shape) == 1
    with pytest.raises(MatError, match="cut off"):
        variables(content.replace(shape, struct.pack("<ii", 2**30, 2**30)), ["a"])
    with pytest.raises(MatError, match="negative size"):
        variables(content.replace(shape, struct.pack("<ii", -1, 3)), ["a"])


@pytest.mark.parametrize(
    ("content", "kind", "detail"),
    [
        (b"", "empty", "is empty"),
        (b"<html>not found</html>" * 20, "corrupt", "no MATLAB file of version 5 to 7"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF", "corrupt", "another version"),
        (None, "corrupt", "Is a directory"),
    ],
)
def test_a_file_that_is_no_list_is_told(
    tmp_path: Path, content: bytes | None, kind: str, detail: str
) -> None:
    if content is None:
        (tmp_path / "a.mat").mkdir()
    else:
        (tmp_path / "a.mat").write_bytes(content)
    faults: list[Fault] = []
    assert read_numbers(tmp_path, "a.mat", ("a",), report=faults.append) is None
    assert [(fault.kind, fault.file) for fault in faults] == [(kind, "a.mat")]
    assert detail in faults[0].detail


def test_variables_of_another_form_are_told(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"text": "x", "numbers": [[1, 2.5]], "record": {"x": 1}})
    faults: list[Fault] = []

    def details() -> list[str]:
        found = [fault.detail for fault in faults]
        faults.clear()
        return found

    found = read_numbers(tmp_path, "a.mat", ("numbers",), report=faults.append)
    assert found == {"numbers": (1, None)}
    assert read_numbers(tmp_path, "a.mat", ("text",), report=faults.append) is None
    assert details() == ["its variable text must hold numbers"]
    assert read_numbers(tmp_path, "a.mat", ("trnid",), report=faults.append) is None
    assert details() == ["has no variable trnid"]
    assert read_names(tmp_path, "a.mat", "numbers", report=faults.append) is None
    assert details() == ["its variable numbers must be a cell array of strings"]
    fields = ("x", "class")
    assert read_structures(tmp_path, "a.mat", "record", fields=fields, report=faults.append) is None
    assert details() == ["its variable record has no field class"]
