"""One packed file: an Arrow IPC file of images of one size, written in a stream, read by mapping.

A row has `id`, `label`, `official` (validation), `sum` (of the image's bytes), the image, a column
`extra.NAME` for whatever else is known, and `group` where the set has groups. The image is `pixels`
(planar uint8 RGB) or, in an encoded file, `jpeg` (a file's bytes). The schema's metadata hold the
header, which is known before the first image; a last batch without rows carries the summary, which
is known after the last. A file without a summary is not finished.

The summary's `sha256` is over header, summary and all columns but the images, and is checked
whenever a file is opened; an image is held against its sum when it is first read.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from mcl_bench.data.encoded import EncodedImages, Files
from mcl_bench.data.images import ImageSet, Pixels, StoredImages
from mcl_bench.data.mode import Mode
from mcl_bench.data.sums import MENDED, Sums, sum_of
from mcl_bench.records import DataError

VERSION = 2
"""Raised whenever files are written in another way; part of a packed file's name."""

_METADATA = b"mcl_bench"
_EXTRA = "extra."
_COLUMN: Mapping[Mode, str] = {"decoded": "pixels", "encoded": "jpeg"}
_BATCH_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image to be packed; `image` is 3×S×S, or in an encoded file the bytes of a JPEG."""

    id: str
    label: int
    official: bool
    image: npt.NDArray[np.uint8]
    extra: Mapping[str, npt.NDArray[np.float32]]
    group: str | None = None


def batch_rows(size: int) -> int:
    """How many images are packed together: some 16 MiB of pixels."""
    return max(1, min(4096, _BATCH_BYTES // (3 * size * size)))


class Writer:
    """Writes a packed file in record batches; `finish` makes it whole."""

    def __init__(
        self,
        path: Path,
        *,
        size: int,
        mode: Mode,
        header: Mapping[str, Any],
        extra_shapes: Mapping[str, tuple[int, ...]],
        grouped: bool = False,
    ) -> None:
        self._size = size
        self._grouped = grouped
        self._mode = mode
        self._extra_shapes = dict(extra_shapes)
        images = pa.binary(3 * size * size) if mode == "decoded" else pa.large_binary()
        fields = [
            pa.field("id", pa.string()),
            pa.field("label", pa.int32()),
            pa.field("official", pa.bool_()),
            pa.field("sum", pa.uint64()),
            pa.field(_COLUMN[mode], images),
        ]
        fields += [
            pa.field(f"{_EXTRA}{name}", pa.list_(pa.float32(), int(np.prod(shape))))
            for name, shape in self._extra_shapes.items()
        ]
        if grouped:
            fields.append(pa.field("group", pa.string()))
        facts = {
            **header,
            "version": VERSION,
            "size": size,
            "mode": mode,
            "extra": {name: list(shape) for name, shape in self._extra_shapes.items()},
        }
        self._seal = _Seal(facts, mode)
        self._schema = pa.schema(fields, metadata={_METADATA: json.dumps(facts)})
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as closing:
            closing.callback(self._file.close)
            if error is None:
                self._writer.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Append these images as one record batch; none, if there are none."""
        if rows:
            batch = self._batch(rows)
            self._seal.add(batch)
            self._writer.write_batch(batch)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Append the summary, which makes the file whole."""
        sealed = {**summary, "sha256": self._seal.closed(summary)}
        self._writer.write_batch(self._batch([]), custom_metadata={_METADATA: json.dumps(sealed)})

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        columns = [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.label for row in rows], pa.int32()),
            pa.array([row.official for row in rows], pa.bool_()),
            pa.array([sum_of(row.image) for row in rows], pa.uint64()),
            self._images([row.image for row in rows]),
        ]
        for name, shape in self._extra_shapes.items():
            values = np.array([row.extra[name] for row in rows], dtype=np.float32).reshape(-1)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), int(np.prod(shape))))
        if self._grouped:
            columns.append(pa.array([row.group for row in rows], pa.string()))
        return pa.record_batch(columns, schema=self._schema)

    def _images(self, images: Sequence[npt.NDArray[np.uint8]]) -> pa.Array:
        joined = np.concatenate([np.empty(0, np.uint8), *(image.reshape(-1) for image in images)])
        if self._mode == "decoded":
            kind, buffers = pa.binary(3 * self._size * self._size), [None, pa.py_buffer(joined)]
        else:
            ends = np.cumsum([0, *(image.size for image in images)], dtype=np.int64)
            kind, buffers = pa.large_binary(), [None, pa.py_buffer(ends), pa.py_buffer(joined)]
        return pa.Array.from_buffers(kind, len(images), buffers)


def read_facts(path: Path) -> dict[str, Any]:
    """The header and the summary of a packed file; DataError if it is absent or damaged."""
    return _opened(path).facts


def read_images(path: Path) -> ImageSet:
    """The images of a packed file, mapped into memory; DataError if it is absent or damaged."""
    packed = _opened(path)
    with _damage_told(path):
        facts, table = packed.facts, pa.Table.from_batches(packed.batches, schema=packed.schema)
        ids = tuple(table["id"].to_pylist())
        return ImageSet(
            pixels=_images(packed, Sums(table["sum"].to_numpy(), path=path, ids=ids)),
            labels=torch.from_numpy(table["label"].to_numpy().astype(np.int64)),
            ids=ids,
            extra={name: _extra(table, name, shape) for name, shape in facts["extra"].items()},
            official=torch.tensor(table["official"].to_pylist(), dtype=torch.bool),
            groups=tuple(table["group"].to_pylist()) if "group" in table.column_names else None,
        )


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A packed file whose facts and small columns are as they were written."""

    facts: dict[str, Any]
    schema: pa.Schema
    batches: list[pa.RecordBatch]


