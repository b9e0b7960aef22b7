"""Lists that are MATLAB files: what is in them, each fault being reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mcl_bench.data.catalog.mat_format import (
    Cells,
    MatError,
    Structures,
    Value,
    variables,
)
from mcl_bench.data.catalog.source import Fault, Report

LARGEST_BYTES = 32 * 1024**2
"""The official lists have less than 2 MB; a larger file is none of them."""

_WHOLE = "get the file again"


def read_numbers(
    root: Path, file: str, names: Sequence[str], *, report: Report
) -> Mapping[str, tuple[int | None, ...]] | None:
    """These variables as integers, None for a number that is none.

    None for the whole, which is reported, where the file can't be read or lacks one of them.
    """
    found = _read(root, file, names, report)
    if found is None:
        return None
    read = {name: value for name, value in found.items() if isinstance(value, tuple)}
    for name in found.keys() - read.keys():
        _corrupt(report, file, f"its variable {name} must hold numbers")
    if len(read) < len(found):
        return None
    return {name: tuple(map(_whole, numbers)) for name, numbers in read.items()}


def read_names(root: Path, file: str, name: str, *, report: Report) -> tuple[str, ...] | None:
    """A variable that is a cell array of strings; None, which is reported, if there is none."""
    found = _read(root, file, (name,), report)
    if found is None:
        return None
    cells = found[name]
    values = cells.values if isinstance(cells, Cells) else ()
    texts = tuple(value for value in values if isinstance(value, str) and value)
    if not texts or len(texts) < len(values):
        _corrupt(report, file, f"its variable {name} must be a cell array of strings")
        return None
    return texts


def read_structures(
    root: Path, file: str, name: str, *, fields: Sequence[str], report: Report
) -> Structures | None:
    """A variable that is a structure array with these fields; None, which is reported, if not."""
    found = _read(root, file, (name,), report)
    if found is None:
        return None
    structures = found[name]
    known = structures.fields if isinstance(structures, Structures) else ()
    absent = [field for field in fields if field not in known]
    if not isinstance(structures, Structures) or absent:
        _corrupt(report, file, f"its variable {name} has no field {', '.join(absent)}")
        return None
    return structures


def integer(value: Value) -> int | None:
    """A variable of a single number as an integer, None if it is anything else."""
    if isinstance(value, tuple) and len(value) == 1:
        return _whole(value[0])
    return None


def _whole(number: float) -> int | None:
    return int(number) if float(number).is_integer() else None


def _read(
    root: Path, file: str, names: Sequence[str], report: Report
) -> Mapping[str, Value] | None:
    path = root / file
    try:
        nbytes = path.stat().st_size
        if not nbytes:
            report(Fault(kind="empty", file=file, detail="is empty", remedy=_WHOLE))
            return None
        if nbytes > LARGEST_BYTES:
            raise MatError(f"{nbytes} bytes are more than {LARGEST_BYTES}")
        found = variables(path.read_bytes(), names)
    except MatError as error:
        _corrupt(report, file, f"cannot be read: {error}")
        return None
    except OSError as error:
        _corrupt(report, file, f"cannot be read: {error.strerror}")
        return None
    absent = [name for name in names if name not in found]
    if absent:
        _corrupt(report, file, f"has no variable {', '.join(absent)}")
        return None
    return found


def _corrupt(report: Report, file: str, detail: str) -> None:
    report(Fault(kind="corrupt", file=file, detail=detail, remedy=_WHOLE))
