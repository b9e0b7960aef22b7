"""Files of MATLAB (version 5 to 7), as lists of images come in, read with every length checked.

scipy's reader is not used: on some damaged files it ends the process. The format is described in
"MAT-File Format" (MathWorks), chapter 1: after a header of 128 bytes come elements, each a type, a
number of bytes and data; a matrix is an element made of elements.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Value: TypeAlias = "npt.NDArray[np.float64] | str | list[Value] | list[dict[str, Value]]"
"""Numbers, text, cells or structures; all flat, in MATLAB's order (columns first)."""

LARGEST_BYTES = 32 * 1024**2
"""Of a file, and of a variable unpacked; the official lists have less than 10 MB."""

_HEADER = 128
_DEEPEST = 8
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
_NUMBERS |= {13: "u8"}
_TEXTS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELLS, _STRUCTURES, _TEXT, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800


def read_matlab(path: Path, names: Collection[str]) -> dict[str, Value]:
    """The variables of a file that have one of these names; of others nothing is read.

    OSError if it cannot be read, ValueError if it is no such file, too large, damaged, or lacks a
    name; the message stands after the file's name.
    """
    nbytes = path.stat().st_size
    if nbytes > LARGEST_BYTES:
        raise ValueError(f"has {nbytes} bytes, more than the {LARGEST_BYTES} of any list")
    content = path.read_bytes()
    orders: dict[bytes, Literal["<", ">"]] = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[126:128])
    if order is None or content[124:126] not in (b"\x00\x01", b"\x01\x00"):
        raise ValueError("is no MATLAB file of version 5 to 7")
    values: dict[str, Value] = {}
    reader = _Reader(order)
    try:
        for matrix in reader.variables(content[_HEADER:]):
            if matrix.name in names:
                values[matrix.name] = reader.value(matrix)
    except (struct.error, zlib.error, UnicodeError) as error:
        raise ValueError(f"is damaged: {error}") from error
    absent = [name for name in names if name not in values]
    if absent:
        raise ValueError(f"has no variable {', '.join(absent)}")
    return values


def _inflated(data: bytes) -> bytes:
    whole = zlib.decompressobj()
    content = whole.decompress(data, LARGEST_BYTES)
    if not whole.eof:
        wrong = "has no end" if len(content) < LARGEST_BYTES else f"exceeds {LARGEST_BYTES} bytes"
        raise ValueError(f"is damaged: a compressed variable {wrong}")
    return content


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """A matrix whose `count` elements are not read yet; `parts` are what holds them.

    `kind` is its class, beside flags that lie above the lowest byte.
    """

    name: str
    kind: int
    count: int
    parts: list[tuple[int, bytes]]


