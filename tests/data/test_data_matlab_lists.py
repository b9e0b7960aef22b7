"""Lists that are MATLAB files: what is none is told, by its file."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mcl_bench.data.catalog.matlab_lists import read_names, read_numbers, read_structures
from mcl_bench.data.catalog.source import Fault


@pytest.mark.parametrize(
    ("content", "kind", "detail"),
    [
        (b"", "empty", "is empty"),
        (b"<html>not found</html>" * 20, "corrupt", "is no MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM\x89HDF", "corrupt", "of version 5 to 7"),
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


def test_a_list_of_nothing_is_empty(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"names": np.empty((0, 1), dtype=object)})
    faults: list[Fault] = []
    assert read_names(tmp_path, "a.mat", "names", report=faults.append) is None
    assert [(fault.kind, fault.detail) for fault in faults] == [
        ("empty", "its variable names has nothing in it")
    ]
