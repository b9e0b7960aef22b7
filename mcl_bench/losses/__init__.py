"""What a network is trained to minimise: the Mutual-Channel Loss and what it is compared with.

Pure torch: no data, no training, no network of its own.
"""

from mcl_bench.losses.channels import channel_groups, draw_mask
from mcl_bench.losses.check import check
from mcl_bench.losses.custom import source_sha256
from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.losses.mc import MCLossTerms, alignment_logits, diversity, mc_loss
from mcl_bench.losses.module import MCLoss
from mcl_bench.losses.objective import Mixed, Objective, ObjectiveTerms, build_objective

__all__ = [
    "MCLoss",
    "MCLossTerms",
    "MainLoss",
    "Mixed",
    "Objective",
    "ObjectiveTerms",
    "Outputs",
    "alignment_logits",
    "build_objective",
    "channel_groups",
    "check",
    "diversity",
    "draw_mask",
    "mc_loss",
    "source_sha256",
]
