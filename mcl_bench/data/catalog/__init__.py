"""The datasets that are known by name: one file each."""

from mcl_bench.data.catalog.cub200 import Cub200
from mcl_bench.data.catalog.digits import Digits
from mcl_bench.data.catalog.elpv import Elpv
from mcl_bench.data.catalog.folder import Folder
from mcl_bench.data.catalog.parts import Parts
from mcl_bench.data.catalog.source import (
    Dataset,
    DatasetFacts,
    Example,
    Member,
    Picture,
    Source,
    groups_of,
)

DATASETS: dict[str, Dataset] = {
    dataset.facts.name: dataset for dataset in (Parts(), Elpv(), Digits(), Folder(), Cub200())
}

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetFacts",
    "Example",
    "Member",
    "Picture",
    "Source",
    "groups_of",
]
