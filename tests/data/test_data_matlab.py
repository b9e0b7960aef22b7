"""Files of Matlab, held against what scipy reads of them."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mcl_bench.data.catalog.matlab import read_matlab

CELLS = np.array([["n1-Chien/ä_1.jpg"], ["n2-犬/2.jpg"], [""]], dtype=object)
RECORDS = np.array(
    [(3.0, "a.jpg"), (250.0, "b c.jpg")], dtype=[("class", object), ("fname", object)]
)
CONTENT: dict[str, Any] = {
    "numbers": np.arange(12.0).reshape(3, 4) / 7,
    "small": np.array([[1, 2, 255]], dtype=np.uint8),
    "negative": np.array([[-(2**40), 5]], dtype=np.int64),
    "cells": CELLS,
    "text": "one line",
    "records": RECORDS,
}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    savemat(tmp_path / "list.mat", CONTENT, do_compression=request.param)
    return tmp_path / "list.mat"


def test_it_reads_what_scipy_reads(file: Path) -> None:
    ours, theirs = read_matlab(file, tuple(CONTENT)), loadmat(file)
    for name in ("numbers", "small", "negative"):
        np.testing.assert_array_equal(np.asarray(ours[name]), theirs[name].ravel(order="F"))
    assert ours["text"] == theirs["text"].item()
    assert ours["cells"][:2] == [cell.item() for cell in theirs["cells"].ravel()[:2]]
    assert len(ours["cells"][2]) == 0
    records = theirs["records"].ravel()
    for one, other in zip(ours["records"], records, strict=True):
        assert isinstance(one, dict)
        assert np.asarray(one["class"]).item() == other["class"].item()
        assert one["fname"] == other["fname"].item()


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


def test_a_damaged_file_is_told_and_ends_nothing(file: Path) -> None:
    whole, rng = file.read_bytes(), random.Random(0)
    outcomes = set()
    for turn in range(400):
        content = bytearray(whole)
        if turn % 3:
            for _ in range(turn % 4 + 1):
                content[rng.randrange(len(content))] = rng.randrange(256)
        else:
            del content[rng.randrange(len(content)) :]
        file.write_bytes(content)
        try:
            read_matlab(file, tuple(CONTENT))
            outcomes.add("read")
        except ValueError as error:
            outcomes.add("told" if str(error).startswith(("is ", "has ")) else str(error))
    assert outcomes == {"read", "told"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no file of Matlab's version 5 to 7"),
        (b"\x89HDF\r\n\x1a\n".ljust(200), "is no file of Matlab's version 5 to 7"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM", "has no variable labels"),
        (
            b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"\x0e\0\0\0\xff\xff\xff\x7f",
            "2147483647 bytes should follow, 0 do",
        ),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.mat").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_matlab(tmp_path / "list.mat", ["labels"])
