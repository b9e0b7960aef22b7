"""Lists that are MATLAB files (versions 4 to 7, not the HDF5 of 7.3), read without running any.

Reading makes numbers, strings, cells and structures of them and nothing else: no code of a file is
run, and nothing is unpickled.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcl_bench.data.catalog.source import Fault, Report

LARGEST_BYTES = 32 * 1024**2
"""The official lists have less than 2 MB; a larger file is none of them."""

_WHOLE = "get the file again"
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What SciPy raises on files that are no MATLAB files or are damaged, apart from its own."""

Values = npt.NDArray[Any]


def read_mat(
    root: Path, name: str, *, variables: Sequence[str], report: Report
) -> Mapping[str, Values] | None:
    """These variables of a MATLAB file, each as an array of one dimension.

    None, which is reported, where the file can't be read, or has not all of them.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = root / name
    try:
        nbytes = path.stat().st_size
        if not nbytes:
            report(Fault(kind="empty", file=name, detail="is empty", remedy=_WHOLE))
            return None
        if nbytes > LARGEST_BYTES:
            raise ValueError(f"{nbytes} bytes are more than {LARGEST_BYTES}")
        with path.open("rb") as file:
            found = loadmat(file, squeeze_me=True, variable_names=list(variables))
    except NotImplementedError:
        _corrupt(report, name, "is no MATLAB file of version 4 to 7")
        return None
    except (MatReadError, *_UNREADABLE) as error:
        words = str(error).strip() or type(error).__name__
        _corrupt(report, name, f"cannot be read as a MATLAB file: {words}")
        return None
    absent = [variable for variable in variables if variable not in found]
    if absent:
        _corrupt(report, name, f"has no variable {', '.join(absent)}")
        return None
    return {variable: np.atleast_1d(found[variable]).ravel() for variable in variables}


def has_fields(
    structure: Values, fields: Sequence[str], *, variable: str, file: str, report: Report
) -> bool:
    """Whether a structure array has all these fields, which is reported if not."""
    absent = [field for field in fields if field not in (structure.dtype.names or ())]
    if absent:
        _corrupt(report, file, f"its variable {variable} has no field {', '.join(absent)}")
    return not absent


def integer(value: object) -> int | None:
    """A number of a MATLAB file as an integer: whatever type it has there; None if it is none."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    return None


def _corrupt(report: Report, name: str, detail: str) -> None:
    report(Fault(kind="corrupt", file=name, detail=detail, remedy=_WHOLE))
