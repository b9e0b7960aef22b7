"""What to run: the experiment file, its cells, their search spaces, keys and seeds."""

from mcl_bench.spec.cells import Cell
from mcl_bench.spec.dialects import Inexpressible, from_canonical, to_canonical
from mcl_bench.spec.editor import json_schema
from mcl_bench.spec.experiment import Experiment
from mcl_bench.spec.grid import grid_point, num_grid_points
from mcl_bench.spec.key import channels_dropped, effective_key
from mcl_bench.spec.load import load
from mcl_bench.spec.loss import CrossEntropySpec, CustomLossSpec, LossSpec, MutualChannelSpec
from mcl_bench.spec.notes import notes
from mcl_bench.spec.schema import (
    AdamWSpec,
    ArmSpec,
    AshaSpec,
    BudgetSpec,
    ConfirmSpec,
    CosineSpec,
    DataSpec,
    ExperimentSpec,
    HyperbandSpec,
    MatrixSpec,
    MedianSpec,
    ModelSpec,
    NoPrunerSpec,
    OptimizerSpec,
    PrunerSpec,
    ResolvedConfirm,
    ResourcesSpec,
    ScheduleSpec,
    SearchSpec,
    SgdSpec,
    ShortSide,
    StepSpec,
    TrackingSpec,
    TrainSpec,
    TrialSpec,
)
from mcl_bench.spec.seeds import named_seed
from mcl_bench.spec.settings import flatten, settings_of, trial_spec
from mcl_bench.spec.single import single_setting
from mcl_bench.spec.space import Choice, FloatRange, IntRange, Range
from mcl_bench.spec.text import dump_yaml
from mcl_bench.spec.urls import masked, postgres_address, without_password

__all__ = [
    "AdamWSpec",
    "ArmSpec",
    "AshaSpec",
    "BudgetSpec",
    "Cell",
    "Choice",
    "ConfirmSpec",
    "CosineSpec",
    "CrossEntropySpec",
    "CustomLossSpec",
    "DataSpec",
    "Experiment",
    "ExperimentSpec",
    "FloatRange",
    "HyperbandSpec",
    "Inexpressible",
    "IntRange",
    "LossSpec",
    "MatrixSpec",
    "MedianSpec",
    "ModelSpec",
    "MutualChannelSpec",
    "NoPrunerSpec",
    "OptimizerSpec",
    "PrunerSpec",
    "Range",
    "ResolvedConfirm",
    "ResourcesSpec",
    "ScheduleSpec",
    "SearchSpec",
    "SgdSpec",
    "ShortSide",
    "StepSpec",
    "TrackingSpec",
    "TrainSpec",
    "TrialSpec",
    "channels_dropped",
    "dump_yaml",
    "effective_key",
    "flatten",
    "from_canonical",
    "grid_point",
    "json_schema",
    "load",
    "masked",
    "named_seed",
    "notes",
    "num_grid_points",
    "postgres_address",
    "settings_of",
    "single_setting",
    "to_canonical",
    "trial_spec",
    "without_password",
]
