"""A full disk, told in one message wherever the driver meets it: in files, in SQLite."""

from collections.abc import Iterator
from contextlib import contextmanager

from mcl_bench.records import UserError
from mcl_bench.sweep.failures import disk_fault


@contextmanager
def disk_told() -> Iterator[None]:
    """Raise RunError for what this block raises because no space is left."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        raise fault from error
