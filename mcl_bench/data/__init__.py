"""Data: the catalog, the store of packed images, the vault of test images, splits and batches."""

from mcl_bench.data.batches import Batch, Batches
from mcl_bench.data.catalog import DatasetFacts
from mcl_bench.data.check import check, check_one, facts_of, names
from mcl_bench.data.choice import choose
from mcl_bench.data.counting import count_classes, pixel_bytes
from mcl_bench.data.encoded import EncodedImages
from mcl_bench.data.images import ImageSet, Pixels, StoredImages
from mcl_bench.data.mixing import Mix
from mcl_bench.data.notes import notes
from mcl_bench.data.predictions import write_predictions
from mcl_bench.data.shown import shown
from mcl_bench.data.splits import Split, class_weights, cut
from mcl_bench.data.store import Packed, open_train, prepare
from mcl_bench.data.thumbnails import thumbnails
from mcl_bench.data.vault import open_test
from mcl_bench.data.verification import Verification, verify

__all__ = [
    "Batch",
    "Batches",
    "DatasetFacts",
    "EncodedImages",
    "ImageSet",
    "Mix",
    "Packed",
    "Pixels",
    "Split",
    "StoredImages",
    "Verification",
    "check",
    "check_one",
    "choose",
    "class_weights",
    "count_classes",
    "cut",
    "facts_of",
    "names",
    "notes",
    "open_test",
    "open_train",
    "pixel_bytes",
    "prepare",
    "shown",
    "thumbnails",
    "verify",
    "write_predictions",
]
