"""Configurations of backbones for tests."""

from mcl_bench.spec import TrialSpec


def of(backbone: str, crop: int, **model: object) -> TrialSpec:
    plain = {"backbone": backbone, "weights": "none", "channels": "native", "xi": "auto"}
    return TrialSpec.model_validate(
        {
            "data": {"name": "parts", "resize": crop, "crop": crop},
            "model": {**plain, "head": "linear", **model},
            "loss": {"name": "mc", "mu": 0.5},
        }
    )
