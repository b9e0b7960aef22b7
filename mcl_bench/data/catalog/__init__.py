"""The datasets that are known by name: one file each."""

from mcl_bench.data.catalog.aircraft import Aircraft
from mcl_bench.data.catalog.cars import Cars
from mcl_bench.data.catalog.cub200 import Cub200
from mcl_bench.data.catalog.digits import Digits
from mcl_bench.data.catalog.dogs import Dogs
from mcl_bench.data.catalog.elpv import Elpv
from mcl_bench.data.catalog.flowers102 import Flowers102
from mcl_bench.data.catalog.folder import Folder
from mcl_bench.data.catalog.parts import Parts
from mcl_bench.data.catalog.pets import Pets
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
    dataset.facts.name: dataset
    for dataset in (
        Aircraft(),
        Cars(),
        Cub200(),
        Digits(),
        Dogs(),
        Elpv(),
        Flowers102(),
        Folder(),
        Parts(),
        Pets(),
    )
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
