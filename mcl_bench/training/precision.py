"""The numbers that a network computes in."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Precision:
    """`name` is `fp32` or `bf16`: bf16 runs the network's layers in bfloat16 where that is safe.

    Parameters, losses and scores are float32 in both.
    """

    name: str
    device_type: str

    def autocast(self) -> torch.autocast:
        """The context to run the network in."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.name == "bf16")
