"""Packing: every image read once, in a stream, into the training file and the test file."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcl_bench.data.catalog import Source, groups_of
from mcl_bench.data.decode import UNREADABLE, jpeg, planar
from mcl_bench.data.mode import Mode
from mcl_bench.data.packed_file import Row, Writer, batch_rows
from mcl_bench.data.splits import cut_test
from mcl_bench.records import DataError
from mcl_bench.spec.schema import DataSpec

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many; that all are, once both files are in place."""

_NAMED_AT_MOST = 10


def pack(
    source: Source,
    data: DataSpec,
    *,
    size: int,
    mode: Mode,
    train_path: Path,
    test_path: Path,
    progress: Progress | None = None,
) -> None:
    """Write both files; each appears whole or not at all, the training file last.

    The caller holds the lock of these paths. DataError if more than `data.max_faults` images
    cannot be read, if a class has no training image left, or if the files cannot be written.
    """
    cut = source.members[0].split is None
    labels = [member.label for member in source.members]
    if cut:
        tested = cut_test(
            labels, digest=source.digest, share=data.test, groups=groups_of(source.members)
        )
    else:
        tested = [member.split == "test" for member in source.members]
    header = {
        "dataset": data.name,
        "digest": source.digest,
        "classes": list(source.classes),
        "test": data.test if cut else "official",
        "extra_digests": dict(source.extra_digests),
    }
    parts = {path: unfinished(path) for path in (test_path, train_path)}
    stream = _Stream(source, size=size, mode=mode, header=header, progress=progress)
    try:
        test = stream.write(parts[test_path], [i for i, held in enumerate(tested) if held], {})
        summary = {"num_test": test.rows, "test_nbytes": parts[test_path].stat().st_size}
        train = stream.write(
            parts[train_path], [i for i, held in enumerate(tested) if not held], summary
        )
        check_faults(stream.faults, data)
        _check_classes(source.classes, train, test)
        for path, part in parts.items():
            _settle(part, path)
    except OSError as error:
        raise DataError(
            f"cannot write the packed file {train_path}: {error.strerror or error}",
            remedy="mend that, or set MCL_HOME to a folder with more space",
        ) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    if progress is not None:
        progress(len(labels), len(labels))


def unfinished(path: Path) -> Path:
    """Where a packed file is written before it is whole."""
    return path.parent / f".{path.name}.part"


def check_faults(faults: Sequence[dict[str, str]], data: DataSpec) -> None:
    """DataError, naming the files, if there are more faults than `data.max_faults`."""
    if len(faults) <= data.max_faults:
        return
    named = [f"{fault['id']} ({fault['reason']})" for fault in faults[:_NAMED_AT_MOST]]
    more = len(faults) - len(named)
    raise DataError(
        f"{len(faults)} {'image' if len(faults) == 1 else 'images'} of {data.root or data.name} "
        "cannot be read, data.max_faults allows "
        f"{data.max_faults}: {', '.join(named)}{f' and {more} more' if more else ''}",
        key="data.max_faults",
        remedy=f"mend or remove them, or set data.max_faults to {len(faults)}",
    )


@dataclass(frozen=True, kw_only=True)
class _Written:
    """How many images one file took, and of which classes."""

    rows: int
    labels: frozenset[int]


class _Stream:
    """Reads images batch by batch and counts what is done and what failed over both files."""

    def __init__(
        self,
        source: Source,
        *,
        size: int,
        mode: Mode,
        header: dict[str, Any],
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._size = size
        self._mode = mode
        self._convert = planar if mode == "decoded" else jpeg
        self._header = header
        self._progress = progress
        self._done = 0
        self.faults: list[dict[str, str]] = []

    def write(self, path: Path, indices: Sequence[int], summary: dict[str, Any]) -> _Written:
        """Write one file of the images at `indices`; its summary holds all faults so far."""
        rows, labels = 0, set[int]()
        with Writer(
            path,
            size=self._size,
            mode=self._mode,
            header=self._header,
            extra_shapes=self._source.extra_shapes,
            grouped=groups_of(self._source.members) is not None,
        ) as writer:
            for batch in self._batches(indices):
                writer.add(batch)
                rows += len(batch)
                labels.update(row.label for row in batch)
            self.faults.sort(key=lambda fault: fault["id"])
            writer.finish({"rows": rows, "num_train": rows, "faults": self.faults, **summary})
        return _Written(rows=rows, labels=frozenset(labels))

    def _batches(self, indices: Sequence[int]) -> Iterator[list[Row]]:
        step = batch_rows(self._size)
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(indices), step):
                chunk = indices[start : start + step]
                yield [row for row in pool.map(self._row, chunk) if row is not None]
                self._done += len(chunk)
                total = len(self._source.members)
                if self._progress is not None and self._done < total:
                    self._progress(self._done, total)

    def _row(self, index: int) -> Row | None:
        member = self._source.members[index]
        try:
            example = self._source.read(index)
            image = self._convert(example.picture, size=self._size, trim_bottom=example.trim_bottom)
        except UNREADABLE as error:
            self.faults.append({"id": member.id, "reason": str(error) or type(error).__name__})
            return None
        return Row(
            id=member.id,
            label=member.label,
            official=member.split == "validation",
            image=image,
            extra=example.extra,
            group=member.group,
        )


def _check_classes(classes: Sequence[str], train: _Written, test: _Written) -> None:
    lost = [name for label, name in enumerate(classes) if label not in train.labels]
    if lost:
        raise DataError(f"classes without a readable training image: {', '.join(lost)}")
    if not test.rows:
        raise DataError("no test image is readable", key="data.root")


def _settle(part: Path, path: Path) -> None:
    """Put a written file on disk and in its place."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