class _Reader:
    """Reads elements of one byte order."""

    def __init__(self, order: Literal["<", ">"]) -> None:
        self._order = order

    def variables(self, content: bytes) -> Iterator[_Matrix]:
        """The matrices of a file, behind its header; objects, which have no size, are left out."""
        for kind, data in self.elements(content, padded=False):
            elements = self.elements(_inflated(data)) if kind == _COMPRESSED else [(kind, data)]
            for inner, matrix in elements:
                if inner == _MATRIX and matrix and self._flags(matrix) & 0xFF != _OPAQUE:
                    yield self._matrix(matrix)

    def elements(self, content: bytes, *, padded: bool = True) -> Iterator[tuple[int, bytes]]:
        """Type and data of each element, one after the other; ValueError where one is cut off.

        Elements begin at every eighth byte, but compressed ones where the last one ends.
        """
        start = 0
        while start < len(content):
            kind, size = struct.unpack_from(f"{self._order}II", content, start)
            if kind >> 16:
                kind, size, first, step = kind & 0xFFFF, kind >> 16, start + 4, 8
                if size > 4:
                    raise ValueError(f"is damaged: a small element of {size} bytes")
            else:
                first = start + 8
                step = 8 + size
                if kind != _COMPRESSED or padded:
                    step = -(-step // 8) * 8
            if first + size > len(content):
                raise ValueError(
                    f"is damaged: {size} bytes should follow, {len(content) - first} do"
                )
            yield kind, content[first : first + size]
            start += step

    def value(self, matrix: _Matrix, depth: int = 0) -> Value:
        """What a matrix holds; ValueError for one of a kind that no list needs."""
        if depth > _DEEPEST:
            raise ValueError("is damaged: matrices in matrices without end")
        value: Value
        if matrix.kind == _STRUCTURES:
            return self._structures(matrix, depth)
        if matrix.kind in _NUMERIC:
            value = self._numbers(matrix.parts)
        elif matrix.kind == _TEXT:
            value = self._text(matrix.parts)
        elif matrix.kind == _CELLS:
            value = self._values(matrix.parts, depth)
        else:
            raise ValueError(f"has a matrix of kind {matrix.kind}, which is not supported")
        if len(value) != matrix.count:
            raise ValueError(f"is damaged: a matrix of {matrix.count} elements has {len(value)}")
        return value

    def _flags(self, content: bytes) -> int:
        for _, flags in self.elements(content):
            return int(struct.unpack_from(f"{self._order}I", flags)[0])
        raise ValueError("is damaged: a matrix without a class")

    def _matrix(self, content: bytes) -> _Matrix:
        parts = list(self.elements(content))
        if len(parts) < 3:
            raise ValueError("is damaged: a matrix without a size or a name")
        (_, flags), (_, sides), (_, name), *data = parts
        kind = struct.unpack_from(f"{self._order}I", flags)[0] & (_COMPLEX | 0xFF)
        count = math.prod(struct.unpack(f"{self._order}{len(sides) // 4}i", sides))
        return _Matrix(name=name.decode(), kind=kind, count=count, parts=data)

    def _numbers(self, data: list[tuple[int, bytes]]) -> npt.NDArray[np.float64]:
        kind, content = data[0] if data else (9, b"")
        if kind not in _NUMBERS:
            raise ValueError(f"is damaged: numbers of type {kind}")
        dtype = np.dtype(_NUMBERS[kind]).newbyteorder(self._order)
        if len(content) % dtype.itemsize:
            raise ValueError(f"is damaged: {len(content)} bytes of {dtype.itemsize} each")
        return np.frombuffer(content, dtype=dtype).astype(np.float64)

    def _text(self, data: list[tuple[int, bytes]]) -> str:
        kind, content = data[0] if data else (16, b"")
        if kind not in _TEXTS:
            raise ValueError(f"is damaged: text of type {kind}")
        ending = {"<": "-le", ">": "-be"}[self._order] if _TEXTS[kind] != "utf-8" else ""
        return content.decode(_TEXTS[kind] + ending)

    def _values(self, data: list[tuple[int, bytes]], depth: int) -> "list[Value]":
        values: list[Value] = []
        empty = np.empty(0)
        for kind, content in data:
            if kind != _MATRIX:
                raise ValueError(f"is damaged: a cell of type {kind}")
            values.append(self.value(self._matrix(content), depth + 1) if content else empty)
        return values

    def _structures(self, matrix: _Matrix, depth: int) -> "list[dict[str, Value]]":
        if len(matrix.parts) < 2:
            raise ValueError("is damaged: a structure without fields")
        (_, length), (_, names), *data = matrix.parts
        width = struct.unpack(f"{self._order}i", length)[0]
        if width < 1 or len(names) % width:
            raise ValueError("is damaged: the names of a structure's fields")
        fields = [
            names[start : start + width].split(b"\0")[0].decode()
            for start in range(0, len(names), width)
        ]
        values = self._values(data, depth)
        if matrix.count < 0 or len(values) != matrix.count * len(fields):
            raise ValueError(f"is damaged: {matrix.count} structures have {len(values)} fields")
        return [
            dict(zip(fields, values[row * len(fields) : (row + 1) * len(fields)], strict=True))
            for row in range(matrix.count)
        ]
