"""One packed file: an Arrow IPC file of images of one size, written in a stream, read by mapping.

A row has `id`, `label`, `official` (validation), `pixels` (planar uint8 RGB), a column
`extra.NAME` for whatever else is known, and `group` where the set has groups. The schema's metadata
hold the header, which is known before the first image; a last batch without rows carries the
summary, which is known after the last. A file without a summary is not finished.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from mcl_bench.data.images import ImageSet, Pixels
from mcl_bench.records import DataError

VERSION = 1
"""Raised whenever files are written in another way; part of a packed file's name."""

_METADATA = b"mcl_bench"
_EXTRA = "extra."
_BATCH_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image to be packed."""

    id: str
    label: int
    official: bool
    pixels: npt.NDArray[np.uint8]
    extra: Mapping[str, npt.NDArray[np.float32]]
    group: str | None = None


def batch_rows(size: int) -> int:
    """How many images are packed together: some 16 MiB."""
    return max(1, min(4096, _BATCH_BYTES // (3 * size * size)))


class Writer:
    """Writes a packed file in record batches; `finish` makes it whole."""

    def __init__(
        self,
        path: Path,
        *,
        size: int,
        header: Mapping[str, Any],
        extra_shapes: Mapping[str, tuple[int, ...]],
        grouped: bool = False,
    ) -> None:
        self._size = size
        self._grouped = grouped
        self._extra_shapes = dict(extra_shapes)
        fields = [
            pa.field("id", pa.string()),
            pa.field("label", pa.int32()),
            pa.field("official", pa.bool_()),
            pa.field("pixels", pa.binary(3 * size * size)),
        ]
        fields += [
            pa.field(f"{_EXTRA}{name}", pa.list_(pa.float32(), int(np.prod(shape))))
            for name, shape in self._extra_shapes.items()
        ]
        if grouped:
            fields.append(pa.field("group", pa.string()))
        facts = {**header, "version": VERSION, "size": size, "extra": self._extra_shapes}
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
        self._writer.close()
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Append these images as one record batch; none, if there are none."""
        if rows:
            self._writer.write_batch(self._batch(rows))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Append the summary, which makes the file whole."""
        self._writer.write_batch(
            self._batch([]), custom_metadata={_METADATA: json.dumps(dict(summary))}
        )

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        width = 3 * self._size * self._size
        pixels = np.stack([row.pixels for row in rows]) if rows else np.empty(0, dtype=np.uint8)
        columns = [
            pa.array([row.id for row in rows], pa.string()),
            pa.array([row.label for row in rows], pa.int32()),
            pa.array([row.official for row in rows], pa.bool_()),
            pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(pixels)]),
        ]
        for name, shape in self._extra_shapes.items():
            values = np.array([row.extra[name] for row in rows], dtype=np.float32).reshape(-1)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), int(np.prod(shape))))
        if self._grouped:
            columns.append(pa.array([row.group for row in rows], pa.string()))
        return pa.record_batch(columns, schema=self._schema)


def read_facts(path: Path) -> dict[str, Any]:
    """The header and the summary of a packed file; DataError if it is absent or damaged."""
    reader = _reader(path)
    try:
        summary = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
        return {
            **json.loads(reader.schema.metadata[_METADATA]),
            **json.loads(summary.custom_metadata[_METADATA]),
        }
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def read_images(path: Path) -> ImageSet:
    """The images of a packed file, mapped into memory; DataError if it is absent or damaged."""
    reader = _reader(path)
    try:
        facts = json.loads(reader.schema.metadata[_METADATA])
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        shape = (-1, 3, facts["size"], facts["size"])
        chunks = [_mapped(batch["pixels"]).reshape(shape) for batch in batches if len(batch)]
        table = pa.Table.from_batches(batches, schema=reader.schema)
        return ImageSet(
            pixels=Pixels(chunks, size=facts["size"]),
            labels=torch.from_numpy(table["label"].to_numpy().astype(np.int64)),
            ids=tuple(table["id"].to_pylist()),
            extra={name: _extra(table, name, shape) for name, shape in facts["extra"].items()},
            official=torch.tensor(table["official"].to_pylist(), dtype=torch.bool),
            groups=tuple(table["group"].to_pylist()) if "group" in table.column_names else None,
        )
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _reader(path: Path) -> pa.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except FileNotFoundError as error:
        raise DataError(f"the packed file {path} is absent", key="data.name") from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the packed file {path} is damaged: {error}",
        key="data.name",
        remedy="remove it; it is packed again from its source",
    )


def _mapped(column: pa.FixedSizeBinaryArray) -> npt.NDArray[np.uint8]:
    """The column's bytes where they lie in the mapped file."""
    return np.frombuffer(column.buffers()[1], dtype=np.uint8)


def _extra(table: pa.Table, name: str, shape: Sequence[int]) -> Tensor:
    flat = table[f"{_EXTRA}{name}"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(flat.copy()).reshape(-1, *shape)
