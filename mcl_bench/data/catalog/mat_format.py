"""The format of MATLAB files of version 5 to 7, as far as lists of images need it.

Numbers, strings, cells and structures are read, and nothing is run or unpickled; what else a file
has is an error. A damaged file is a MatError, whatever is damaged: every length is held against
the bytes that are there, and what is compressed is unpacked up to a limit. SciPy's reader isn't
used: a damaged file can end the process, which its documentation warns of.

The format is MathWorks' "MAT-File Format" (level 5): a header of 128 bytes, then elements, each a
tag (type, number of bytes) and its data, filled up to 8 bytes. A matrix is an element of elements:
flags, dimensions, name, and what is in it, column by column.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

LARGEST_BYTES = 32 * 1024**2
"""Of a variable, unpacked; the official lists have less than 10 MB."""

_HEADER = 128
_DEEPEST = 8
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_CODES: Mapping[int, str] = {
    1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q",
}  # fmt: skip
_SIZES: Mapping[str, int] = {code: struct.calcsize(f"={code}") for code in _CODES.values()}
_TEXTS: Mapping[int, str] = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16"}

Numbers: TypeAlias = tuple[float, ...]


class MatError(ValueError):
    """What is wrong with a file, in words that stand after `cannot be read: `."""


@dataclass(frozen=True)
class Cells:
    """The values of a cell array."""

    values: "tuple[Value, ...]"


@dataclass(frozen=True)
class Structures:
    """The elements of a structure array: the value of each field."""

    fields: tuple[str, ...]
    rows: "tuple[Mapping[str, Value], ...]"


Value: TypeAlias = Numbers | str | Cells | Structures
"""A variable: its elements in MATLAB's order, without its shape."""


class _Element(NamedTuple):
    """The type of an element, and where its data lie; `end` is where the next one starts."""

    kind: int
    start: int
    nbytes: int
    end: int


def variables(content: bytes, names: Collection[str]) -> dict[str, Value]:
    """Those of the variables `names` that a file's bytes have; MatError for a damaged file."""
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise MatError("no MATLAB file of version 5 to 7")
    order = "<" if content[126:128] == b"IM" else ">"
    if struct.unpack_from(f"{order}H", content, 124)[0] != 0x0100:
        raise MatError("a MATLAB file of another version than 5 to 7")
    found: dict[str, Value] = {}
    for reader in _variables(content, order):
        name, value = reader.variable(names)
        if value is not None:
            found[name] = value
        if len(found) == len(names):
            break
    return found


def _variables(content: bytes, order: str) -> Iterator["_Reader"]:
    """A reader of each variable, unpacked."""
    file = _Reader(content, order)
    position = _HEADER
    while position < len(content):
        element = file.element(position, len(content))
        data = content[element.start : element.start + element.nbytes]
        if element.kind == _COMPRESSED:
            yield _Reader(_unpacked(data), order)
            position = element.start + element.nbytes
        else:
            yield _Reader(content[position : element.end], order)
            position = element.end


def _unpacked(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, LARGEST_BYTES)
    except zlib.error as error:
        raise MatError(f"its compressed data are damaged ({error})") from error
    if not stream.eof:
        words = "are cut off" if len(unpacked) < LARGEST_BYTES else f"exceed {LARGEST_BYTES} bytes"
        raise MatError(f"its compressed data {words}")
    return unpacked


