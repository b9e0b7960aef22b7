"""Lists that are MATLAB files: what is in them, each fault being reported."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mcl_bench.data.catalog.matlab import Value, read_matlab
from mcl_bench.data.catalog.source import Fault, FaultKind, Report

Structure: TypeAlias = Mapping[str, Value]

Place = Callable[[int], str]
"""Where an element of a variable stands, by its number from 1."""


def element(file: str, variable: str) -> Place:
    """Names elements of a variable as MATLAB does: `setid.mat:trnid(17)`."""
    return lambda number: f"{file}:{variable}({number})"


def read_variables(
    root: Path, file: str, names: Sequence[str], *, report: Report
) -> Mapping[str, Value] | None:
    """These variables; None, which is reported, where the file can't be read or lacks one."""
    path = root / file
    try:
        if not path.stat().st_size:
            _tell(report, file, "is empty", kind="empty")
            return None
        return read_matlab(path, names)
    except OSError as error:
        _tell(report, file, f"cannot be read: {error.strerror}")
    except ValueError as error:
        _tell(report, file, str(error))
    return None


def read_numbers(
    root: Path, file: str, names: Sequence[str], *, report: Report
) -> Mapping[str, tuple[int | None, ...]] | None:
    """These variables as integers, None for a number that is none.

    None for the whole, which is reported, where the file can't be read or lacks one of them.
    """
    found = read_variables(root, file, names, report=report)
    if found is None:
        return None
    read = {
        name: numbers(value, file=file, name=name, report=report) for name, value in found.items()
    }
    whole = {name: values for name, values in read.items() if values is not None}
    return whole if len(whole) == len(read) else None


def read_names(root: Path, file: str, name: str, *, report: Report) -> tuple[str, ...] | None:
    """A variable that is a cell array of strings; None, which is reported, if there is none."""
    found = read_variables(root, file, (name,), report=report)
    return None if found is None else texts(found[name], file=file, name=name, report=report)


def read_structures(
    root: Path, file: str, name: str, *, fields: Sequence[str], report: Report
) -> tuple[Structure, ...] | None:
    """A variable that is a structure array with these fields; None, which is reported, if not."""
    found = read_variables(root, file, (name,), report=report)
    if found is None:
        return None
    value = found[name]
    rows = tuple(row for row in value if isinstance(row, dict)) if isinstance(value, list) else ()
    absent = [field for field in fields if not rows or field not in rows[0]]
    if absent:
        _tell(report, file, f"its variable {name} has no field {', '.join(absent)}")
        return None
    return rows


def numbers(value: Value, *, file: str, name: str, report: Report) -> tuple[int | None, ...] | None:
    """A variable as integers, None for a number that is none; None, reported, if it is text."""
    if not isinstance(value, np.ndarray):
        _tell(report, file, f"its variable {name} must hold numbers")
        return None
    return tuple(map(_whole, value.tolist()))


def texts(value: Value, *, file: str, name: str, report: Report) -> tuple[str, ...] | None:
    """A variable that is a cell array of strings; None, which is reported, if it is none."""
    cells = value if isinstance(value, list) else [value]
    if not cells:
        _tell(report, file, f"its variable {name} has nothing in it", kind="empty")
        return None
    found = tuple(cell for cell in cells if isinstance(cell, str) and cell)
    if len(found) < len(cells):
        _tell(report, file, f"its variable {name} must be a cell array of strings")
        return None
    return found


def integer(value: Value) -> int | None:
    """A variable of a single number as an integer, None if it is anything else."""
    if isinstance(value, np.ndarray) and len(value) == 1:
        return _whole(float(value[0]))
    return None


def _whole(number: float) -> int | None:
    return int(number) if number.is_integer() else None


def _tell(report: Report, file: str, detail: str, *, kind: FaultKind = "corrupt") -> None:
    report(Fault(kind=kind, file=file, detail=detail, remedy="get the file again"))
