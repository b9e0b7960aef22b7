"""Data: the catalog, the store of packed images, the vault of test images, splits and batches."""

from mcl_bench.data.batches import Batch, Batches
from mcl_bench.data.catalog import DatasetFacts
from mcl_bench.data.check import check, names
from mcl_bench.data.counting import count_classes, pixel_bytes
from mcl_bench.data.encoded import EncodedImages
from mcl_bench.data.images import ImageSet, Pixels, StoredImages
from mcl_bench.data.predictions import write_predictions
from mcl_bench.data.splits import Split, class_weights, cut
from mcl_bench.data.store import Packed, open_train, prepare
from mcl_bench.data.vault import open_test

__all__ = [
    "Batch",
    "Batches",
    "DatasetFacts",
    "EncodedImages",
    "ImageSet",
    "Packed",
    "Pixels",
    "Split",
    "StoredImages",
    "check",
    "class_weights",
    "count_classes",
    "cut",
    "names",
    "open_test",
    "open_train",
    "pixel_bytes",
    "prepare",
    "write_predictions",
]