class _Reader:
    """Reads elements of one variable's bytes, none of them past its end."""

    def __init__(self, content: bytes, order: str) -> None:
        self._content = content
        self._order = order
        self._words = struct.Struct(f"{order}II")

    def variable(self, names: Collection[str]) -> tuple[str, Value | None]:
        """The variable's name, and its value if the name is one of `names`."""
        element = self.element(0, len(self._content))
        if element.kind != _MATRIX:
            raise MatError(f"an element of type {element.kind} where a variable must be")
        flags = self._numbers(self.element(element.start, element.end), kinds=(6,), at_least=1)
        if int(flags[0]) & 0xFF == _OPAQUE:
            return "", None
        name = self._matrix_head(element)[2]
        return name, self._matrix(element, depth=0) if name in names else None

    def element(self, position: int, limit: int) -> _Element:
        """The element at `position`, which must end at `limit` or before."""
        if position + 8 > limit:
            raise MatError("it is cut off")
        kind, nbytes = self._words.unpack_from(self._content, position)
        start = position + 8
        if kind >> 16:
            kind, nbytes, start = kind & 0xFFFF, kind >> 16, position + 4
            if nbytes > 4:
                raise MatError(f"a short element of {nbytes} bytes")
        if start + nbytes > limit:
            raise MatError("it is cut off")
        end = position + 8 if start == position + 4 else start + -(-nbytes // 8) * 8
        return _Element(kind, start, nbytes, min(end, limit))

    def _matrix_head(self, matrix: _Element) -> tuple[int, int, str, int]:
        """Flags, number of elements, name, and where what is in it starts."""
        limit = matrix.start + matrix.nbytes
        flags = self.element(matrix.start, limit)
        shape = self.element(flags.end, limit)
        name = self.element(shape.end, limit)
        flag, *_ = self._numbers(flags, kinds=(6,), at_least=1)
        sides = self._numbers(shape, kinds=(5, 6), at_least=2)
        if min(sides) < 0:
            raise MatError("a variable of negative size")
        return int(flag), math.prod(map(int, sides)), self._text(name), name.end

    def _matrix(self, matrix: _Element, *, depth: int) -> Value:
        if depth > _DEEPEST:
            raise MatError(f"cells and structures in one another, more than {_DEEPEST} deep")
        if not matrix.nbytes:
            return ()
        flags, count, _, start = self._matrix_head(matrix)
        limit = matrix.start + matrix.nbytes
        kind = flags & 0xFF
        if kind == _CELL:
            return Cells(tuple(self._matrices(start, limit, count, depth=depth)))
        if kind == _STRUCT:
            return self._structures(start, limit, count, depth=depth)
        if kind == _CHAR:
            return self._text(self.element(start, limit)) if count else ""
        if kind not in _NUMERIC or flags & _COMPLEX:
            raise MatError(f"a variable of class {kind}, which is none of a list")
        numbers = self._numbers(self.element(start, limit), kinds=_CODES)
        if len(numbers) != count:
            raise MatError(f"{len(numbers)} numbers where {count} must be")
        return numbers

    def _matrices(self, start: int, limit: int, count: int, *, depth: int) -> Iterator[Value]:
        if count * 8 > limit - start:
            raise MatError("it is cut off")
        for _ in range(count):
            element = self.element(start, limit)
            if element.kind != _MATRIX:
                raise MatError(f"an element of type {element.kind} where a value must be")
            yield self._matrix(element, depth=depth + 1)
            start = element.end

    def _structures(self, start: int, limit: int, count: int, *, depth: int) -> Structures:
        width = self.element(start, limit)
        (length, *_) = self._numbers(width, kinds=(5, 6), at_least=1)
        names = self.element(width.end, limit)
        size = int(length)
        if size < 1 or names.nbytes < size or names.nbytes % size:
            raise MatError("a structure without fields")
        texts = self._content[names.start : names.start + names.nbytes]
        fields = tuple(
            texts[i : i + size].split(b"\0")[0].decode("latin-1")
            for i in range(0, len(texts), size)
        )
        values = tuple(self._matrices(names.end, limit, count * len(fields), depth=depth))
        step = len(fields)
        rows = (
            dict(zip(fields, values[i * step : (i + 1) * step], strict=True)) for i in range(count)
        )
        return Structures(fields, tuple(rows))

    def _numbers(self, element: _Element, *, kinds: Collection[int], at_least: int = 0) -> Numbers:
        if element.kind not in kinds:
            raise MatError(f"data of type {element.kind} where numbers must be")
        code = _CODES[element.kind]
        count, rest = divmod(element.nbytes, _SIZES[code])
        if rest or count < at_least:
            raise MatError(f"{element.nbytes} bytes where numbers must be")
        return struct.unpack_from(f"{self._order}{count}{code}", self._content, element.start)

    def _text(self, element: _Element) -> str:
        if element.kind not in _TEXTS:
            raise MatError(f"data of type {element.kind} where text must be")
        coding = _TEXTS[element.kind]
        if coding == "utf-16":
            coding += "-le" if self._order == "<" else "-be"
        data = self._content[element.start : element.start + element.nbytes]
        try:
            return data.decode(coding)
        except UnicodeDecodeError as error:
            raise MatError(f"text that is none in {coding}") from error
