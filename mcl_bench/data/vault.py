"""The vault: test images are opened for a training that was granted its look, and nothing else."""

from mcl_bench.data.images import ImageSet
from mcl_bench.data.packed_file import read_images
from mcl_bench.data.store import Packed
from mcl_bench.records import TestGrant


def open_test(packed: Packed, grant: TestGrant) -> ImageSet:
    """The test images; DataError if their file is absent or damaged.

    The grant is the driver's word that this look was written down before the launch; without one
    this is a TypeError.
    """
    if not isinstance(grant, TestGrant):
        raise TypeError(f"the test images are opened with a TestGrant only, got {grant!r}")
    return read_images(packed.test_path)