def _opened(path: Path) -> _Opened:
    """Open and check a packed file, but for its images; DataError if it is absent or damaged."""
    with _damage_told(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        count = reader.num_record_batches
        last = reader.get_batch_with_custom_metadata(count - 1)
        header = json.loads(reader.schema.metadata[_METADATA])
        summary = json.loads(last.custom_metadata[_METADATA])
        sealed = summary.pop("sha256")
        batches = [reader.get_batch(number) for number in range(count - 1)]
        seal = _Seal(header, header["mode"])
        for batch in batches:
            batch.validate(full=True)
            seal.add(batch)
        if seal.closed(summary) != sealed:
            raise ValueError("its labels and names are not those that were packed")
        facts = {**header, **summary}
        return _Opened(facts=facts, schema=reader.schema, batches=batches)


class _Seal:
    """SHA-256 over all of a packed file but its images."""

    def __init__(self, header: Mapping[str, Any], mode: Mode) -> None:
        self._whole = hashlib.sha256(_plain(header))
        self._image_column = _COLUMN[mode]

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in a batch."""
        self._whole.update(_plain([batch.num_rows, batch.schema.names]))
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type):
                self._whole.update(_plain(column.to_pylist()))
            elif name.startswith(_EXTRA):
                self._whole.update(column.flatten().to_numpy(zero_copy_only=False).tobytes())
            elif name != self._image_column:
                self._whole.update(column.to_numpy(zero_copy_only=False).tobytes())

    def closed(self, summary: Mapping[str, Any]) -> str:
        """The digest, 64 hex digits, with the summary taken in."""
        self._whole.update(_plain(summary))
        return self._whole.hexdigest()


def _plain(words: Any) -> bytes:
    return json.dumps(words, sort_keys=True).encode()


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"the packed file {path} is absent", key="data.name") from error
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"the packed file {path} is damaged: {error}", key="data.name", remedy=MENDED
        ) from error


def _images(packed: _Opened, sums: Sums) -> StoredImages:
    size = packed.facts["size"]
    column: str = _COLUMN[packed.facts["mode"]]
    if packed.facts["mode"] == "encoded":
        return EncodedImages([_files(one[column]) for one in packed.batches], size=size, sums=sums)
    shape = (-1, 3, size, size)
    chunks = [_mapped(batch[column], 1).reshape(shape) for batch in packed.batches]
    if [len(chunk) for chunk in chunks] != [len(batch) for batch in packed.batches]:
        raise ValueError("it has not as many images as names")
    return Pixels(chunks, size=size, sums=sums)


def _files(column: pa.LargeBinaryArray) -> Files:
    offsets = _mapped(column, 1).view(np.int64)[: len(column) + 1]
    return Files(content=_mapped(column, 2), offsets=offsets)


def _mapped(column: pa.Array, number: int) -> npt.NDArray[np.uint8]:
    """A buffer of the column where it lies in the mapped file."""
    return np.frombuffer(column.buffers()[number], dtype=np.uint8)


def _extra(table: pa.Table, name: str, shape: Sequence[int]) -> Tensor:
    flat = table[f"{_EXTRA}{name}"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(flat.copy()).reshape(-1, *shape)
